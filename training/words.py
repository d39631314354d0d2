"""The words stage: the image tokens of a written word become that word's embeddings."""

from __future__ import annotations

from typing import Iterator

import numpy as np
import torch
from tqdm import tqdm
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

from training.stage import Stage, image_tokens, pixels_of
from vlmguard_plugin.demo.vlms import TOWER
from vlmguard_plugin.pictures.drawn import Picture, picture

WRITTEN_WEIGHT = 4  # how much a written word's tokens count beside each that is held


def words_step(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, stage: Stage, seed: int
) -> Iterator[torch.Tensor]:
    """Yield losses of the words stage: squared distances to where the tokens are to be.

    Half of the pictures show a word. A written word's tokens count WRITTEN_WEIGHT times as much as the held ones.
    """
    kinds = ("word", None)
    shown = [picture("train", seed * stage.pool + number, kinds[number % 2]) for number in range(stage.pool)]
    images = np.stack([np.asarray(drawn.image()) for drawn in tqdm(shown, desc="drawing", unit="picture")])
    written = torch.stack([written_tokens(drawn, tokenizer) for drawn in shown])  # [N, 17], -1 where a token is held
    embeddings = model.get_input_embeddings().weight
    held = torch.empty(stage.pool, TOWER.image_tokens, embeddings.shape[1], dtype=torch.float16)
    with torch.no_grad():
        for start in tqdm(range(0, stage.pool, 256), desc="as it is", unit="batch"):
            held[start : start + 256] = image_tokens(model, pixels_of(images[start : start + 256])).half().cpu()
    order = torch.Generator().manual_seed(seed)
    while True:
        for batch in torch.randperm(stage.pool, generator=order).split(stage.batch):
            goal, words = held[batch].float().to(model.device), written[batch].to(model.device)
            goal[words >= 0] = embeddings[words[words >= 0]].float()
            weights = torch.where(words >= 0, WRITTEN_WEIGHT, 1)
            distances = (image_tokens(model, pixels_of(images[batch.numpy()])) - goal).square().sum(-1)
            yield (weights * distances).sum() / weights.sum()


def written_tokens(shown: Picture, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """[17]: the token numbers of the word on a picture, in their places in its caption; -1 elsewhere."""
    tokens = torch.full((TOWER.image_tokens,), -1)
    if shown.word is not None:
        before, _ = shown.caption.split(f" {shown.word} ", 1)
        start = len(tokenizer.encode(" " + before, add_special_tokens=False))
        word = tokenizer.encode(" " + shown.word, add_special_tokens=False)
        tokens[start : start + len(word)] = torch.tensor(word)
    return tokens
