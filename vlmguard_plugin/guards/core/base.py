"""What every guard is: settings, a fit, and one way to answer."""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Iterator, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.saved import FittedFolder
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor

    from vlmguard_plugin.subjects.huggingface import Likelihood


class GuardNotFitted(RuntimeError):
    """A guard was used before it was fitted or loaded."""


class WrongModel(ValueError):
    """A fitted guard was put on a model it was not fitted on."""


class GuardSettings:
    """Checks that settings classes share; a guard's own are a frozen dataclass that validates itself."""

    @classmethod
    def from_saved(cls, saved: dict[str, Any]) -> dict[str, Any]:
        """Settings as this version means them, from a folder that any version has written."""
        return saved

    def check_number(self, field: str, least: float = -math.inf) -> None:
        value = getattr(self, field)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < least:
            floor = "" if least == -math.inf else f" of at least {least}"
            raise ValueError(f"{field} is {value!r}; it must be a finite number{floor}")

    def check_whole(self, field: str, least: int, otherwise: str = "") -> None:
        value = getattr(self, field)
        if type(value) is not int or value < least:
            raise ValueError(f"{field} is {value!r}; it must be a whole number of at least {least}{otherwise}")

    def check_flag(self, field: str) -> None:
        if type(getattr(self, field)) is not bool:
            raise ValueError(f"{field} is {getattr(self, field)!r}; it must be True or False")

    def check_choice(self, field: str, choices: Sequence[str]) -> None:
        if getattr(self, field) not in choices:
            raise ValueError(f"{field} is {getattr(self, field)!r}; choose one of {', '.join(choices)}")


