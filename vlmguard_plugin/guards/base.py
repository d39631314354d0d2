"""What every guard is: settings, a fit, and one way to answer."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Iterator, Sequence

from torch import Tensor

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.steering.edit import POSITIONS, Edits
from vlmguard_plugin.steering.fitted import FittedFolder
from vlmguard_plugin.subjects.base import Query, Subject


class GuardNotFitted(RuntimeError):
    """A guard was used before it was fitted or loaded."""


class WrongModel(ValueError):
    """A fitted guard was put on a model it was not fitted on."""


@dataclass(frozen=True)
class GuardSettings:
    """Settings every representation guard has.

    layers: 0-based decoder layers that are edited; None is the guard's own default for the model's depth.
    alpha: strength of the edit, a finite number.
    positions: "last", "prompt", "generated" or "all" (see steering.edit.Edits).
    """

    layers: tuple[int, ...] | None = None
    alpha: float = 1.0
    positions: str = "all"

    def __post_init__(self) -> None:
        if self.layers is not None:
            layers = tuple(self.layers) if isinstance(self.layers, (list, tuple, range)) else None
            if not layers or any(type(layer) is not int or layer < 0 for layer in layers) or len(set(layers)) < len(layers):
                raise ValueError(
                    f"layers is {self.layers!r}; give distinct 0-based decoder layers such as [10, 11], or None for the default"
                )
            object.__setattr__(self, "layers", tuple(sorted(layers)))
        self.check_number("alpha")
        self.check_choice("positions", POSITIONS)

    def check_number(self, field: str, least: float = -math.inf) -> None:
        value = getattr(self, field)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < least:
            floor = "" if least == -math.inf else f" of at least {least}"
            raise ValueError(f"{field} is {value!r}; it must be a finite number{floor}")

    def check_choice(self, field: str, choices: Sequence[str]) -> None:
        if getattr(self, field) not in choices:
            raise ValueError(f"{field} is {getattr(self, field)!r}; choose one of {', '.join(choices)}")


class Guard(ABC):
    """A guard: fitted on anchors with a subject, then answering queries in the subject's place.

    name: registered name. settings: a frozen GuardSettings. tensors: fitted numbers, float32 on the CPU, by name.
    facts: what the fit has to tell (per-layer numbers, model, anchors), as in guard.json.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[GuardSettings]]
    fit_settings: ClassVar[tuple[str, ...]] = ()  # settings that the fitted numbers depend on

    def __init__(self, **settings: Any) -> None:
        known = [field.name for field in fields(self.Settings)]
        for setting in settings:
            if setting not in known:
                raise ValueError(f"guard {self.name!r} has no setting {setting!r}; it has {', '.join(known)}")
        self.settings = self.Settings(**settings)
        self.tensors: dict[str, Tensor] = {}
        self.facts: dict[str, Any] = {}

    @abstractmethod
    def fit_tensors(self, subject: Subject, anchors: Anchors, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The fitted numbers and the per-layer facts worth keeping, from anchors."""

    @abstractmethod
    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> Edits:
        """What to do to which layer's hidden state, for these queries.

        queries: None inside `on(subject)`, where the model's own inputs are all there is.
        """

    @abstractmethod
    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        """Decoder layers edited where the settings name none."""

    def layers(self, num_layers: int) -> tuple[int, ...]:
        """Decoder layers that are edited, checked against the model's depth."""
        layers = self.settings.layers if self.settings.layers is not None else self.default_layers(num_layers)
        beyond = [layer for layer in layers if layer >= num_layers]
        if beyond:
            raise ValueError(f"layers {beyond} are beyond the model's {num_layers} decoder layers (0 to {num_layers - 1})")
        return layers

    def fit(self, subject: Subject, anchors: Anchors, *, progress: bool = False) -> "Guard":
        """Fit on anchor requests. Returns the guard itself; nothing of an earlier fit is kept if this one fails."""
        self.layers(subject.num_layers)
        tensors, per_layer = self.fit_tensors(subject, anchors, progress)
        self.tensors = {name: tensor.float().cpu().contiguous() for name, tensor in tensors.items()}
        self.facts = {
            "model": {
                "fingerprint": subject.fingerprint,
                "num_layers": subject.num_layers,
                "hidden_size": subject.hidden_size,
            },
            "anchors": {"pairs": len(anchors.pairs), "sha256": anchors.sha256},
            "edited_layers": list(self.layers(subject.num_layers)),
            "per_layer": per_layer,
        }
        return self

    def with_settings(self, **changes: Any) -> "Guard":
        """The same fit under other settings; ValueError for a setting that the fit itself depends on (`fit_settings`)."""
        for setting in self.fit_settings:
            if changes.get(setting, getattr(self.settings, setting)) != getattr(self.settings, setting):
                raise ValueError(f"{setting} enters the fit of {self.name!r}; build and fit a guard with {setting}={changes[setting]!r}")
        changed = type(self)(**{**asdict(self.settings), **changes})
        changed.tensors = self.tensors
        if self.facts:
            layers = changed.layers(self.facts["model"]["num_layers"])
            changed.facts = {**self.facts, "edited_layers": list(layers)}
        return changed

    def respond(self, subject: Subject, queries: Sequence[Query], **generation: Any) -> list[str]:
        """One guarded answer per query, in order. generation: arguments of the model's `generate`."""
        self.check_fits(subject)
        return subject.generate(queries, lambda batch: self.edits(subject, batch), **generation)

    @contextmanager
    def on(self, subject: Subject, queries: Sequence[Query] | None = None) -> Iterator[None]:
        """While open, the subject's model is guarded, also when its own `generate` or forward is called.

        queries: the queries of the one batch to come, in order; only guards that look at the query at hand
        (CMRM at sample level) need them.
        """
        self.check_fits(subject)
        with subject.editing(self.edits(subject, queries)):
            yield

    def check_fits(self, subject: Subject) -> None:
        """Refuse a subject that the guard was not fitted on."""
        if not self.facts:
            raise GuardNotFitted(f"guard {self.name!r} is not fitted; call guard.fit(subject, anchors) or load a fitted one")
        model = self.facts["model"]
        for fact, label in (
            ("hidden_size", "hidden size"),
            ("num_layers", "number of decoder layers"),
            ("fingerprint", "model fingerprint"),
        ):
            if model[fact] != getattr(subject, fact):
                raise WrongModel(
                    f"guard {self.name!r} was fitted on a model with {label} {model[fact]}, but this one has "
                    f"{getattr(subject, fact)}; fit it again on this model"
                )

    def save(self, folder: str | Path) -> None:
        """Save as a folder: guard.safetensors (the numbers) and guard.json (name, settings, facts, versions)."""
        if not self.facts:
            raise GuardNotFitted(f"guard {self.name!r} is not fitted; there is nothing to save yet")
        settings = {**json.loads(json.dumps(asdict(self.settings))), "layers": self.facts["edited_layers"]}
        FittedFolder(self.name, settings, self.facts, self.tensors).save(folder)
