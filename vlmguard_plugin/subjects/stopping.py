"""Where an answer ends: at texts that the caller names."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import torch
from torch import Tensor


def stopping(tokenizer: Any, stop: Sequence[str], prompt_tokens: int) -> Callable[..., Tensor]:
    """Tells `generate` which rows have come to one of the texts: bool [rows]. prompt_tokens: how many stand before."""
    window = 1 + max(len(text.encode()) for text in stop)  # a token holds a byte at least

    def stopped(tokens: Tensor, scores: Any, **_: Any) -> Tensor:
        ends = tokenizer.batch_decode(tokens[:, prompt_tokens:][:, -window:], skip_special_tokens=True)
        return torch.tensor([any(text in end for text in stop) for end in ends], device=tokens.device)

    return stopped
