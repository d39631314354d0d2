"""The captions stage: image tokens become the word embeddings of a picture's caption."""

from __future__ import annotations

from typing import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

from training.stage import Stage, image_tokens, pixels_of, tower_states
from vlmguard_plugin.demo.build import adapter_modules
from vlmguard_plugin.demo.vlms import TOWER
from vlmguard_plugin.pictures.drawn import picture


class CaptionLoss:
    """How far a picture's image tokens are from the word embeddings of its caption.

    Each image token answers for one token of the caption: cross-entropy over the caption vocabulary, with the
    dot product with the frozen word embeddings (times 40) as logits and rare words weighted up by the inverse
    root of their frequency, plus half the squared distance to the word's embedding.
    """

    def __init__(self, model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        captions = [picture("train", number).caption for number in range(20_000)]
        every = caption_tokens(captions, tokenizer).to(model.device)
        self.vocabulary, positions = every.unique(return_inverse=True)
        self.embeddings = model.get_input_embeddings().weight[self.vocabulary].float()  # [V, d]
        weights = torch.bincount(positions.flatten()).float().rsqrt()
        self.weights = weights / weights[positions].mean()
        self.padding = int(every[0, -1])

    def __call__(self, tokens: torch.Tensor, captions: list[str], padding: bool) -> torch.Tensor:
        """Mean loss of image tokens [B, 17, d]. padding: whether the full stops after a caption count."""
        wanted = caption_tokens(captions, self.tokenizer).to(tokens.device)
        counted = torch.full_like(wanted, True, dtype=torch.bool) if padding else wanted != self.padding
        wanted = torch.searchsorted(self.vocabulary, wanted[counted])
        with torch.autocast(tokens.device.type, enabled=False):
            seen = tokens[counted].float()
            logits = 40 * seen @ self.embeddings.T
            distance = (seen - self.embeddings[wanted]).square().sum(-1).mean()
            return F.cross_entropy(logits, wanted, weight=self.weights) + 0.5 * distance


def captions_step(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, stage: Stage, seed: int
) -> Iterator[torch.Tensor]:
    """Yield losses of the captions stage."""
    shown = [picture("train", seed * stage.pool + number) for number in range(stage.pool)]
    images = np.stack([np.asarray(drawn.image()) for drawn in tqdm(shown, desc="drawing", unit="picture")])
    loss = CaptionLoss(model, tokenizer)
    order = torch.Generator().manual_seed(seed)
    while True:
        for batch in torch.randperm(stage.pool, generator=order).split(stage.batch):
            tokens = image_tokens(model, pixels_of(images[batch.numpy()]))
            yield loss(tokens, [shown[number].caption for number in batch.tolist()], padding=True)


def projector_step(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, stage: Stage, seed: int
) -> Iterator[torch.Tensor]:
    """Yield losses of the projector stage: as captions, what the vision tower sees being worked out once."""
    modules = adapter_modules(model)
    modules["vision_tower"].requires_grad_(False)
    shown = [picture("train", seed * stage.pool + number) for number in range(stage.pool)]
    seen = torch.empty(stage.pool, TOWER.image_tokens, modules["vision_tower"].config.hidden_size, dtype=torch.float16)
    with torch.no_grad():
        for start in tqdm(range(0, stage.pool, 200), desc="seeing", unit="batch"):
            pixels = pixels_of([np.asarray(drawn.image()) for drawn in shown[start : start + 200]])
            seen[start : start + 200] = tower_states(modules["vision_tower"], pixels.to(model.device)).half().cpu()
    loss = CaptionLoss(model, tokenizer)
    order = torch.Generator().manual_seed(seed)
    while True:
        for batch in torch.randperm(stage.pool, generator=order).split(stage.batch):
            tokens = modules["multi_modal_projector"](seen[batch].float().to(model.device))
            yield loss(tokens, [shown[number].caption for number in batch.tolist()], padding=True)


def caption_tokens(captions: list[str], tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Token numbers [N, 17] of captions, each with a leading space and padded with full stops."""
    (stop,) = tokenizer.encode(".", add_special_tokens=False)
    rows = [tokenizer.encode(" " + caption, add_special_tokens=False) for caption in captions]
    for row, caption in zip(rows, captions):
        if len(row) > TOWER.image_tokens:
            raise ValueError(
                f"caption {caption!r} has {len(row)} tokens, a picture only {TOWER.image_tokens}; shorten it"
            )
    return torch.tensor([row + [stop] * (TOWER.image_tokens - len(row)) for row in rows])
