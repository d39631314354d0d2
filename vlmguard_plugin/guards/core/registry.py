"""Find guards by name: the files of `guards/`, and other packages' entry points."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from dataclasses import fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.composed import ComposedGuard, check_by_part
from vlmguard_plugin.guards.core.errors import WrongModel
from vlmguard_plugin.guards.core.preset import PAPER
from vlmguard_plugin.guards.core.saved import DamagedGuard, FittedFolder
from vlmguard_plugin.naming import ENTRY_POINT_GROUP, guards_in
from vlmguard_plugin.reading import in_line
from vlmguard_plugin.subjects.base import Subject


class UnknownGuard(ValueError):
    """No guard is registered under a name."""


@cache
def guard_classes() -> dict[str, type[Guard]]:
    """Every guard class by name: those defined in the modules of `guards/`, then those that packages bring.

    A package's entry point that can't be loaded costs one line on stderr, and its guard.
    """
    package = importlib.import_module("vlmguard_plugin.guards")
    modules = [
        importlib.import_module(f"{package.__name__}.{module.name}")
        for module in pkgutil.iter_modules(package.__path__)
        if not module.ispkg
    ]
    classes = {
        value.name: value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Guard) and "name" in vars(value)
    }
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            classes.setdefault(point.name, _loaded(point))
        except Exception as error:  # noqa: BLE001 - another package's code; the other guards are needed all the same
            print(
                f"vlmguard: guard {point.name!r} of entry point {point.value} can't be used ({in_line(error)})",
                file=sys.stderr,
            )
    return dict(sorted(classes.items()))


def _loaded(point: EntryPoint) -> type[Guard]:
    guard = point.load()
    if not (isinstance(guard, type) and issubclass(guard, Guard)):
        raise TypeError(f"{point.value} is no Guard class")
    if getattr(guard, "name", None) != point.name:
        raise ValueError(
            f"the class calls itself {getattr(guard, 'name', None)!r}, the entry point {point.name!r}; they must agree"
        )
    return guard


def list_guards() -> list[str]:
    """Names of all guards there are; they also compose, as in "vlm_guard+self_reminder"."""
    return list(guard_classes())


def describe_guards() -> dict[str, dict[str, Any]]:
    """By guard: summary, the first line of what its class says of itself, settings, {setting: default}, and paper.

    paper: the preset "paper", as settings {setting: value}, ours (those that the sources leave open) and note; None
    for a guard without one.
    """
    return {
        name: {
            "summary": (guard.__doc__ or "").strip().splitlines()[0],
            "settings": _values(guard()),
            "paper": guard.paper
            and {
                "settings": _values(guard(preset=PAPER)),
                "ours": list(guard.paper.ours),
                "note": guard.paper.note,
            },
        }
        for name, guard in guard_classes().items()
    }


def _values(guard: Guard) -> dict[str, Any]:
    return {field.name: getattr(guard.settings, field.name) for field in fields(guard.Settings)}


def build_guard(name: str, **settings: Any) -> Guard:
    """An unfitted guard, or several as one.

    name: registered name, or names joined by "+" (see ComposedGuard); `settings` are then
        {guard name: {setting: value}}.
    settings: preset="paper" among them stands for the settings that the guard's sources give; others go before its.
    Raises UnknownGuard with the names there are, ValueError for a setting it can't have.
    """
    classes = guard_classes()
    names = guards_in(name)
    for part in names:
        if part not in classes:
            hint = "; a fitted guard's folder goes into guard_dir, beside its name" if Path(part).is_dir() else ""
            raise UnknownGuard(f"there is no guard {part!r}{hint}; there are {', '.join(classes)}")
    if len(names) == 1:
        return classes[name](**settings)
    check_by_part(name, settings)
    return ComposedGuard([classes[part](**settings.get(part, {})) for part in names])


def settings_from_saved(guard: str, saved: dict[str, Any]) -> dict[str, Any]:
    """The settings in a guard.json as this version means them; of a composition, {guard name: its settings}."""
    classes = guard_classes()
    names = guards_in(guard)
    if len(names) > 1:
        if set(saved) != set(names) or not all(isinstance(own, dict) for own in saved.values()):
            raise ValueError(f"there are settings of {', '.join(saved) or 'no guard'}, but it is {guard}")
        return {name: settings_from_saved(name, own) for name, own in saved.items()}
    return classes[guard].Settings.from_saved(saved) if guard in classes else saved


def load_guard(folder: str | Path, subject: Subject | None = None) -> Guard:
    """A fitted guard from its folder; with `subject`, refused if it was fitted on another model.

    Raises FileNotFoundError, DamagedGuard, UnknownGuard or WrongModel.
    """
    fitted = FittedFolder.load(folder)
    try:
        guard = build_guard(fitted.guard, **settings_from_saved(fitted.guard, fitted.settings))
        guard.take(fitted.tensors, fitted.facts)
        guard.check_loaded()
    except UnknownGuard as error:
        raise UnknownGuard(f"{folder}: {error}") from None
    except Exception as error:  # whatever a setting of another kind leads to
        raise DamagedGuard(f"what {folder} holds is no fit of guard {fitted.guard!r}: {error}") from error
    if subject is not None:
        try:
            guard.check_fits(subject)
        except WrongModel as error:
            raise WrongModel(f"{folder}: {error}") from None
    return guard
