"""Where a prompt's tokens are in one pass of a model: which are real, which is the last, which hold an image."""

from __future__ import annotations

import inspect
import threading
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

    rows, tokens: shape of the hidden states that enter the first layer. device: where they are. cache: the KV cache
    that the pass goes on from, an object or a tuple; None where it has none.
    """

    def __init__(self, hidden: Tensor, calls: list[Call], first_layer: dict[str, Any]) -> None:
        self.rows, self.tokens = hidden.shape[:2]
        self.device = hidden.device
        self._calls = calls
        self._first_layer = first_layer

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

    @cached_property
    def cache(self) -> Any:
        own = (value for value in self._first_layer.values() if hasattr(value, "get_seq_length"))
        return next(own, None) or next(self.given("past_key_values"), None)

    def cache_length(self) -> int:
        """Tokens that went before this pass, as far as the KV cache tells; 0 without one. May wait for the device."""
        if self.cache is None:
            return 0
        if hasattr(self.cache, "get_seq_length"):
            return int(self.cache.get_seq_length())
        return int(self.cache[0][0].shape[-2]) if len(self.cache) else 0

    def ids(self) -> Tensor | None:
        """Token ids [rows, tokens] of the pass, int64; None where the model was given none of this shape."""
        shape = (self.rows, self.tokens)
        return next((ids for ids in self.given("input_ids") if tuple(ids.shape) == shape), None)

    def has_image(self, image_token_id: int | None, prompt: Tensor | None = None) -> Tensor | None:
        """Which rows hold an image, bool [rows]: by the image token where there is one, else by the pixels given.

        prompt: ids [rows, any] of the prompt, where they are known beside what the modules were given. None where it
        can't be told: the prompt came as embeddings.
        """
        several = [*self.given("input_ids"), *([] if prompt is None else [prompt])]
        for tokens in several:
            if image_token_id is not None and tokens.shape[0] == self.rows:
                holds: Tensor = (tokens == image_token_id).any(dim=1).to(self.device)
                return holds
        pixels = any(
            value is not None
            for arguments in self._arguments
            for name, value in arguments.items()
            if name.startswith("pixel_values")
        )
        if not pixels and not several:
            return None
        return torch.full((self.rows,), pixels, dtype=torch.bool, device=self.device)


@contextmanager
def hearing_passes(
    decoder: Decoder, begin: Callable[[Pass], Any], end: Callable[[bool], Any] | None = None
) -> Iterator[None]:
    """While open, `begin` is called with every pass as it enters the first decoder layer.

    end: called when the outermost module around the decoder has come to its end without an error, with whether the
    pass has entered the first layer. RuntimeError where another thread runs the model.
    """
    thread = threading.get_ident()
    calls: list[Call] = []  # under way, the outermost first
    entered = False

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal entered
        if threading.get_ident() != thread:
            raise RuntimeError(
                "another thread runs this model while its hidden states are read or edited; use one model from one "
                "thread at a time"
            )
        for number, call in enumerate(calls):
            if call[0] is module:  # left behind by a pass that was cut short
                del calls[number:]
                break
        if not calls:
            entered = False
        calls.append((module, args, kwargs))

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal entered
        hidden = next(
            value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor) and value.dim() == 3
        )
        entered = True
        begin(Pass(hidden, list(calls), kwargs))

    def done(module: nn.Module, args: Any, output: Any) -> None:
        if end is not None and calls and calls[0][0] is module:
            end(entered)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        """Also after an error: what is left of a call that failed tells nothing of the next."""
        while threading.get_ident() == thread and calls and calls.pop()[0] is not module:
            pass

    handles = [module.register_forward_pre_hook(note, with_kwargs=True) for module in decoder.callers]
    handles += [module.register_forward_hook(done) for module in decoder.callers]
    handles += [module.register_forward_hook(leave, always_call=True) for module in decoder.callers]
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
    [rows, 1, tokens, keys] that is built for static caches.
    """
    shape = (prompt.rows, prompt.tokens)
    if not masks:
        return torch.ones(shape, dtype=torch.bool, device=prompt.device)
    for mask in masks:
        if mask.dim() == 4:
            mask = mask[:, 0, :, : prompt.tokens]
            mask = seen_tokens(mask if mask.dtype == torch.bool else mask >= 0)
        if tuple(mask.shape) == shape:
            return mask.to(device=prompt.device, dtype=torch.bool)
    raise ValueError(
        f"attention_mask has shape {tuple(masks[0].shape)} but the prompt has {shape[0]} rows of {shape[1]} tokens; "
        "pass the mask that the processor returned with the input ids"
    )


def seen_tokens(sees: Tensor) -> Tensor:
    """Which tokens are real, bool [rows, tokens]: the last one that sees another, and all that it can see in the end.

    sees: bool [rows, tokens, tokens], which token (second) is seen by which (first). A sliding window shows only
    part of the prompt to the last token, but all of it to those before it in turn. A prompt of one token sees itself.
    """
    rows, tokens, _ = sees.shape
    others = sees & ~torch.eye(tokens, dtype=torch.bool, device=sees.device)
    last = torch.where(others.any(dim=2), torch.arange(tokens, device=sees.device), -1).amax(dim=1)
    last = torch.where(last < 0, tokens - 1, last)
    real = torch.zeros((rows, tokens), dtype=torch.bool, device=sees.device)
    real[torch.arange(rows, device=sees.device), last] = True
    while True:
        more = real | (sees & real.unsqueeze(2)).any(dim=1)
        if bool((more == real).all()):
            return real
        real = more


def last_token(mask: Tensor) -> Tensor:
    """Index of the last real token of each row: int64 [rows], right for left and for right padding."""
    if not bool(mask.any(dim=1).all()):
        empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
        raise ValueError(f"rows {empty} of the batch are all padding; every prompt needs at least one token")
    return mask.shape[1] - 1 - mask.flip(1).to(torch.int64).argmax(dim=1)
