"""Fit a guard once per model, anchors and settings that the fit depends on, and keep it."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.files import cache_directory
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.registry import load_guard
from vlmguard_plugin.guards.core.saved import DamagedGuard
from vlmguard_plugin.subjects.base import Subject

_FIT = 4  # raise when a guard's fit changes, so that older fits are not taken for it


def load_or_fit(guard: Guard, subject: Subject, anchors: Anchors, cache_dir: str | Path | None = None) -> Guard:
    """The guard, fitted on this model: from the cache, or fitted now with a progress bar and kept there.

    Settings that the fit does not depend on (alpha, layers; see Guard.fit_settings) share one fit.
    A guard that has nothing to fit is given back as it is. Of several processes that ask at once, one fits and the
    others wait. A damaged folder is fitted anew.
    """
    if not guard.needs_fit:
        return guard
    folder = (
        cache_directory(cache_dir) / "guards" / f"{guard.name}-{subject.fingerprint}-{_key(guard, subject, anchors)}"
    )
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if folder.is_dir():
            try:
                kept = load_guard(folder, subject)
                guard.take(kept.tensors, kept.facts)
                return guard.with_settings()  # facts as under this guard's settings, not those of the first fit
            except (DamagedGuard, FileNotFoundError) as error:
                print(f"vlmguard: {error}; fitting again", file=sys.stderr)
        guard.fit(subject, anchors, progress=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            fresh = Path(scratch) / "guard"
            guard.save(fresh)
            if folder.is_dir():
                folder.rename(Path(scratch) / "damaged")
            fresh.rename(folder)
    return guard


def _key(guard: Guard, subject: Subject, anchors: Anchors) -> str:
    """Everything a fit depends on beside the weights: settings that enter it, anchors, the prompt's template."""
    parts = [_FIT, guard.fit_identity, anchors.sha256, subject.prompt_form]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
