"""The points of a sweep: a model of its own each, with a name and settings, kept in one file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

from vlmguard_plugin.calibration.grid import combinations
from vlmguard_plugin.files import write_whole
from vlmguard_plugin.guards.core.registry import build_guard
from vlmguard_plugin.hosts.models import MODELS
from vlmguard_plugin.naming import flat, nested, point_name
from vlmguard_plugin.reading import read_json

POINTS = "sweep.json"
"""File of a sweep's folder that holds its points; $VLMGUARD_MODELS takes it."""


@dataclass(frozen=True)
class Point:
    """One model of a sweep. name: on the host. settings: of the guard, as given; None for the unguarded model."""

    name: str
    settings: dict[str, Any] | None

    def value_text(self, setting: str) -> str:
        """Its value of a setting, as a column of the curve's table shows it."""
        if self.settings is None:
            return "unguarded"
        return next((json.dumps(value) for name, value in flat(self.settings) if name == setting), "default")


def points_of(
    model: str, guard: str, grid: Sequence[dict[str, list[Any]]], fixed: Mapping[str, Any]
) -> tuple[Point, ...]:
    """The unguarded model and the points of a grid; ValueError for a setting or value that the guard can't have."""
    base = base_name(model)
    settings_of: dict[str, dict[str, Any]] = {}
    for settings in combinations(grid, ()):
        twice = fixed.keys() & settings.keys()
        if twice:
            raise ValueError(f"{', '.join(sorted(twice))}: in the grid and set for all points; give it once")
        whole = nested({**fixed, **settings})
        build_guard(guard, **whole)
        settings_of[point_name(base, guard, whole)] = whole
    names = sorted(settings_of, key=lambda name: order_of(settings_of[name]))
    return Point(base, None), *(Point(name, settings_of[name]) for name in names)


def order_of(settings: Mapping[str, Any]) -> list[tuple[str, tuple[int, float, str]]]:
    """Sorts points by their settings, numbers as numbers."""
    number = (int, float)
    return [
        (name, (0, value, "") if type(value) in number else (1, 0, json.dumps(value))) for name, value in flat(settings)
    ]


def base_name(model: str) -> str:
    """The unguarded model's name on the host: its own there, else the checkpoint's last part, fit for a folder."""
    if model in MODELS or is_hosts_own(model):
        return model
    last_part = Path(model).resolve().name if Path(model).is_dir() else model.rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", last_part).strip(".-")


def is_hosts_own(model: str) -> bool:
    """Whether a model can only be one of VLMEvalKit's own: no name of ours, no folder, no hub name."""
    return model not in MODELS and not Path(model).is_dir() and "/" not in model


def asked_with(path: Path) -> dict[str, Any]:
    """The surroundings that a file of points was begun with; empty where it says none, as those of before do."""
    try:
        return dict(read_json(path)["asked_with"])
    except (OSError, ValueError, KeyError, TypeError):  # what is wrong with it is said by keep_points
        return {}


def keep_points(
    path: Path, model: str, guard: str, points: Sequence[Point], around: Mapping[str, str]
) -> tuple[Point, ...]:
    """Write the points down beside those of earlier sweeps, and give all of this model and guard.

    around: see `surroundings`; what stands there already stays. The file is what $VLMGUARD_MODELS takes. ValueError
    where a name stands there for another model or settings.
    """
    content: dict[str, Any] = {"model": {}, "sweep": []}
    entries: dict[str, dict[str, Any]] = {}
    if path.is_file():
        try:
            content = read_json(path)
            entries = {entry["name"]: entry for entry in content["sweep"]}
            content["model"].items()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} can't be read as the points of a sweep ({error!r}); choose another folder"
            ) from error
    content["asked_with"] = {**around, **asked_with(path)}
    checkpoint = str(Path(model).resolve()) if model not in MODELS and Path(model).is_dir() else model
    own = is_hosts_own(model)
    for point in points:
        its_guard = guard if point.settings is not None else None
        entry = {"name": point.name, "model": checkpoint, "guard": its_guard, "settings": point.settings}
        if entries.setdefault(point.name, entry) != entry:
            raise ValueError(
                f"{path} has {point.name} as {json.dumps(entries[point.name])}; choose another folder for this sweep"
            )
        if point.settings is not None:
            wrapper = "GuardedHost" if own else "GuardedVLM"
            content["model"][point.name] = {"class": wrapper, "model": checkpoint, "guard": guard, **point.settings}
        elif not own and model not in MODELS:
            content["model"][point.name] = {"class": "GuardedVLM", "model": checkpoint}
    content["sweep"] = list(entries.values())
    write_whole(path, json.dumps(content, indent=1))
    same_guard = [entry for entry in entries.values() if entry["model"] == checkpoint and entry["guard"] == guard]
    same_guard.sort(key=lambda entry: order_of(entry["settings"]))
    return points[0], *(Point(entry["name"], entry["settings"]) for entry in same_guard)
