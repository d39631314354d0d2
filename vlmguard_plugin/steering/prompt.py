"""Where a prompt's tokens are in one pass of a model: which are real, and which is the last."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn


def forward_arguments(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of one call of `module.forward`, by name."""
    signature = inspect.signature(module.forward)
    named = dict(signature.bind_partial(*args, **kwargs).arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            named.update(named.pop(parameter.name, {}))
    return named


def token_mask(attention_mask: Tensor | None, rows: int, tokens: int, device: torch.device) -> Tensor:
    """Which tokens of a prefill are real: bool [rows, tokens] on `device`.

    attention_mask: None (all real), [rows, tokens] with 0 for padding, or the causal [rows, 1, tokens, keys]
    that transformers builds for static caches (what the last token may see is real).
    """
    if attention_mask is None:
        return torch.ones(rows, tokens, dtype=torch.bool, device=device)
    mask = attention_mask
    if mask.dim() == 4:
        mask = mask[:, 0, -1, :tokens]
        mask = mask if mask.dtype == torch.bool else mask >= 0
    if tuple(mask.shape) != (rows, tokens):
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)} but the prompt has {rows} rows of {tokens} tokens; "
            "pass the mask that the processor returned with the input ids"
        )
    return mask.to(device=device, dtype=torch.bool)


def last_token(mask: Tensor) -> Tensor:
    """Index of the last real token of each row: int64 [rows], right for left and for right padding."""
    if not bool(mask.any(dim=1).all()):
        empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
        raise ValueError(f"rows {empty} of the batch are all padding; every prompt needs at least one token")
    return mask.shape[1] - 1 - mask.flip(1).to(torch.int64).argmax(dim=1)
