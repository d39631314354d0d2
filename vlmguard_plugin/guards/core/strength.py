"""What one request may ask of a served guard: that it be off, or of another strength within its calibrated range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.choice import more_degenerate, over_bound
from vlmguard_plugin.guards.core.composed import ComposedGuard
from vlmguard_plugin.guards.core.registry import build_guard

OFF = "off"
STRENGTH = "alpha"
"""The setting that is a guard's strength, where it has one."""


@dataclass(frozen=True)
class Strengths:
    """The strengths that a request may ask for, bounds included.

    guard: name of the one whose alpha it is; of a composition, of its part. calibrated: whether a calibration has
    found that the bounds keep its bound on over-refusal.
    """

    guard: str
    least: float
    most: float
    calibrated: bool

    def as_json(self) -> dict[str, Any]:
        """As a server tells them."""
        return {"guard": self.guard, STRENGTH: [self.least, self.most], "calibrated": self.calibrated}


def strengths_of(guard: Guard) -> Strengths:
    """Those of a fitted guard; ValueError where it has none, or several guards in it have one.

    Of a calibrated guard from the least to the greatest alpha that kept the bound beside its other settings; of one
    that was not calibrated, or whose settings no point has, from 0 to its own alpha.
    """
    having = [part for part in guard.parts if hasattr(part.settings, STRENGTH)]
    if len(having) != 1:
        which = " and ".join(part.name for part in having)
        why = f"{which} have one each" if having else "it has no such setting"
        raise ValueError(f"guard {guard.name!r} has no one strength ({why}); ask for {OFF!r}, or for nothing")
    part = having[0]
    own = float(getattr(part.settings, STRENGTH))
    kept = kept_by(part)
    numbers = kept or [0.0, own]
    return Strengths(part.name, min(numbers), max(numbers), bool(kept))


def told(guard: Guard) -> dict[str, Any]:
    """What a server whose requests may ask tells of it: that a guard can be off, and its strengths, None for none."""
    try:
        return {OFF: True, "strength": strengths_of(guard).as_json()}
    except ValueError:
        return {OFF: True, "strength": None}


def kept_by(part: Guard) -> list[float]:
    """The strengths of calibration points that kept the bound, beside the guard's settings but for its strength."""
    calibration = part.facts.get("calibration")
    if calibration is None:
        return []
    settings = part.unfitted_settings()
    try:
        bound, unguarded = calibration["bound"], calibration["unguarded"]
        return [
            float(point["settings"].get(STRENGTH, settings[STRENGTH]))
            for point in calibration["points"]
            if all(settings[name] == value for name, value in point["settings"].items() if name != STRENGTH)
            and not over_bound(point, unguarded, bound)
            and not more_degenerate(point, unguarded)
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"the calibration of guard {part.name!r} is not whole ({error!r}); it has to be calibrated again"
        ) from error


def as_asked(guard: Guard, asked: Any) -> Guard:
    """The guard as a request asks for it: none for "off", the same fit at another strength for a number.

    ValueError for anything else, for a strength out of range, and where the guard has none.
    """
    if asked == OFF:
        return build_guard("none")
    if isinstance(asked, bool) or not isinstance(asked, (int, float)):
        raise ValueError(f"the guard is asked to be {asked!r}; give {OFF!r} or a number, its {STRENGTH}")
    strengths = strengths_of(guard)
    if not strengths.least <= asked <= strengths.most:
        raise ValueError(
            f"{STRENGTH} is {asked!r}; guard {strengths.guard!r} may be asked for {strengths.least:g} to "
            f"{strengths.most:g}"
        )
    parts = [
        part.with_settings(**{STRENGTH: float(asked)}) if part.name == strengths.guard else part for part in guard.parts
    ]
    return parts[0] if len(parts) == 1 else ComposedGuard(parts)
