"""Which of lm-evaluation-harness's requests go through the model together, and in which order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Callable, Iterator, Sequence

from lm_eval.api.instance import Instance


@dataclass(frozen=True)
class Batch:
    """Requests of one task that are answered together. indices: among the host's requests."""

    task: str
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """batches: in order. answered_as: by request, the index of the request whose answer it has."""

    batches: tuple[Batch, ...]
    answered_as: tuple[int, ...]

    @property
    def answers(self) -> int:
        """How many there will be."""
        return sum(len(batch.indices) for batch in self.batches)


def plan(
    requests: Sequence[Instance], alike: Callable[[Instance], Any], batch_size: int, contexts: bool = False
) -> Plan:
    """Batches of one task whose requests are `alike`, the longest first.

    The host fills up a process's requests with copies of its last one; they are answered once.
    contexts: requests that share a context belong in one batch, which then holds `batch_size` contexts.
    """
    groups: dict[tuple[str, Any], list[int]] = defaultdict(list)
    times: dict[int, int] = defaultdict(int)  # how often a request has been met
    first_place: dict[int, int] = {}
    answered_as = []
    for index, request in enumerate(requests):
        first_place.setdefault(id(request), index)
        times[id(request)] += 1
        is_asked = times[id(request)] <= (request.repeats or 1)
        if is_asked:
            groups[request.task_name or "", alike(request)].append(index)
        answered_as.append(index if is_asked else first_place[id(request)])
    batches = []
    for (task, _), indices in groups.items():
        indices.sort(key=lambda index: (-len(requests[index].args[0]), requests[index].args[0] if contexts else ""))
        batches += [Batch(task, indices_) for indices_ in _cut(indices, requests, batch_size, contexts)]
    return Plan(tuple(batches), tuple(answered_as))


def _cut(
    indices: Sequence[int], requests: Sequence[Instance], batch_size: int, contexts: bool
) -> Iterator[tuple[int, ...]]:
    """Cut into `batch_size` requests, or contexts, each."""
    batch: list[int] = []
    seen: set[str] = set()
    for index in indices:
        context = requests[index].args[0] if contexts else str(index)
        if context not in seen and len(seen) == batch_size:
            yield tuple(batch)
            batch, seen = [], set()
        batch.append(index)
        seen.add(context)
    if batch:
        yield tuple(batch)
