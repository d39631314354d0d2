"""Where an answer ends: at texts that the caller names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Sequence

from vlmguard_plugin.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def stopping(tokenizer: Any, stop: Sequence[str], prompt_tokens: int) -> Callable[..., Tensor]:
    """Tells `generate` which rows have come to one of the texts: bool [rows]. prompt_tokens: how many stand before."""
    window = 1 + max(len(text.encode()) for text in stop)  # a token holds a byte at least

    def stopped(tokens: Tensor, scores: Any, **_: Any) -> Tensor:
        ends = tokenizer.batch_decode(tokens[:, prompt_tokens:][:, -window:], skip_special_tokens=True)
        return torch.tensor([any(text in end for text in stop) for end in ends], device=tokens.device)

    return stopped


def before(text: str, stop: Sequence[str]) -> str:
    """The text before the first of these texts; an empty one ends nothing."""
    for end in filter(None, stop):
        text = text.partition(end)[0]
    return text
