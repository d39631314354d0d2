"""Where a prompt's tokens are in one pass of a model: which are real, which is the last, which hold an image."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Callable, Iterator

from vlmguard_plugin.lazy import torch
from vlmguard_plugin.steering.decoder import Decoder

if TYPE_CHECKING:
    from torch import Tensor, nn

    Call = tuple[nn.Module, tuple[Any, ...], dict[str, Any]]
    """A module, and the positional and named arguments of one call of it."""


class Pass:
    """One pass through the decoder, as the modules around it were called.

    rows, tokens: shape of the hidden states that enter the first layer. device: where they are.
    """

    def __init__(self, hidden: Tensor, calls: list[Call]) -> None:
        self.rows, self.tokens = hidden.shape[:2]
        self.device = hidden.device
        self._calls = calls

    @cached_property
    def _arguments(self) -> list[dict[str, Any]]:
        """By name, the outermost call first. Worked out when asked for: of a decoded token nobody asks."""
        return [forward_arguments(*call) for call in self._calls]

    def given(self, name: str) -> Iterator[Any]:
        """What the modules were given under this name, the outermost first; None is left out."""
        return (arguments[name] for arguments in self._arguments if arguments.get(name) is not None)

    def mask(self) -> Tensor:
        """Which tokens are real: bool [rows, tokens]."""
        return token_mask([mask for mask in self.given("attention_mask") if isinstance(mask, torch.Tensor)], self)

    def cache_is_empty(self) -> bool:
        """Whether no token went before this pass, as far as the KV cache tells; True without one."""
        cache = next(self.given("past_key_values"), None)
        return cache is None or (cache.get_seq_length() if hasattr(cache, "get_seq_length") else len(cache)) == 0

    def has_image(self, image_token_id: int | None) -> Tensor:
        """Which rows hold an image, bool [rows]: by the image token where there is one, else by the pixels given."""
        for tokens in self.given("input_ids"):
            if image_token_id is not None and tokens.shape[0] == self.rows:
                holds: Tensor = (tokens == image_token_id).any(dim=1).to(self.device)
                return holds
        pixels = any(
            value is not None
            for arguments in self._arguments
            for name, value in arguments.items()
            if name.startswith("pixel_values")
        )
        return torch.full((self.rows,), pixels, dtype=torch.bool, device=self.device)


@contextmanager
def hearing_passes(decoder: Decoder, begin: Callable[[Pass], Any]) -> Iterator[None]:
    """While open, `begin` is called with every pass as it enters the first decoder layer."""
    calls: list[Call] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if module is decoder.callers[0]:
            calls.clear()
        calls.append((module, args, kwargs))

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = next(
            value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor) and value.dim() == 3
        )
        heard = Pass(hidden, list(calls))
        calls.clear()
        begin(heard)

    handles = [module.register_forward_pre_hook(note, with_kwargs=True) for module in decoder.callers]
    handles.append(decoder.layers[0].register_forward_pre_hook(enter, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def forward_arguments(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of one call of `module.forward`, by name."""
    signature = inspect.signature(module.forward)
    named = dict(signature.bind_partial(*args, **kwargs).arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            named.update(named.pop(parameter.name, {}))
    return named


def token_mask(masks: list[Tensor], prompt: Pass) -> Tensor:
    """Which tokens of a prefill are real: bool [rows, tokens] on the pass's device.

    masks: attention masks given to the modules around the decoder, the outermost first; the first that fits
    counts, none given means all real. Each is [rows, tokens] with 0 for padding, or the causal
    [rows, 1, tokens, keys] that is built for static caches (what the last token may see is real).
    """
    shape = (prompt.rows, prompt.tokens)
    if not masks:
        return torch.ones(shape, dtype=torch.bool, device=prompt.device)
    for mask in masks:
        if mask.dim() == 4:
            mask = mask[:, 0, -1, : prompt.tokens]
            mask = mask if mask.dtype == torch.bool else mask >= 0
        if tuple(mask.shape) == shape:
            return mask.to(device=prompt.device, dtype=torch.bool)
    raise ValueError(
        f"attention_mask has shape {tuple(masks[0].shape)} but the prompt has {shape[0]} rows of {shape[1]} tokens; "
        "pass the mask that the processor returned with the input ids"
    )


def last_token(mask: Tensor) -> Tensor:
    """Index of the last real token of each row: int64 [rows], right for left and for right padding."""
    if not bool(mask.any(dim=1).all()):
        empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
        raise ValueError(f"rows {empty} of the batch are all padding; every prompt needs at least one token")
    return mask.shape[1] - 1 - mask.flip(1).to(torch.int64).argmax(dim=1)
