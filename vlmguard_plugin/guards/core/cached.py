"""Fit a guard once per model, anchors and settings that the fit depends on, and keep it."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock

from vlmguard_plugin import environment
from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.files import cache_directory
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.registry import load_guard
from vlmguard_plugin.guards.core.saved import DamagedGuard
from vlmguard_plugin.steering.fingerprint import is_readable
from vlmguard_plugin.subjects.base import Subject

_FIT = 5  # raise when a guard's fit changes, so that older fits are not taken for it


def load_or_fit(guard: Guard, subject: Subject, anchors: Anchors, cache_dir: str | Path | None = None) -> Guard:
    """The guard, fitted on this model: from the cache, or fitted now with a progress bar and kept there.

    Settings that the fit does not depend on (alpha, layers; see Guard.fit_settings) share one fit.
    A guard that has nothing to fit is given back as it is. Of several processes that ask at once, one fits and the
    others wait. What can't be used is fitted anew; where it can't be kept, one line says why.
    """
    if not guard.needs_fit:
        return guard
    if not is_readable(subject.fingerprint):
        print(
            f"vlmguard: the model's weights can't all be read, so it can't be told from others: {guard.name} is fitted "
            "for this run alone, and not kept",
            file=sys.stderr,
        )
        return guard.fit(subject, anchors, progress=True)
    name = f"{guard.name}-{subject.fingerprint}-{_key(guard, subject, anchors)}"
    try:
        folder = cache_directory(cache_dir) / "guards" / name
    except OSError as error:
        return _fitted_for_now(guard, subject, anchors, error)
    kept = _kept(guard, subject, anchors, folder, say=False)  # a folder appears whole, so reading it takes no lock
    if kept is not None:
        return kept
    with ExitStack() as stack:
        try:
            folder.parent.mkdir(exist_ok=True)
            stack.enter_context(FileLock(f"{folder}.lock"))
        except (OSError, NotImplementedError) as error:
            return _fitted_for_now(guard, subject, anchors, error)
        kept = _kept(guard, subject, anchors, folder, say=True)
        if kept is not None:
            return kept
        guard.fit(subject, anchors, progress=True)
        try:
            _keep(guard, folder)
        except OSError as error:
            _say_not_kept(guard, error)
    return guard


def _kept(guard: Guard, subject: Subject, anchors: Anchors, folder: Path, say: bool) -> Guard | None:
    """The guard with the fit of a folder; None where there is none that can be used. say: in one line why."""
    if not folder.exists():
        return None
    try:
        kept = load_guard(folder, subject)
        if (kept.name, kept.fit_identity) != (guard.name, guard.fit_identity):
            raise DamagedGuard(f"{folder} holds a fit of {kept.name} with other settings")
        if kept.facts["anchors"].get("sha256") != anchors.sha256:
            raise DamagedGuard(f"{folder} holds a fit on other anchors")
        guard.take(kept.tensors, kept.facts)
        return guard.with_settings()  # facts as under this guard's settings, not those of the first fit
    except (ValueError, OSError) as error:  # DamagedGuard, WrongModel and UnknownGuard among them
        if say:
            print(f"vlmguard: {error}; fitting again", file=sys.stderr)
        return None


def _keep(guard: Guard, folder: Path) -> None:
    """Save the guard as this folder, which appears whole, in the place of what is there. Called with the lock held."""
    scratch = folder.with_name(f".{folder.name}.part")
    for old in (scratch, folder):  # what a killed process has left, and what can't be used
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    try:
        guard.save(scratch)
        scratch.rename(folder)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _fitted_for_now(guard: Guard, subject: Subject, anchors: Anchors, error: Exception) -> Guard:
    """The guard, fitted but not kept."""
    _say_not_kept(guard, error)
    return guard.fit(subject, anchors, progress=True)


def _say_not_kept(guard: Guard, error: Exception) -> None:
    print(
        f"vlmguard: the fit of {guard.name} can't be kept ({error}), so the next run fits again; "
        f"set ${environment.CACHE.name} to a folder that can be written",
        file=sys.stderr,
    )


def _key(guard: Guard, subject: Subject, anchors: Anchors) -> str:
    """Everything a fit depends on beside the weights: settings that enter it, anchors, the prompt's template."""
    parts = [_FIT, guard.fit_identity, anchors.sha256, subject.prompt_form]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
