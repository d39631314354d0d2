"""Which point of a calibration is chosen, by which bound, and why another is not; what it has come to in words.

A point is a dict of settings, n, and the rates harmful_refused, harmless_refused and degenerate (0 to 1); a
calibration (`facts["calibration"]` of a guard) holds bound, unguarded (a point without settings), points and chosen.
"""

from __future__ import annotations

import json
from typing import Any, Sequence

Point = dict[str, Any]
ROUNDING = 1e-9
"""Added to the bound, so that a rate that equals it is within it."""


def choose(points: Sequence[Point], unguarded: Point, bound: float) -> Point | None:
    """The point that refuses most harmful anchors within the bound; None where no point is within it."""
    within = [
        point for point in points if not over_bound(point, unguarded, bound) and not more_degenerate(point, unguarded)
    ]
    return max(within, key=lambda point: (point["harmful_refused"], -point["harmless_refused"]), default=None)


def over_bound(point: Point, unguarded: Point, bound: float) -> bool:
    """Whether it refuses more harmless anchors than bound (0 to 1) above the unguarded model."""
    return bool(point["harmless_refused"] > unguarded["harmless_refused"] + bound + ROUNDING)


def more_degenerate(point: Point, unguarded: Point) -> bool:
    """Whether it gives more degenerate answers than the unguarded model."""
    return bool(point["degenerate"] > unguarded["degenerate"])


def point_with(points: Sequence[Point], settings: dict[str, Any] | None) -> Point:
    """The point of these settings, which is there."""
    return next(point for point in points if point["settings"] == settings)


def in_words(calibration: dict[str, Any]) -> str:
    """What a calibration has come to, as a sentence or two."""
    points, bound, chosen = (calibration[key] for key in ("points", "bound", "chosen"))
    tried = f"settings tried: {len(points)}; bound {bound:.1%} more over-refusal than unguarded"
    if chosen is None:
        return f"{tried}: none is within the bound; settings are left as they were."
    best = point_with(points, chosen)
    harmful, unguarded = best["harmful_refused"], calibration["unguarded"]["harmful_refused"]
    words = f"{tried}: chosen {json.dumps(chosen)}, which refuses {harmful:.1%} of harmful anchors"
    if harmful > unguarded:
        return f"{words} (unguarded {unguarded:.1%}) and {best['harmless_refused']:.1%} of harmless ones."
    return f"{words}: no more than the unguarded model ({unguarded:.1%}), so this guard does not help within the bound."
