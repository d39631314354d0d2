"""What the stages of training share: their settings, and the image tokens of pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from transformers import LlavaForConditionalGeneration

from vlmguard_plugin.demo.build import adapter_modules


@dataclass(frozen=True)
class Stage:
    """Settings of one stage. batch: examples a step. rate: peak learning rate.

    pool: captioned pictures, drawn beforehand (captions, words) or freshly for every step (answers).
    """

    batch: int
    rate: float
    pool: int


def image_tokens(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Image tokens [B, 17, d] of pictures [B, 3, 96, 96] in [-1, 1]."""
    modules = adapter_modules(model)
    return modules["multi_modal_projector"](tower_states(modules["vision_tower"], pixels))


def tower_states(tower: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """The vision tower's last layer [B, 17, 256], class token first, before the pooling's layer norm."""
    states = tower.pre_layrnorm(tower.embeddings(pixels))
    return tower.encoder(inputs_embeds=states).last_hidden_state


def pixels_of(images: np.ndarray | list[np.ndarray]) -> torch.Tensor:
    """uint8 pictures [B, 96, 96, 3] as the processor gives them: float32 [B, 3, 96, 96] in [-1, 1]."""
    return torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2).float() / 127.5 - 1
