"""Find guards by name: the files of this folder, and other packages' entry points."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from vlmguard_plugin.guards.base import Guard, WrongModel
from vlmguard_plugin.steering.fitted import DamagedGuard, FittedFolder
from vlmguard_plugin.subjects.base import Subject

ENTRY_POINT_GROUP = "vlmguard_plugin.guards"


class UnknownGuard(ValueError):
    """No guard is registered under a name."""


@cache
def guard_classes() -> dict[str, type[Guard]]:
    """Every guard class by name: those defined in this folder's modules, then those that packages bring."""
    package = importlib.import_module("vlmguard_plugin.guards")
    modules = [importlib.import_module(f"{package.__name__}.{found.name}") for found in pkgutil.iter_modules(package.__path__)]
    classes = {
        value.name: value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Guard) and "name" in vars(value)
    }
    for point in entry_points(group=ENTRY_POINT_GROUP):
        guard = point.load()
        if not (isinstance(guard, type) and issubclass(guard, Guard)):
            raise TypeError(f"entry point {point.name} = {point.value} of group {ENTRY_POINT_GROUP} is no Guard class")
        classes.setdefault(point.name, guard)
    return dict(sorted(classes.items()))


def list_guards() -> list[str]:
    """Names of all guards there are."""
    return list(guard_classes())


def host_suffix(guard: str) -> str:
    """How a guard stands in a guarded model's name on the hosts: "vlmguard" in `llava_vlmguard`, else its own name."""
    return "vlmguard" if guard == "vlm_guard" else guard


def build_guard(name: str, **settings: Any) -> Guard:
    """An unfitted guard. Raises UnknownGuard with the names there are, ValueError for a setting it can't have."""
    classes = guard_classes()
    if name not in classes:
        raise UnknownGuard(f"there is no guard {name!r}; there are {', '.join(classes)}")
    return classes[name](**settings)


def load_guard(folder: str | Path, subject: Subject | None = None) -> Guard:
    """A fitted guard from its folder; with `subject`, refused if it was fitted on another model.

    Raises FileNotFoundError, DamagedGuard, UnknownGuard or WrongModel.
    """
    fitted = FittedFolder.load(folder)
    try:
        guard = build_guard(fitted.guard, **fitted.settings)
    except UnknownGuard:
        raise
    except (TypeError, ValueError) as error:
        raise DamagedGuard(f"the settings in {folder} are not those of guard {fitted.guard!r}: {error}") from error
    guard.tensors, guard.facts = fitted.tensors, fitted.facts
    if subject is not None:
        try:
            guard.check_fits(subject)
        except WrongModel as error:
            raise WrongModel(f"{folder}: {error}") from None
    return guard