class Guard(ABC):
    """A guard: settings, perhaps a fit on anchors, then answering queries in the subject's place.

    A guard says how it rewrites a query (`rewrite`) and what it does to hidden states (`steps`); one that looks
    at answers has a `respond` of its own (`looks_at_answers`).

    name: registered name. settings: a frozen dataclass. tensors: fitted numbers, float32 on the CPU, by name.
    facts: what the fit has to tell (model, anchors, per-layer numbers), as in guard.json.
    """

    name: ClassVar[str]
    Settings: ClassVar[type]
    fit_settings: ClassVar[tuple[str, ...] | None] = (
        None  # settings that the fitted numbers depend on; None: all of them
    )
    needs_fit: ClassVar[bool] = True  # whether it belongs to one model
    looks_at_answers: ClassVar[bool] = False

    def __init__(self, **settings: Any) -> None:
        known = [field.name for field in fields(self.Settings)]
        for setting in settings:
            if setting not in known:
                raise ValueError(f"guard {self.name!r} has no setting {setting!r}; it has {', '.join(known) or 'none'}")
        self.settings = self.Settings(**settings)
        self.tensors: dict[str, Tensor] = {}
        self.facts: dict[str, Any] = {}

    def rewrite(self, query: Query) -> Query:
        """The query that is put to the model in this one's place."""
        return query

    def steps(self, subject: Subject, queries: Sequence[Query] | None) -> tuple[Edits, ...]:
        """Edits of hidden states for these (rewritten) queries, the first acting first.

        queries: None inside `on(subject)`, where the model's own inputs are all there is.
        """
        return ()

    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The fitted numbers, and facts of the fit by name; nothing, for a guard that has none."""
        return {}, {}

    def fit(self, subject: Subject, anchors: Anchors, *, progress: bool = False) -> "Guard":
        """Fit on anchor requests. Returns the guard itself; nothing of an earlier fit is kept if this one fails."""
        tensors, facts = self.fit_tensors(subject, anchors, progress)
        # a copy has the strides of a loaded one, so that both give the same sums to the last bit
        self.tensors = {name: torch.empty(tensor.shape).copy_(tensor) for name, tensor in tensors.items()}
        self.facts = {
            "model": {
                "fingerprint": subject.fingerprint,
                "num_layers": subject.num_layers,
                "hidden_size": subject.hidden_size,
            },
            "anchors": {"pairs": len(anchors.pairs), "sha256": anchors.sha256},
            **facts,
        }
        return self

    @classmethod
    def grid(cls, num_layers: int) -> list[dict[str, list[Any]]]:
        """Settings that calibration tries: each {setting: values} in every combination of its values."""
        return []

    @property
    def settings_of_fit(self) -> tuple[str, ...]:
        """The settings that the fitted numbers depend on."""
        return tuple(field.name for field in fields(self.Settings)) if self.fit_settings is None else self.fit_settings

    def with_settings(self, **changes: Any) -> "Guard":
        """The same fit under other settings; ValueError for a setting that the fit itself depends on (`fit_settings`)."""
        for setting in self.settings_of_fit:
            if changes.get(setting, getattr(self.settings, setting)) != getattr(self.settings, setting):
                raise ValueError(
                    f"{setting} enters the fit of {self.name!r}; build and fit a guard with {setting}={changes[setting]!r}"
                )
        changed = type(self)(**{**asdict(self.settings), **changes})
        changed.tensors, changed.facts = self.tensors, dict(self.facts)
        return changed

    def respond(self, subject: Subject, queries: Sequence[Query], **generation: Any) -> list[str]:
        """One guarded answer per query, in order. generation: arguments of the model's `generate`."""
        self.check_fits(subject)
        return GuardedSubject(subject, (self,)).generate(queries, **generation)

    def log_likelihoods(self, subject: Subject, queries: Sequence[Query], answers: Sequence[str]) -> list[Likelihood]:
        """How likely the guarded model is to give each answer to its query; see HuggingFaceSubject.log_likelihoods.

        ValueError for a guard that looks at answers: what it gives depends on a whole answer, not on one token after another.
        """
        return self._scoring(subject).log_likelihoods(queries, answers)

    def token_log_likelihoods(
        self, subject: Subject, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> list[Likelihood]:
        """The same for tokens. There is no request in them: what the guard does to prompts is left undone."""
        return self._scoring(subject).token_log_likelihoods(prompts, answers)

    def _scoring(self, subject: Subject) -> "GuardedSubject":
        self.check_fits(subject)
        if self.looks_at_answers:
            raise ValueError(
                f"guard {self.name!r} looks at whole answers, so how likely an answer is under it is not defined; "
                "let the model write answers (generate_until), or leave the guard out"
            )
        return GuardedSubject(subject, (self,))

    @contextmanager
    def on(self, subject: Subject, queries: Sequence[Query] | None = None) -> Iterator[None]:
        """While open, the subject's model is guarded, also when its own `generate` or forward is called.

        queries: the queries of the one batch to come, in order; only guards that look at the query at hand
        (CMRM at sample level) need them. A guard that acts on prompts or answers has no such form.
        """
        self.check_fits(subject)
        steps = self.steps(subject, queries)
        if not steps:
            raise ValueError(
                f"guard {self.name!r} acts on the prompt or the answer, not on hidden states; use guard.respond"
            )
        with ExitStack() as stack:
            for edits in steps:
                stack.enter_context(subject.editing(edits))
            yield

    def check_fits(self, subject: Subject) -> None:
        """Refuse a subject that the guard was not fitted on."""
        if not self.needs_fit:
            return
        if not self.facts:
            raise GuardNotFitted(
                f"guard {self.name!r} is not fitted; call guard.fit(subject, anchors) or load a fitted one"
            )
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

    def take(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Take over what a fit has left, as read from a folder."""
        self.tensors, self.facts = tensors, facts

    def unfitted_settings(self) -> dict[str, Any]:
        """The settings as JSON, as they were given."""
        return json.loads(json.dumps(asdict(self.settings)))

    def saved_settings(self) -> dict[str, Any]:
        """The settings as JSON, with what the fit has decided filled in."""
        return self.unfitted_settings()

    @property
    def fingerprint(self) -> str:
        """Identifies what the guard does: "<name>-<12 hex digits>" of its settings and fitted numbers."""
        digest = hashlib.sha256(json.dumps([self.name, self.saved_settings()], sort_keys=True).encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        return f"{self.name}-{digest.hexdigest()[:12]}"

    def save(self, folder: str | Path) -> None:
        """Save as a folder: guard.safetensors (the numbers) and guard.json (name, settings, facts, versions)."""
        if not self.facts:
            raise GuardNotFitted(f"guard {self.name!r} is not fitted; there is nothing to save yet")
        FittedFolder(self.name, self.saved_settings(), self.facts, self.tensors).save(folder)


class GuardedSubject:
    """A subject with guards on it, the first acting first: what they rewrite and edit is done to whatever is asked.

    None of the guards may look at answers: such a one is put on a GuardedSubject.
    """

    def __init__(self, subject: Subject, guards: Sequence[Guard]) -> None:
        self.subject, self.guards = subject, tuple(guards)

    def generate(self, queries: Sequence[Query], **generation: Any) -> list[str]:
        """One answer per query, in order, from the guarded model."""
        return self.subject.generate(self._rewritten(queries), self._steps, **generation)

    def log_likelihoods(self, queries: Sequence[Query], answers: Sequence[str]) -> list[Likelihood]:
        """How likely the guarded model is to give each answer."""
        return self.subject.log_likelihoods(self._rewritten(queries), answers, self._steps)

    def token_log_likelihoods(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> list[Likelihood]:
        """The same for tokens, which no guard rewrites."""
        return self.subject.token_log_likelihoods(prompts, answers, self._steps)

    def _rewritten(self, queries: Sequence[Query]) -> list[Query]:
        for guard in self.guards:
            queries = [guard.rewrite(query) for query in queries]
        return list(queries)

    def _steps(self, batch: Sequence[Query]) -> list[Edits]:
        return [step for guard in self.guards for step in guard.steps(self.subject, batch)]
