"""What the stages of training share: their settings, and the image tokens of pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from transformers import LlavaForConditionalGeneration

from training.questions import TRAINING_WEIGHTS
from vlmguard_plugin.demo.build import adapter_modules


@dataclass(frozen=True)
class Stage:
    """Settings of one stage. batch: examples a step. rate: peak learning rate.

    pool: captioned pictures, drawn beforehand (captions, projector, words) or freshly for every step (answers).
    question_weights: of answers, how often each of QUESTION_KINDS is asked.
    """

    batch: int
    rate: float
    pool: int
    question_weights: tuple[int, ...] = TRAINING_WEIGHTS


def image_tokens(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Image tokens [B, 17, d] of pictures [B, 3, 96, 96] in [-1, 1]."""
    modules = adapter_modules(model)
    return modules["multi_modal_projector"](tower_states(modules["vision_tower"], pixels.to(model.device)))


def tower_states(tower: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """The vision tower's last layer [B, 17, 256], class token first, before the pooling's layer norm."""
    states = tower.pre_layrnorm(embedded(tower.embeddings, pixels))
    return tower.encoder(inputs_embeds=states).last_hidden_state


def embedded(embeddings: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """The tower's class token and patches [B, 17, 256], as its own embedding computes them.

    Patches go through a matrix product: the gradient of the same convolution takes a CPU several times as long.
    """
    convolution = embeddings.patch_embedding
    patches = F.unfold(pixels, convolution.kernel_size, stride=convolution.stride).mT  # [B, 16, 3 * 24 * 24]
    seen = F.linear(patches, convolution.weight.flatten(1))
    first = embeddings.class_embedding.expand(len(pixels), 1, -1)
    return torch.cat([first.to(seen.dtype), seen], dim=1) + embeddings.position_embedding.weight


def pixels_of(images: np.ndarray | list[np.ndarray]) -> torch.Tensor:
    """uint8 pictures [B, 96, 96, 3] as the processor gives them: float32 [B, 3, 96, 96] in [-1, 1]."""
    return torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2).float() / 127.5 - 1
