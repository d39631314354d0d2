"""What calibrations have measured, kept: no setting, and no unguarded model, is asked the same twice."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from vlmguard_plugin import __version__, environment
from vlmguard_plugin.files import cache_directory, write_whole
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.judges.base import LABELS
from vlmguard_plugin.judges.rules import RulesJudge
from vlmguard_plugin.reading import in_line, read_json
from vlmguard_plugin.steering.fingerprint import is_readable
from vlmguard_plugin.subjects.base import Subject

Labels = dict[str, list[str]]
"""By side, the label of each held-out anchor's answer."""
_ANSWERS = 1  # raise when a guard answers otherwise, or answers are judged otherwise, under the same settings
UNGUARDED = "unguarded"


class Measured:
    """Labels by what they were measured on and under. folder: where they are kept; None for this process alone."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._known: dict[str, dict[str, Labels]] = {}

    def labels(self, measured_on: str, under: str) -> Labels | None:
        """What was measured before; None where nothing was."""
        if measured_on not in self._known:
            self._known[measured_on] = self._read(measured_on)
        return self._known[measured_on].get(under)

    def keep(self, measured_on: str, under: str, labels: Labels) -> None:
        """Keep labels beside those that others have kept meanwhile."""
        self._known[measured_on] = {**self._read(measured_on), **self._known.get(measured_on, {}), under: labels}
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                write_whole(self._file(measured_on), json.dumps({"labels": self._known[measured_on]}))
            except OSError as error:
                self.folder = None
                print(
                    f"vlmguard: what is calibrated can't be kept ({error}); set ${environment.CACHE.name} to a folder "
                    "that can be written",
                    file=sys.stderr,
                )

    def _file(self, measured_on: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{measured_on}.json"

    def _read(self, measured_on: str) -> dict[str, Labels]:
        if self.folder is None or not self._file(measured_on).is_file():
            return {}
        try:
            return {under: checked(labels) for under, labels in read_json(self._file(measured_on))["labels"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            print(
                f"vlmguard: {self._file(measured_on)} can't be read ({in_line(error)}); its points are measured again",
                file=sys.stderr,
            )
            return {}


def in_cache(subject: Subject) -> Measured:
    """Those that are kept in the cache; of this process alone where the model can't be told from others."""
    try:
        return Measured(cache_directory() / "calibrations" if is_readable(subject.fingerprint) else None)
    except OSError:
        return Measured()


def checked(labels: Any) -> Labels:
    """Labels as they are kept; ValueError for anything else."""
    sides = labels["harmful"], labels["harmless"]
    if len(labels) != 2 or not len(sides[0]) == len(sides[1]) > 0 or {*sides[0], *sides[1]} - {*LABELS}:
        raise ValueError("no labels of a harmful and a harmless side")
    return {"harmful": list(sides[0]), "harmless": list(sides[1])}


def guarded_under(guard: Guard, subject: Subject) -> str:
    """Identifies under what answers are given: 16 hex digits of guard, settings, files, and how the model computes."""
    files = [hashlib.sha256(content).hexdigest() for part in guard.parts for content in part.read_files()]
    parts = [guard.name, guard.unfitted_settings(), guard.fit_identity, files, *_answered_by(subject)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def unguarded_under(subject: Subject) -> str:
    """The same of the unguarded model."""
    return "-".join([UNGUARDED, *_answered_by(subject)])


def _answered_by(subject: Subject) -> list[str]:
    """What answers and labels depend on beside guard and weights: the package, the judge's rules, how is computed."""
    computes = str(getattr(subject, "dtype", "")), str(getattr(subject, "engine", "")), configured(subject)
    return [str(_ANSWERS), __version__, RulesJudge().version, *computes]


def configured(subject: Any) -> str:
    """Tells apart what a checkpoint's config and generation_config say, names and versions aside: 12 hex digits."""
    model = getattr(subject, "model", subject)
    configs: list[Any] = [getattr(model, name, None) for name in ("config", "generation_config")]
    told = [known_by(config.to_dict()) for config in configs if hasattr(config, "to_dict")]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:12]


def known_by(told: Any) -> Any:
    """A config's entries, those of configs in it included, without the names that say nothing of answers."""
    if not isinstance(told, dict):
        return told
    said = {str(name): known_by(value) for name, value in told.items() if value is not None}
    return {name: value for name, value in said.items() if name[:1] != "_" and name != "transformers_version"}
