"""The models every host is offered, by name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlmguard_plugin import environment
from vlmguard_plugin.environment import Variable
from vlmguard_plugin.naming import guards_in

if TYPE_CHECKING:
    from vlmguard_plugin.guards.core.base import Guard
    from vlmguard_plugin.subjects.base import Subject


@dataclass(frozen=True)
class Model:
    """A model the hosts are offered.

    checkpoint: hub name or local folder. variable: environment variable that names a local folder instead.
    demo: variant of the demo VLM, built at first use, in the checkpoint's place.
    max_new_tokens: length of an answer, in tokens.
    """

    checkpoint: str
    variable: Variable | None = None
    demo: str | None = None
    max_new_tokens: int = 512

    def folder_or_name(self) -> str:
        """What to load: the folder in the environment variable, else the demo VLM's, else the checkpoint."""
        local = self.variable.value() if self.variable else None
        if local and not os.path.isdir(local):
            raise FileNotFoundError(
                f"${self.variable.name} is {local!r}, which is no folder; name a save_pretrained folder"
            )
        if local or not self.demo:
            return local or self.checkpoint
        from vlmguard_plugin.demo.build import build_demo_vlm

        return str(build_demo_vlm(self.demo))

    def guard_settings(self, guard: str) -> dict[str, Any]:
        """Settings found for this guard on this model; empty (the guard's own defaults) where none were."""
        if not self.demo:
            return {}
        from vlmguard_plugin.demo.settings import GUARD_SETTINGS

        names = guards_in(guard)
        found = {name: GUARD_SETTINGS.get(name, {}) for name in names}
        return found if len(names) > 1 else found[guard]

    def describe(self) -> str:
        """One line for a list."""
        source = f"small real VLM built here, adapter {self.demo!r}" if self.demo else self.checkpoint
        return f"{source}; a local folder by ${self.variable.name}" if self.variable else source


def fitted_guard(
    model: Model, guard: str, subject: Subject, guard_dir: str | None, anchors: str | None, settings: dict[str, Any]
) -> Guard:
    """A guard ready for use on a model: from a folder, or built, and fitted now or taken from the cache.

    guard_dir: a fitted guard's folder, which must hold this guard; by default $VLMGUARD_GUARD_DIR where it does.
    anchors: csv of anchors to fit on; by default $VLMGUARD_ANCHORS, else the package's own.
    settings: of the guard, beside those known for the model or found in `guard_dir`.
    """
    from vlmguard_plugin.anchors import load_anchors
    from vlmguard_plugin.guards.core.cached import load_or_fit
    from vlmguard_plugin.guards.core.registry import build_guard

    wanted = build_guard(guard, **merged(model.guard_settings(guard), settings))
    found = guard_in_folder(wanted.name, guard_dir, settings)
    if found:
        found.check_fits(subject)
        return found
    return load_or_fit(wanted, subject, load_anchors(anchors or environment.ANCHORS.value()))


def guard_in_folder(name: str, guard_dir: str | None, settings: dict[str, Any]) -> Guard | None:
    """The guard of this name from `guard_dir`, or from $VLMGUARD_GUARD_DIR where that holds it, under these settings."""
    from vlmguard_plugin.guards.core.registry import load_guard

    folder = guard_dir or environment.GUARD_DIR.value()
    found = load_guard(folder) if folder else None
    if found and found.name != name:
        if guard_dir:
            raise ValueError(f"{guard_dir} holds the guard {found.name!r}, but {name!r} was asked for")
        return None
    return found.with_settings(**settings) if found and settings else found


def merged(known: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Known settings with the given ones before them; of a composition, guard by guard."""
    together = {
        name: {**value, **given[name]}
        for name, value in known.items()
        if isinstance(value, dict) and isinstance(given.get(name), dict)
    }
    return {**known, **given, **together}


MODELS = {
    "llava": Model("llava-hf/llava-1.5-7b-hf", environment.LLAVA),
    "demo_vlm": Model("demo", environment.DEMO_VLM, demo="answers", max_new_tokens=48),
    "demo_vlm_control": Model("demo", environment.DEMO_VLM_CONTROL, demo="captions", max_new_tokens=48),
}
