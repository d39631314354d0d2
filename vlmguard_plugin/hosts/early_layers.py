"""Data sets whose condition is `early<LAYER>`: only models of ours take a picture's features from there."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from vlmguard_plugin.benchmarks.condition import early_layer

VISION_LAYER = "vision_layer"
"""A generation argument of such a data set's task on lm-evaluation-harness, whose cache tells requests by theirs."""


class Followed:
    """by_model: whether a model has been loaded in this process that follows such a condition."""

    def __init__(self) -> None:
        self.by_model = False


FOLLOWED = Followed()


def attacked(subject: Any, early: int | None) -> AbstractContextManager[None]:
    """While open, a local subject's pictures are seen through so many blocks of the vision encoder; None: all."""
    if early is None:
        return nullcontext()
    from vlmguard_plugin.steering.early_features import NoEarlyFeatures, early_features

    if not hasattr(subject, "torch_model"):
        raise NoEarlyFeatures(
            f"features of an earlier layer (early{early}) can't be taken in {type(subject).__name__}, whose vision "
            "encoder is out of reach; use engine=transformers, or another condition"
        )
    return early_features(subject.torch_model, subject.decoder, early)


def refuse_usual_features(dataset: str, followed: bool) -> None:
    """ValueError for a data set of this kind that is put to a model which does not follow its condition."""
    if not followed and early_layer(dataset) is not None:
        raise ValueError(
            f"{dataset} asks for features of an earlier layer of the vision encoder, which models of the host's own "
            "don't take; use a model of this package's, with a guard or without (GuardedVLM, --model vlmguard)"
        )
