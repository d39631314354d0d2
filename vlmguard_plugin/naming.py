"""The one grammar of names: guards, guarded models, and the points of a sweep. Imports no torch and no guard.

guard           vlm_guard, cmrm, ...: a file of `guards/`, or an entry point of another package
composition     GUARD+GUARD
guarded model   MODEL_GUARD, where vlm_guard is written vlmguard:  llava_vlmguard, llava_vlmguard+self_reminder
sweep's point   MODEL_GUARD@SETTING=VALUE@...:                     llava_cmrm@alpha=0.5@layers=14,15
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Callable, Iterable, Mapping, Sequence

TOGETHER = "+"
"""Between the guards of a composition."""
SETTING = "@"
"""Before each setting in the name of a sweep's point."""
ENTRY_POINT_GROUP = "vlmguard_plugin.guards"
"""Where other packages name their guards."""
SHORT = {"vlm_guard": "vlmguard"}
"""Guards that are written otherwise within a guarded model's name."""
NO_GUARD = "none"
"""The guard that does nothing: `<model>_none` is an unguarded base."""
LISTED = ("vlm_guard", "cmrm", "cmrm_sample")
"""Guards whose guarded models stand in the hosts' lists; the others are known all the same."""
ANY_CHECKPOINT = "vlmguard"
"""The model of lmms-eval and lm-evaluation-harness whose checkpoint and guard come from `--model_args`."""
LONGEST = 100
"""Characters in a point's name; the host puts the data set's name behind it in file names."""


@cache
def guard_names() -> tuple[str, ...]:
    """All guards by name, in order: the files of `guards/`, and what other packages name as theirs.

    None of them is imported.
    """
    own = (module.name for module in iter_modules([str(Path(__file__).parent / "guards")]) if not module.ispkg)
    theirs = (point.name for point in entry_points(group=ENTRY_POINT_GROUP))
    return tuple(sorted({*own, *theirs}))


def guards_in(guard: str) -> list[str]:
    """The guards of a composition in their order; of a single guard itself alone."""
    return guard.split(TOGETHER)


def composition(guards: Iterable[str]) -> str:
    """The name of guards that act together."""
    return TOGETHER.join(guards)


def suffix_of(guard: str) -> str:
    """How a guard, or composition, stands in a guarded model's name: "vlmguard" in `llava_vlmguard`."""
    return composition(SHORT.get(name, name) for name in guards_in(guard))


def guard_of(suffix: str) -> str | None:
    """The guard, or composition, that stands so in a guarded model's name; None where there is none."""
    long = {short: name for name, short in SHORT.items()}
    names = [long.get(name, name) for name in guards_in(suffix)]
    return composition(names) if all(name in guard_names() for name in names) else None


def guarded_name(model: str, guard: str) -> str:
    """The name of a model with a guard."""
    return f"{model}_{suffix_of(guard)}"


def split_guarded(name: str, is_model: Callable[[str], bool]) -> tuple[str, str] | None:
    """(model, guard) of a guarded model's name, with or without settings; None where it is no such name.

    Of several ways to read it the one with the shortest model counts.
    """
    name = name.partition(SETTING)[0]
    for position, letter in enumerate(name):
        if letter == "_" and is_model(name[:position]):
            guard = guard_of(name[position + 1 :])
            if guard:
                return name[:position], guard
    return None


def listed_names(models: Iterable[str]) -> list[str]:
    """Each model's name, and those of its guarded models that stand in lists."""
    models = list(models)
    return [*models, *(guarded_name(model, guard) for model in models for guard in LISTED)]


def spellings(name: str) -> list[str]:
    """A name as lm-evaluation-harness writes it, with hyphens, and as all others do."""
    return list(dict.fromkeys((name.replace("_", "-"), name)))


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """{"cmrm.alpha": 1} as {"cmrm": {"alpha": 1}}, which composed guards take."""
    inner: dict[str, Any] = {}
    for name, value in settings.items():
        guard, dot, setting = name.partition(".")
        if dot and isinstance(inner.setdefault(guard, {}), dict):
            inner[guard][setting] = value
        else:
            inner[name] = dict(value) if isinstance(value, dict) else value
    return inner


def flat(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The way back, as (name, value) pairs by name."""
    pairs = []
    for name, value in settings.items():
        if isinstance(value, dict):
            pairs += [(f"{name}.{setting}", inner) for setting, inner in value.items()]
        else:
            pairs.append((name, value))
    return sorted(pairs)


def point_name(model: str, guard: str, settings: Mapping[str, Any]) -> str:
    """For example `llava_cmrm@alpha=0.5@layers=14,15`: a folder's name on any system.

    The settings stand there by name, so the same point has the same name in every grid. What can't stand in a folder's
    name, or is too long, is a digest of the settings.
    """
    spelled = [(setting, spelling(value)) for setting, value in flat(settings)]
    name = guarded_name(model, guard) + "".join(f"{SETTING}{setting}={value}" for setting, value in spelled)
    if any(value is None for _, value in spelled) or len(name) > LONGEST:
        digest = hashlib.sha256(json.dumps(flat(settings)).encode()).hexdigest()[:8]
        return f"{guarded_name(model, guard)}{SETTING}{digest}"
    return name


def spelling(value: Any) -> str | None:
    """A setting's value in a folder's name; None where it can't stand there.

    Folders may not know upper from lower case.
    """
    if isinstance(value, (list, tuple)):
        return _list_spelling(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if value is None or isinstance(value, (bool, int, float)):
        return json.dumps(value)
    return value if isinstance(value, str) and re.fullmatch(r"[a-z0-9_-]+", value) else None


def _list_spelling(values: Sequence[Any]) -> str | None:
    parts = [None if isinstance(value, (list, tuple)) else spelling(value) for value in values]
    return ",".join(part for part in parts if part is not None) if None not in parts else None
