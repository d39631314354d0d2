"""Logits of requests contrasted with those of the same requests put otherwise, while both are decoded side by side."""

from __future__ import annotations

from typing import Any, Mapping

import torch
from torch import Tensor
from transformers import LogitsProcessorList

from vlmguard_plugin.steering.generation import given_to


def contrasted(logits: Tensor, alpha: float) -> Tensor:
    """`z + alpha (z - z')`, float32 [rows, ..., words], from the logits z of as many rows and then z' of their others.

    A word that either has ruled out (minus infinity) keeps its z.
    """
    own, other = logits.float().chunk(2)
    both = torch.isfinite(own) & torch.isfinite(other)
    return own + alpha * torch.where(both, own - other, 0)


class ContrastedLogits:
    """Gives both rows of a pair their contrasted logits, so that they go on with the same token."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits [2 rows, words] for such ones: the pairs' first rows, then their second ones."""
        return contrasted(scores, self.alpha).to(scores.dtype).repeat(2, 1)


def contrasting(model: Any, generation: Mapping[str, Any], alpha: float) -> dict[str, Any]:
    """Arguments of `generate` with the contrast in them; ValueError where two rows would not stay together."""
    own = getattr(model, "generation_config", None)
    given = given_to(model.generate, own, (), dict(generation))  # refuses what splits passes
    configs = (generation.get("generation_config"), own)
    samples = (generation.get("do_sample"), *(getattr(config, "do_sample", None) for config in configs))
    if next((sample for sample in samples if sample is not None), False):
        raise ValueError(
            "do_sample: contrasted logits are decoded greedily here, because the prompts of a pair would draw tokens "
            "each by itself; leave do_sample out"
        )
    if given.expansion > 1:
        raise ValueError("num_beams: contrasted logits are decoded greedily here; leave num_beams out")
    processors = LogitsProcessorList([*(generation.get("logits_processor") or ()), ContrastedLogits(alpha)])
    return {**generation, "logits_processor": processors}


def of_pairs(tokens: Tensor) -> Tensor:
    """The tokens [rows, new] of the pairs' first rows, from those of all [2 rows, new].

    RuntimeError where the second ones are others: their logits were no longer of the same answer.
    """
    own, other = tokens.chunk(2)
    if not torch.equal(own, other):
        raise RuntimeError(
            "the two prompts of a pair went on with different tokens, so their logits could not be contrasted; leave "
            "out what chooses tokens otherwise than greedily, also of the model's generation_config"
        )
    return own
