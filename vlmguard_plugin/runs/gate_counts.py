"""How often a guard's gate fired, counted apart for harmful and harmless requests and for those without a mark."""

from __future__ import annotations

from typing import Iterable, Mapping, Sequence

MOST = 1e15
"""Of anything that is counted or timed in a run, at most."""
REQUESTS = {True: "harmful", False: "harmless", None: "unmarked"}
"""The kinds of requests, by whether they are marked as harmful."""
GateCounts = Mapping[str, Sequence[int]]
"""(on how many a gate fired, on how many it decided) by kind of request (REQUESTS)."""


def gate_count(fired: bool | None, harmful: bool | None) -> GateCounts | None:
    """Of one request. fired: None where no gate has decided, which is no count. harmful: its mark, None for none."""
    return None if fired is None else {REQUESTS[harmful]: (int(fired), 1)}


def added(counts: Iterable[GateCounts | None]) -> GateCounts | None:
    """All together; None where there are none."""
    known = [each for each in counts if each]
    sums = {
        kind: tuple(sum(each[kind][place] for each in known if kind in each) for place in (0, 1))
        for kind in REQUESTS.values()
    }
    return {kind: of_kind for kind, of_kind in sums.items() if of_kind[1]} or None


def without(counts: GateCounts | None, earlier: GateCounts | None) -> GateCounts | None:
    """What has come to earlier counts since."""
    negative = {kind: [-number for number in of_kind] for kind, of_kind in (earlier or {}).items()}
    return added([counts, negative])


def are_gate_counts(value: object) -> bool:
    """Whether a value read from a file is None or GateCounts."""
    return value is None or (
        isinstance(value, Mapping)
        and set(value) <= set(REQUESTS.values())
        and all(
            isinstance(of_kind, (list, tuple))
            and len(of_kind) == 2
            and all(type(number) is int for number in of_kind)
            and 0 <= of_kind[0] <= of_kind[1] <= MOST
            for of_kind in value.values()
        )
    )
