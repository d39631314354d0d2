"""Several guards at once, as one: `vlm_guard+self_reminder`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.base import Guard, GuardSettings
from vlmguard_plugin.guards.core.guarded_subject import GuardedSubject
from vlmguard_plugin.naming import composition
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits, as_edits
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self


class ComposedSettings(dict[str, GuardSettings], GuardSettings):
    """The settings of a composition: those of each guard, by its name."""


class ComposedGuard(Guard):
    """Guards that act together, in the order named.

    The request is rewritten by each in turn, the first named first; then hidden states are edited, the first named
    first where two edit the same layer; a guard that looks at answers stands around all others, wherever it is
    named, and every question it asks goes to the model guarded by them. At most one guard may look at answers.
    Each guard is fitted by itself, on the unguarded model.

    Wherever settings are given or shown, they are {guard name: {setting: value}}. Tensors and facts: those of each
    guard, its name and a dot before the tensor's name.
    """

    settings: ComposedSettings

    def __init__(self, guards: Sequence[Guard]) -> None:
        names = [guard.name for guard in guards]
        if len(set(names)) < len(names):
            raise ValueError(f"{composition(names)} names a guard twice; name each once")
        outer = [guard.name for guard in guards if guard.looks_at_answers]
        if len(outer) > 1:
            raise ValueError(f"{' and '.join(outer)} both look at answers; a composition takes one such guard")
        self.guards = tuple(guards)
        self.name = composition(names)
        self.settings = ComposedSettings({guard.name: guard.settings for guard in guards})
        self.needs_fit = any(guard.needs_fit for guard in guards)
        self.looks_at_answers = bool(outer)
        self.gather()

    def gather(self) -> None:
        """Take over the parts' fitted numbers and facts."""
        self.tensors = {
            f"{guard.name}.{name}": tensor for guard in self.guards for name, tensor in guard.tensors.items()
        }
        fitted = [guard for guard in self.guards if guard.facts]
        shared = {key: fitted[0].facts[key] for key in ("model", "anchors")} if len(fitted) == len(self.guards) else {}
        parts = {
            guard.name: {key: value for key, value in guard.facts.items() if key not in shared} for guard in fitted
        }
        self.facts = {**shared, "parts": parts} if shared else {}

    def rewrite(self, query: Query) -> Query:
        for guard in self.guards:
            query = guard.rewrite(query)
        return query

    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> tuple[Edits, ...]:
        parts = [as_edits(guard.edits(subject, queries)) for guard in self.guards]
        return tuple(layer_edits for own in parts for layer_edits in own)

    def grid(self, num_layers: int) -> list[dict[str, list[Any]]]:
        raise ValueError(f"{self.name} can't be calibrated as one; calibrate each guard and give its settings")

    @property
    def is_fitted(self) -> bool:
        return all(guard.is_fitted for guard in self.guards)

    @property
    def fit_identity(self) -> dict[str, Any]:
        return {guard.name: guard.fit_identity for guard in self.guards if guard.needs_fit}

    def under(self, **changes: Any) -> Self:
        return type(self)([guard.under(**changes.get(guard.name, {})) for guard in self.guards])

    def fit(self, subject: Subject, anchors: Anchors, *, progress: bool = False) -> Self:
        for guard in self.guards:
            guard.fit(subject, anchors, progress=progress)
        self.gather()
        return self

    def with_settings(self, **changes: Any) -> Self:
        """The same fits under other settings: {guard name: {setting: value}}."""
        return type(self)([guard.with_settings(**changes.get(guard.name, {})) for guard in self.guards])

    def respond(self, subject: Subject, queries: Sequence[Query], **generation: Any) -> list[str]:
        self.check_fits(subject)
        inner = GuardedSubject(subject, [guard for guard in self.guards if not guard.looks_at_answers])
        outer = next((guard for guard in self.guards if guard.looks_at_answers), None)
        return outer.respond(inner, queries, **generation) if outer else inner.generate(queries, **generation)

    def check_fits(self, subject: Subject) -> None:
        for guard in self.guards:
            guard.check_fits(subject)

    def unfitted_settings(self) -> dict[str, Any]:
        return {guard.name: guard.unfitted_settings() for guard in self.guards}

    def saved_settings(self) -> dict[str, Any]:
        return {guard.name: guard.saved_settings() for guard in self.guards}

    def take(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        for guard in self.guards:
            own = {
                name.removeprefix(f"{guard.name}."): tensor
                for name, tensor in tensors.items()
                if name.startswith(f"{guard.name}.")
            }
            guard.take(own, {**{key: facts[key] for key in ("model", "anchors")}, **facts["parts"][guard.name]})
        self.gather()
