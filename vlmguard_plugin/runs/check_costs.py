"""What the checks of a guard model beside the subject have cost: calls, tokens and seconds."""

from __future__ import annotations

from typing import Iterable, Mapping

from vlmguard_plugin.runs.gate_counts import MOST

NAMES = ("calls", "tokens", "seconds")
CheckCostsOf = Mapping[str, float | None]
"""By NAMES; None for tokens that nobody counted. Seconds are part of a session's own."""


def costs_added(costs: Iterable[CheckCostsOf | None]) -> CheckCostsOf | None:
    """All together; None where there are none. Of tokens that are not all known, none are."""
    known = [each for each in costs if each]
    if not known:
        return None
    sums: dict[str, float | None] = {}
    for name in NAMES:
        values = [each[name] for each in known]
        counted = [value for value in values if value is not None]
        sums[name] = sum(counted) if len(counted) == len(values) else None
    return sums


def costs_since(costs: CheckCostsOf | None, earlier: CheckCostsOf | None) -> CheckCostsOf | None:
    """What has come to earlier costs since."""
    if costs is None or earlier is None:
        return costs
    negative = {name: None if (value := earlier[name]) is None else -value for name in NAMES}
    return costs_added([costs, negative])


def are_check_costs(value: object) -> bool:
    """Whether a value read from a file is None or CheckCostsOf."""
    return value is None or (
        isinstance(value, Mapping)
        and set(value) == set(NAMES)
        and all(
            (number is None and name == "tokens")
            or (isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number <= MOST)
            for name, number in value.items()
        )
    )
