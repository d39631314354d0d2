"""One generation: what `generate` was given, which passes belong to it, and which of their tokens are edited."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from vlmguard_plugin.lazy import torch
from vlmguard_plugin.steering.passes import Pass, last_token

if TYPE_CHECKING:
    from torch import Tensor

    from vlmguard_plugin.steering.edit import LayerEdit

REFUSED = (
    "prefill_chunk_size", "assistant_model", "assistant_early_exit", "prompt_lookup_num_tokens", "guidance_scale",
)  # fmt: skip
"""Options of `generate` under which passes are split, guessed or made beside the answer's own."""


DECODED = ("generated", "all", "every_step")
"""Positions at which each new token is edited as it is decoded."""


class Given(NamedTuple):
    """What `generate` was given. ids, mask: [queries, tokens], None where it got none. expansion: rows per query."""

    ids: Tensor | None = None
    mask: Tensor | None = None
    expansion: int = 1


def given_to(generate: Callable[..., Any], own_config: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Given:
    """What one call of `generate` is given; ValueError for REFUSED options, wherever they are set.

    own_config: the model's own generation_config, which decides what neither the call nor its config says.
    """
    try:
        named = dict(inspect.signature(generate).bind_partial(*args, **kwargs).arguments)
    except TypeError:
        return Given()  # it will say itself what is wrong
    for value in [value for value in named.values() if isinstance(value, dict)]:
        named.update(value)  # its **kwargs

    def effective(option: str) -> Any:
        configs = (named.get("generation_config"), own_config)
        settings = (named.get(option), *(getattr(config, option, None) for config in configs))
        return next((setting for setting in settings if setting is not None), None)

    for option in REFUSED:
        if effective(option) and not (option == "guidance_scale" and effective(option) == 1):
            raise ValueError(
                f"generate({option}=...) makes passes that edits decided once a prefill can't follow; leave {option} "
                "out, also of the model's generation_config"
            )
    ids = next((named[name] for name in ("input_ids", "inputs") if is_table(named.get(name))), None)
    mask = named["attention_mask"] if is_table(named.get("attention_mask")) else None
    return Given(ids, mask, max(effective("num_beams") or 1, effective("num_return_sequences") or 1))


def is_table(value: Any) -> bool:
    """Whether a value is a tensor of queries and tokens."""
    return isinstance(value, torch.Tensor) and value.dim() == 2


class Prefill(NamedTuple):
    """A generation's first pass. prompt: bool [rows, tokens], its real tokens. has_image: bool [rows], or None.

    answer: bool [rows, tokens], tokens of an answer that is given with its prompt; None if there is none.
    last: int64 [rows], the column of the last prompt token.
    """

    prompt: Tensor
    answer: Tensor | None
    last: Tensor
    has_image: Tensor | None


class EditedTokens(NamedTuple):
    """Which tokens of one pass are edited: those of a mask, one column of each row, or without either every token.

    mask: bool [rows, tokens]. columns: int64 [rows]. Both on the device of the first decoder layer.
    """

    mask: Tensor | None = None
    columns: Tensor | None = None


class Generation:
    """A generation under way.

    given: what `generate` was given; None for passes outside `generate`. heard: whether its prefill has been.
    seen: tokens that the layers have been through, padding included.
    states, placed, decisions: by decoder layer, the last prompt tokens' states [rows, d], the edit on the layer's
    device, and what it has decided.
    """

    def __init__(self, given: Given | None = None) -> None:
        self.given = given
        self.prefill: Prefill | None = None
        self.heard = False
        self.states: dict[int, Tensor] = {}
        self.placed: dict[int, LayerEdit] = {}
        self.decisions: dict[int, Tensor] = {}
        self._cache: Any = None
        self._ids: Tensor | None = None
        self.seen = 0

    def start(self, first: Pass, prefill: Prefill) -> None:
        """Take a pass as the prefill."""
        self.prefill, self.heard = prefill, True
        self._cache, self._ids, self.seen = first.cache, first.ids(), first.tokens

    def check_whole(self, first: Pass) -> None:
        """RuntimeError for a first pass that does not hold the whole prompt."""
        if first.cache_length():
            raise RuntimeError(
                "the first pass goes on from past_key_values, so it lacks the prompt's beginning, and guards decide "
                "by all of it; give the whole conversation without them"
            )
        asked = 0 if self.given is None or self.given.ids is None else self.given.ids.shape[1]
        if first.tokens < asked:
            raise RuntimeError(
                f"the first pass holds {first.tokens} of the prompt's {asked} tokens, and guards decide in one pass "
                "over the whole prompt; leave out what splits it"
            )

    def goes_on(self, heard: Pass, own_loop: bool) -> str | None:
        """How a pass goes on with the generation: "decoded" (new tokens alone), "rerun" (everything again), or None.

        own_loop: the model may hand its cache on in a form of its own, so that a single token is a decoded one.
        """
        cache = heard.cache
        if cache is not None and cache is self._cache:
            if self.given is None and heard.cache_length() != self.seen:
                return None  # used again for another prompt
            return "decoded"
        if cache is not None and (self._cache is None or isinstance(cache, tuple)) and heard.cache_length():
            return "decoded" if heard.cache_length() == self.seen else None
        if cache is not None and heard.cache_length():
            return None  # another generation's
        if heard.tokens > self.seen and self._begins_alike(heard):
            return "rerun"
        return "decoded" if own_loop and heard.tokens == 1 else None

    def _begins_alike(self, heard: Pass) -> bool:
        ids = heard.ids()
        if ids is None or self._ids is None or len(ids) != len(self._ids):
            return True
        return torch.equal(ids[:, : self._ids.shape[1]], self._ids)

    def count(self, heard: Pass, rerun: bool) -> None:
        """Note how far the generation is after a pass; RuntimeError where the batch has changed."""
        rows = len(self.prefill.prompt) if self.prefill else heard.rows
        if heard.rows != rows:
            raise RuntimeError(
                f"the batch changed from {rows} to {heard.rows} rows within one generation; use greedy search, "
                "sampling or beam search"
            )
        self.seen = heard.tokens if rerun else self.seen + heard.tokens


def prefill_of(
    first: Pass, given: Given | None, prompts: list[Tensor], image_token_id: int | None, answer_tokens: Tensor | None
) -> Prefill:
    """The prefill in a generation's first pass.

    prompts: ids of the prompt that callers of `generate` gave, the innermost first. answer_tokens: int [rows], how
    many of each row's last tokens are an answer's; None for none.
    """
    shape = (first.rows, first.tokens)
    mask = None if given is None or given.mask is None else given.mask.repeat_interleave(given.expansion, dim=0)
    fits = mask is not None and tuple(mask.shape) == shape
    real = mask.to(device=first.device, dtype=torch.bool) if mask is not None and fits else first.mask()
    prompt, answer = split(real, answer_tokens)
    known = [ids for ids in prompts if len(ids) and first.rows % len(ids) == 0]
    asked = known[0].repeat_interleave(first.rows // len(known[0]), dim=0) if known else None
    return Prefill(prompt, answer, last_token(prompt), first.has_image(image_token_id, asked))


def edited_tokens(prefill: Prefill, length: int, positions: str) -> EditedTokens | None:
    """Which tokens of a pass that begins with the prompt, `length` tokens, are edited; None if none."""
    rows, prompt_length = prefill.prompt.shape
    if positions == "last" or (positions == "every_step" and prefill.answer is None and length == prompt_length):
        return EditedTokens(columns=prefill.last)
    if positions == "generated" and prefill.answer is None and length == prompt_length:
        return None
    mask = prefill.prompt if positions in ("prompt", "all") else torch.zeros_like(prefill.prompt)
    if positions == "every_step":
        mask = mask.scatter(1, prefill.last.unsqueeze(1), True)
    decoded = positions in DECODED
    if decoded and prefill.answer is not None:
        mask = mask | prefill.answer
    after = torch.full((rows, length - prompt_length), decoded, device=mask.device)
    return EditedTokens(mask=torch.cat([mask, after], dim=1))


def split(real: Tensor, answer_tokens: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Real tokens, bool [rows, tokens], as those of the prompt and the last `answer_tokens` [rows] of each row."""
    if answer_tokens is None:
        return real, None
    from_last = real.flip(1).cumsum(1).flip(1)
    prompt = real & (from_last > answer_tokens.to(real.device).unsqueeze(1))
    return prompt, real & ~prompt
