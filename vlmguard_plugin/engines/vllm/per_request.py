"""What a request may say to a served guard; those that ask for none, or for another strength, are edited apart."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Callable, Sequence

from vlmguard_plugin.engines.vllm.asked import KEY, Asked, check_spelling
from vlmguard_plugin.engines.vllm.configuration import edits_of, served_guard
from vlmguard_plugin.engines.vllm.flattened import PLACE, FlatBatch
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.strength import as_asked

OWN_WORDS = "vlmguard_"
"""What the names of `extra_args` begin with that this package's own subject gives; nobody else may."""

if TYPE_CHECKING:
    from vlmguard_plugin.engines.vllm.edited_requests import EditedRequests
    from vlmguard_plugin.steering.edit import Edits

    Shares = list[tuple[list[EditedRequests], FlatBatch]]


def check_request(asked: Asked, params: Any) -> None:
    """VLLMValidationError for a request that could not be guarded rightly. params: vLLM's.

    In a subject's engine that is one that the subject has not put, whose answer would be without its edits.
    """
    from vllm.exceptions import VLLMValidationError  # which servers answer with status 400

    said = getattr(params, "extra_args", None) or {}
    if asked.guard is None:
        if PLACE not in said:
            raise VLLMValidationError(
                "a request has come to this engine past the subject that guards its answers; ask by `generate` of the "
                "object that the engine was made for, or give its checkpoint to a model of this package's with "
                "engine=vllm"
            )
        return
    own = sorted(name for name in said if name.startswith(OWN_WORDS))
    if own:
        raise VLLMValidationError(f"{', '.join(own)}: where a prompt ends is not for a request to say; leave it out")
    try:
        check_spelling("vllm_xargs", said)
        if KEY in said:
            check_asked(asked, said[KEY])
    except ValueError as error:
        raise VLLMValidationError(str(error)) from error
    if getattr(params, "prompt_logprobs", None) is not None:
        raise VLLMValidationError(
            "prompt_logprobs: the guard on this engine decides at the prompt's last token, so the likelihood of words "
            "within a prompt is not that of an answer; use engine=vllm of this package's own models"
        )


def check_whole(asked: Asked, what: str) -> None:
    """VLLMValidationError, in a served guard's engine, for what makes answers a part of prompts. what: in words."""
    from vllm.exceptions import VLLMValidationError

    if asked.guard is not None:
        raise VLLMValidationError(
            f"{what}: its prompts hold what was answered before, and the guard on this engine decides at a prompt's "
            "last token; ask without it"
        )


def forget_pictures(processor: Any, prompt: Any) -> None:
    """Have the front end forget the pictures of a request that is refused, which the engine never gets.

    It would send the next request with the same picture by the picture's name alone, and that one would fail.
    """
    cache = processor.renderer.mm_processor_cache
    names = prompt.get("mm_hashes") if isinstance(prompt, dict) else None
    for name in (name for of_kind in (names or {}).values() for name in of_kind):
        if cache is not None:
            cache.invalidate(name)


def check_asked(asked: Asked, wanted: Any) -> None:
    """ValueError where a request may not ask for this guard. asked: of the server. wanted: by the request."""
    if not asked.per_request:
        raise ValueError(
            f"{KEY} is {wanted!r}, but this server has one guard for all requests; leave it out, or start the server "
            'with "per_request": true beside "guard"'
        )
    as_asked(of_server(asked), wanted)


def of_server(asked: Asked) -> Guard:
    """The guard of a server, read once a process: what happens to its folder later changes nothing."""
    return _read_once(str(asked.guard), json.dumps(dict(asked.settings)))


@lru_cache(maxsize=1)
def _read_once(folder: str, settings: str) -> Guard:
    from vlmguard_plugin.reading import parsed_json

    return served_guard(Asked(folder, parsed_json(settings)))


class PerRequest:
    """What a worker does to requests that ask for another guard than the server's own.

    in_place: what edits make of requests (`Steering.in_place`). Nothing is kept of a strength that no request under
    way has.
    """

    def __init__(self, in_place: Callable[[Sequence[Edits]], list[EditedRequests]]) -> None:
        self.in_place = in_place
        self.guard: Guard | None = None
        self.num_layers = 0
        self.by_asked: dict[str | float, list[EditedRequests]] = {}

    def allow(self, guard: Guard, num_layers: int) -> None:
        """From now on requests may ask. guard: the server's own. num_layers: L."""
        self.guard, self.num_layers = guard, num_layers

    def edited(self) -> list[EditedRequests]:
        """All that is done to such requests."""
        return [requests for edited in self.by_asked.values() for requests in edited]

    def shares(self, batch: FlatBatch, own: list[EditedRequests]) -> Shares:
        """The batch by what its requests ask for, and what is done to each share. own: what is done without asking."""
        if self.guard is None or not (self.by_asked or any(part.asked is not None for part in batch.parts)):
            return [(own, batch)]
        parts: dict[str | float | None, list[Any]] = {}
        for part in batch.parts:
            parts.setdefault(part.asked, []).append(part)
        for asked in set(self.by_asked) - set(parts):
            if not any(requests.decisions or requests.states for requests in self.by_asked[asked]):
                del self.by_asked[asked]
        return [
            (own if asked is None else self.edits_for(asked), FlatBatch(some, batch.device))
            for asked, some in parts.items()
        ]

    def edits_for(self, asked: str | float) -> list[EditedRequests]:
        """What is done to requests that ask for this."""
        if asked not in self.by_asked and self.guard is not None:
            self.by_asked[asked] = self.in_place(edits_of(as_asked(self.guard, asked), self.num_layers))
        return self.by_asked[asked]
