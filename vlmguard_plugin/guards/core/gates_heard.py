"""Which queries a guard's gates fired on, for whoever asks while answers are given."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Iterator, Sequence

from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits, as_edits
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor

    from vlmguard_plugin.guards.core.base import Guard


class GatesHeard:
    """What the gates of all guards decide, by query: a gate has fired where the edit behind it is other than nothing.

    What a guard asks beside the queries themselves (captions, second looks) does not count.
    """

    def __init__(self, queries: Sequence[Query]) -> None:
        self._asked = list(queries)
        self._decisions: list[tuple[list[list[int]], Tensor]] = []
        self._asked_places = places_by_identity(self._asked, [[place] for place in range(len(self._asked))])
        self._noted: dict[int, bool] = {}
        self._put: list[Query] = []  # a query is known by its identity, so it has to stay
        self._put_places: dict[int, list[int]] = {}

    def put(self, queries: Sequence[Query], rewritten: Sequence[Query]) -> None:
        """Queries are put to the model as these, which hold what guards have added."""
        known = [self._put_places.get(id(query)) or self._asked_places.get(id(query), []) for query in queries]
        self._put += rewritten
        self._put_places = places_by_identity(rewritten, known)

    def of(self, guard: Guard, edits: Sequence[Edits], batch: Sequence[Query]) -> tuple[Edits, ...]:
        """A guard's edits for a batch, heard where it has a gate."""
        if not guard.has_gate:
            return tuple(edits)
        places = [self._put_places.get(id(query), []) for query in batch]

        def heard(decision: Tensor) -> None:
            if len(decision) % len(places) == 0:  # else nobody knows whose rows these are
                self._decisions.append((places, decision.flatten(1).any(dim=1)))

        return tuple(replace(of_layers, heard=heard) for of_layers in edits)

    def note(self, queries: Sequence[Query], fired: Sequence[bool]) -> None:
        """What a guard that looks at requests and answers has decided about the queries themselves."""
        for query, acted in zip(queries, fired):
            for place in self._asked_places.get(id(query), []):
                self._noted[place] = self._noted.get(place, False) or acted

    @property
    def fired(self) -> list[bool | None]:
        """By query; None for one that no gate has decided about. Waits for the model's device."""
        fired: list[bool | None] = [self._noted.get(place) for place in range(len(self._asked))]
        for places, rows in self._decisions:
            by_query = rows.reshape(len(places), -1).any(dim=1).tolist()  # beams of a query lie next to each other
            for of_query, acted in zip(places, by_query):
                for place in of_query:
                    fired[place] = bool(fired[place]) or acted
        return fired


def places_by_identity(queries: Sequence[Query], places: Sequence[Sequence[int]]) -> dict[int, list[int]]:
    """The places of queries by their identity; a query that stands there twice has those of both."""
    by_identity: dict[int, list[int]] = {}
    for query, of_query in zip(queries, places):
        by_identity.setdefault(id(query), []).extend(of_query)
    return by_identity


_listening: ContextVar[GatesHeard | None] = ContextVar("_listening", default=None)


@contextmanager
def hearing_gates(queries: Sequence[Query]) -> Iterator[GatesHeard]:
    """While open, gates that decide about these queries are heard, whatever guard they are answered under."""
    heard = GatesHeard(queries)
    token = _listening.set(heard)
    try:
        yield heard
    finally:
        _listening.reset(token)


def edits_heard(guard: Guard, subject: Subject, batch: Sequence[Query]) -> tuple[Edits, ...]:
    """A guard's edits for a batch of (rewritten) queries, heard by whoever is listening."""
    heard = _listening.get()
    edits: list[Edits] = []
    for part in guard.parts:
        own = as_edits(part.edits(subject, batch))
        edits += heard.of(part, own, batch) if heard else own
    return tuple(edits)


def note_gates(queries: Sequence[Query], fired: Sequence[bool]) -> None:
    """Tell whoever is listening what a guard without edits has decided about queries, as they were asked."""
    heard = _listening.get()
    if heard:
        heard.note(queries, fired)


def note_put(queries: Sequence[Query], rewritten: Sequence[Query]) -> None:
    """Tell whoever is listening in which words queries are put to the model."""
    heard = _listening.get()
    if heard:
        heard.put(queries, rewritten)
