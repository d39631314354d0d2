"""The guard a request asks for, where the server lets it: the server's own, none, or its own at another strength."""

from __future__ import annotations

import copy
from typing import Any, Protocol, Sequence

from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.strength import as_asked, told
from vlmguard_plugin.hosts.guarded import Answered
from vlmguard_plugin.query import Query


class Answers(Protocol):
    """What answers queries under its guard: a GuardedModel, or what stands before another server."""

    @property
    def guard(self) -> Guard | None:
        """The guard; None for none."""

    def respond_each(self, queries: Sequence[Query], dataset: str = "", **generation: Any) -> list[Answered]:
        """One answer or NoAnswer per query, in order."""


class ByRequest:
    """A model under the guards that requests ask for.

    model: under its own guard. allowed: whether a request may ask for another.
    """

    def __init__(self, model: Answers, allowed: bool = False) -> None:
        self.model, self.allowed = model, allowed

    def check(self, wanted: str | float | None) -> None:
        """ValueError where a request may not ask for this."""
        self.under(wanted)

    def under(self, wanted: str | float | None) -> Answers:
        """The model under the guard that is asked for; under its own for None."""
        if wanted is None:
            return self.model
        if not self.allowed or self.model.guard is None:
            raise ValueError(
                f"vlmguard is {wanted!r}, but this server has one guard for all requests; leave it out, or start the "
                "server with --per-request"
            )
        other: Any = copy.copy(self.model)
        other.guard = as_asked(self.model.guard, wanted)
        under: Answers = other
        return under

    def told(self) -> dict[str, Any] | None:
        """What /vlmguard says of it; None where requests may not ask."""
        return told(self.model.guard) if self.allowed and self.model.guard is not None else None
