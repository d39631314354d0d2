"""The rows that VLMEvalKit is about to ask for: it hands over one message at a time, and says not from which row."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import Any, Callable, Iterator, NamedTuple

import numpy
from vlmeval.smp import get_rank_and_world_size

from vlmguard_plugin.hosts.guarded import Answered
from vlmguard_plugin.hosts.vlmeval.messages import as_query
from vlmguard_plugin.query import Query


class RowAhead(NamedTuple):
    """A row's request, and the row itself; None where no row is known for it."""

    query: Query
    row: Any = None


class RowsAhead:
    """This process's rows of the data set that the host goes through, in the host's order, built as they are needed.

    dump_image: what the host hands a model once a data set, a method of the set; None for no set.
    message_of: the message that the host makes of a row of a set; by default the set's own.
    """

    def __init__(self, dump_image: Any = None, message_of: Callable[[Any, Any], Any] | None = None) -> None:
        dataset = getattr(dump_image, "__self__", None)
        self._coming = iter(()) if dataset is None else upcoming(dataset, message_of or sets_own_message)
        self._rows: list[RowAhead] = []
        self._places: dict[Query, list[int]] = {}
        self._next = 0
        self._answers: dict[Query, Answered] = {}
        self._answers_to: str | None = None
        self.failed: set[Query] = set()
        """Requests that have failed by themselves when they were asked ahead."""

    def answers_to(self, dataset: str | None) -> dict[Query, Answered]:
        """The answers of a data set that were given so far, to be added to; those to another one are given up.

        The set's name counts: how pictures are read, and the prompts of a host's class, may go by it.
        """
        if dataset != self._answers_to:
            self._answers, self._answers_to, self.failed = {}, dataset, set()
        return self._answers

    def rows_from(self, query: Query, most: int) -> list[RowAhead]:
        """The next row with this request and those that follow it, at most so many; it alone where there is none.

        The host may leave rows out (it has their answers), and ask for earlier ones again.
        """
        place = self._place_of(query)
        if place is None:
            return [RowAhead(query)]
        self._next = place + 1
        while len(self._rows) < place + most and self._build():
            pass
        return self._rows[place : place + most]

    def _place_of(self, query: Query) -> int | None:
        known = self._places.setdefault(query, [])
        while not (known and known[-1] >= self._next):
            if not self._build():
                return known[-1] if known else None
        return next(place for place in known if place >= self._next)

    def _build(self) -> bool:
        """Build the next row that isn't yet; False where there is none."""
        row = next(self._coming, None)
        if row is None:
            return False
        self._places.setdefault(row.query, []).append(len(self._rows))
        self._rows.append(row)
        return True


def sets_own_message(dataset: Any, row: Any) -> Any:
    """A row's message as the set builds it."""
    return dataset.build_prompt(row)


def upcoming(dataset: Any, message_of: Callable[[Any, Any], Any]) -> Iterator[RowAhead]:
    """The rows, built one by one.

    Ends at a row whose prompt can't be built: the host meets it, and reports it, when it gets there.
    """
    rank, world_size = get_rank_and_world_size()
    for place in range(rank, len(dataset.data), world_size):
        row = dataset.data.iloc[place]
        try:
            with random_numbers_kept():
                query = as_query(message_of(dataset, row))
        except Exception:  # noqa: BLE001 - a set's or class's own code, and the host meets it too
            return
        yield RowAhead(query, row)


@contextmanager
def random_numbers_kept() -> Iterator[None]:
    """What is drawn meanwhile is drawn again behind it: a prompt that a set draws is for the host what it was."""
    states = random.getstate(), numpy.random.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        numpy.random.set_state(states[1])
