"""The rows that VLMEvalKit is about to ask for: it hands over one message at a time, and says not from which row."""

from __future__ import annotations

from itertools import islice
from typing import Any, Iterator, NamedTuple

from vlmeval.smp import get_rank_and_world_size

from vlmguard_plugin.hosts.vlmeval.messages import as_query
from vlmguard_plugin.query import Query
from vlmguard_plugin.runs.rows import marked_harmful


class RowAhead(NamedTuple):
    """A row's request, and as which it is marked, if it is."""

    query: Query
    harmful: bool | None


class RowsAhead:
    """This process's rows of the data set that the host goes through, in the host's order.

    dump_image: what the host hands a model once a data set, a method of the set; None for no set.
    """

    def __init__(self, dump_image: Any = None) -> None:
        self.dataset = getattr(dump_image, "__self__", None)
        self._rows = iter(()) if self.dataset is None else upcoming(self.dataset)

    @property
    def marked(self) -> bool:
        """Whether the set says of its requests whether they are harmful."""
        return self.dataset is not None and "harmful" in self.dataset.data

    def rows_from(self, query: Query, most: int) -> list[RowAhead]:
        """The row of a request and those that follow it, at most so many; it alone, unmarked, where it isn't there."""
        found = next((row for row in self._rows if row.query == query), None)
        return [RowAhead(query, None)] if found is None else [found, *islice(self._rows, most - 1)]


def upcoming(dataset: Any) -> Iterator[RowAhead]:
    """The rows, built one by one.

    Ends at a row whose prompt can't be built: the host meets it, and reports it, when it gets there.
    """
    rank, world_size = get_rank_and_world_size()
    for place in range(rank, len(dataset.data), world_size):
        row = dataset.data.iloc[place]
        try:
            query = as_query(dataset.build_prompt(row))
        except (OSError, ValueError, KeyError, TypeError, AssertionError):
            return
        yield RowAhead(query, marked_harmful(row))
