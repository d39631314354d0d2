"""What measures give: rates with their intervals, or numbers by decoder layer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Sequence, Union

from vlmguard_plugin.statistics.rates import rate

Figure = Union[dict[str, Any], list[float]]
"""A rate as a dictionary (k, n, low, high, unknown), or one number a layer."""


def share(outcomes: Sequence[bool | None]) -> dict[str, Any]:
    """k of n with its 95% Wilson interval; None is unknown."""
    return asdict(rate(dict(enumerate(outcomes))))


def in_words(figure: Figure) -> str:
    """One figure as a line."""
    if isinstance(figure, list):
        return " ".join(f"{value:.2f}" for value in figure)
    unknown = f", {figure['unknown']} unknown" if figure["unknown"] else ""
    if not figure["n"]:
        return f"nothing judged{unknown}"
    part = figure["k"] / figure["n"]
    return f"{part:6.1%}  [{figure['low']:.1%}, {figure['high']:.1%}]  {figure['k']} of {figure['n']}{unknown}"
