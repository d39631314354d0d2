"""How often a guard's gate fired, counted apart for harmful and harmless requests and for those without a mark."""

from __future__ import annotations

from typing import Iterable, Mapping, Sequence

from vlmguard_plugin.statistics.rates import wilson

MOST = 1e15
"""Of anything that is counted or timed in a run, at most."""
REQUESTS = {True: "harmful", False: "harmless", None: "unmarked"}
"""The kinds of requests, by whether they are marked as harmful."""
GateCounts = Mapping[str, Sequence[int]]
"""(on how many a gate fired, on how many it decided) by kind of request (REQUESTS)."""


def gate_counts(fired: Sequence[bool | None], harmful: Sequence[bool | None]) -> GateCounts | None:
    """Of requests: whether a gate fired on each (None: none decided), and how it is marked; None where none decided."""
    by_kind: dict[str, list[bool]] = {}
    for acted, mark in zip(fired, harmful, strict=True):
        if acted is not None:
            by_kind.setdefault(REQUESTS[mark], []).append(acted)
    return {kind: (sum(of_kind), len(of_kind)) for kind, of_kind in by_kind.items()} or None


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


def gate_lines(counts: GateCounts | None, answers: int) -> tuple[str, ...]:
    """For example ("gate fired: 63 [54, 72]% of 120 harmful", "gate fired: 0 [0, 3]% of 120 harmless").

    With Wilson's 95% intervals; empty for no counts. answers: all there are; said where not so many were counted.
    """
    if not counts:
        return ()
    lines = []
    for kind, (fired, decided) in counts.items():
        if decided:
            low, high = wilson(fired, decided)
            rates = f"{100 * fired / decided:.0f} [{100 * low:.0f}, {100 * high:.0f}]%"
            lines.append(f"gate fired: {rates} of {decided:,} {kind}")
    counted = sum(decided for _, decided in counts.values())
    return (*lines, *([f"gate counted on {counted:,} of {answers:,} answers"] if counted != answers else []))
