"""A calibration's points: their intervals, which was chosen under which bound, and why others were not."""

from __future__ import annotations

from typing import Any

from vlmguard_plugin.guards.core.choice import more_degenerate, over_bound
from vlmguard_plugin.inspection.rates import wilson_interval
from vlmguard_plugin.leaderboard.outputs.wording import percent

MEASURES = ("harmful_refused", "harmless_refused", "degenerate")  # of a calibration's points, 0 to 1


def remarks(point: dict[str, Any], calibration: dict[str, Any]) -> list[str]:
    """What is to be said about a point: chosen, over the bound, more degenerate answers than unguarded."""
    return [
        remark
        for remark, holds in (
            ("chosen", is_chosen(point, calibration)),
            ("over bound", over_bound(point, calibration["unguarded"], calibration["bound"])),
            ("degenerate", more_degenerate(point, calibration["unguarded"])),
        )
        if holds
    ]


def outcome(calibration: dict[str, Any]) -> str:
    """Which point was chosen under which bound, in words."""
    bound = (
        f"harmless refused at most {percent(most_harmless_refused(calibration))}%, "
        f"{100 * calibration['bound']:g} points above the unguarded model"
    )
    if calibration["chosen"] is None:
        return f"No point met the bound ({bound})."
    return f"Chosen: {settings_text(calibration['chosen']) or 'as given'} (bound: {bound})."


def settings_text(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def most_harmless_refused(calibration: dict[str, Any]) -> float:
    return float(calibration["unguarded"]["harmless_refused"] + calibration["bound"])


def is_chosen(point: dict[str, Any], calibration: dict[str, Any]) -> bool:
    return calibration["chosen"] is not None and point["settings"] == calibration["chosen"]


def interval_of(point: dict[str, Any], name: str) -> tuple[float, float]:
    """Wilson interval of a point's rate; degenerate is a share of the 2n answers to both sides."""
    answers = point["n"] * (2 if name == "degenerate" else 1)
    return wilson_interval(round(point[name] * answers), answers)
