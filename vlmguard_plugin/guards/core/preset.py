"""Presets: a guard's settings under one name, and which of them its sources leave open."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping

PRESETS = DEFAULT, PAPER = "default", "paper"


@dataclass(frozen=True)
class Preset:
    """A guard's settings as its sources give them, beside its calibrated defaults.

    settings: {setting: value}; a setting that is not named keeps the guard's default.
    ours: settings that the sources leave open, so that their value here is our convention.
    depths: numbers of decoder layers for which the sources give the layers, so that they are ours at other depths.
    note: what settings alone don't say (layers by depth, wordings, data), in a sentence.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    ours: tuple[str, ...] = ()
    depths: tuple[int, ...] = ()
    note: str = ""


def checked_name(guard: str, preset: object, there: Preset | None) -> str | None:
    """The preset's name; None for the defaults. ValueError for one that the guard does not have."""
    if preset in (None, DEFAULT):
        return None
    if preset == PAPER and there is not None:
        return PAPER
    known = DEFAULT if there is None else f"{DEFAULT} and {PAPER}"
    raise ValueError(f"preset is {preset!r}; guard {guard!r} has {known}")


def without_preset(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, a composition's by guard, without the names of the presets that they come from."""
    return {
        name: without_preset(value) if isinstance(value, dict) else value
        for name, value in settings.items()
        if name != "preset"
    }
