"""Several guards at once, as one: `vlm_guard+self_reminder`."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.guarded_subject import GuardedSubject
from vlmguard_plugin.guards.core.settings import GuardSettings
from vlmguard_plugin.naming import composition, guards_in
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits, as_edits
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self


class ComposedSettings(Mapping[str, GuardSettings], GuardSettings):
    """The settings of a composition: those of each guard, by its name. Frozen, as theirs are."""

    def __init__(self, by_guard: Mapping[str, GuardSettings]) -> None:
        object.__setattr__(self, "_by_guard", MappingProxyType(dict(by_guard)))

    def __getitem__(self, name: str) -> GuardSettings:
        by_guard: Mapping[str, GuardSettings] = self.__dict__["_by_guard"]
        return by_guard[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__["_by_guard"])

    def __len__(self) -> int:
        return len(self.__dict__["_by_guard"])

    def __repr__(self) -> str:
        return repr(dict(self))


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
        guards = [part for guard in guards for part in guard.parts]
        if not guards:
            raise ValueError("a composition of no guards; name at least one")
        names = [guard.name for guard in guards]
        if len(set(names)) < len(names):
            raise ValueError(f"{composition(names)} names a guard twice; name each once")
        outer = [guard.name for guard in guards if guard.looks_at_answers]
        if len(outer) > 1:
            raise ValueError(f"{' and '.join(outer)} both look at answers; a composition takes one such guard")
        contrasting = [guard.name for guard in guards if guard.contrast is not None]
        if len(contrasting) > 1:
            raise ValueError(f"{' and '.join(contrasting)} both contrast logits; a composition takes one such guard")
        self.guards = tuple(guards)
        self.name = composition(names)
        self.settings = ComposedSettings({guard.name: guard.settings for guard in guards})
        self.needs_fit = any(guard.needs_fit for guard in guards)
        self.looks_at_answers = bool(outer)
        self.checks = next((guard.checks for guard in guards if guard.checks is not None), None)
        self.gather()

    def gather(self) -> None:
        """Take over the parts' fitted numbers and facts."""
        self.tensors = {
            f"{guard.name}.{name}": tensor for guard in self.guards for name, tensor in guard.tensors.items()
        }
        fitted = [guard for guard in self.guards if guard.facts]
        shared = {key: fitted[0].facts[key] for key in ("model", "anchors")} if len(fitted) == len(self.guards) else {}
        parts = {
            guard.name: {**{key: value for key, value in guard.facts.items() if key not in shared}, **guard.marks()}
            for guard in fitted
        }
        self.facts = {**shared, "parts": parts} if shared else {}

    @property
    def parts(self) -> tuple[Guard, ...]:
        return self.guards

    @property
    def has_gate(self) -> bool:
        return any(guard.has_gate for guard in self.guards)

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
    def fingerprint(self) -> str:
        self.gather()  # a part may have been fitted again
        return super().fingerprint

    def save(self, folder: str | Path) -> None:
        self.gather()
        super().save(folder)

    @property
    def is_fitted(self) -> bool:
        return all(guard.is_fitted for guard in self.guards)

    @property
    def fit_identity(self) -> dict[str, Any]:
        return {guard.name: guard.fit_identity for guard in self.guards if guard.needs_fit}

    def under(self, **changes: Any) -> Self:
        own = self._by_part(changes)
        return type(self)([guard.under(**own[guard.name]) for guard in self.guards])

    def fit(self, subject: Subject, anchors: Anchors, *, progress: bool = False) -> Self:
        for guard in self.guards:
            guard.fit(subject, anchors, progress=progress)
        self.gather()
        return self

    def with_settings(self, **changes: Any) -> Self:
        """The same fits under other settings: {guard name: {setting: value}}."""
        own = self._by_part(changes)
        return type(self)([guard.with_settings(**own[guard.name]) for guard in self.guards])

    def _by_part(self, changes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The changes of each guard's settings; ValueError for a name that is none of the guards."""
        check_by_part(self.name, changes)
        return {guard.name: dict(changes.get(guard.name, {})) for guard in self.guards}

    def respond(self, subject: Subject, queries: Sequence[Query], **generation: Any) -> list[str]:
        self.check_fits(subject)
        inner = GuardedSubject(subject, [guard for guard in self.guards if not guard.looks_at_answers])
        outer = next((guard for guard in self.guards if guard.looks_at_answers), None)
        return outer.respond(inner, queries, **generation) if outer else inner.generate(queries, **generation)

    def check_given(self) -> None:
        for guard in self.guards:
            guard.check_given()

    def check_fits(self, subject: Subject) -> None:
        self.check_reach(subject)
        for guard in self.guards:
            guard.check_fits(subject)

    def unfitted_settings(self) -> dict[str, Any]:
        return {guard.name: guard.unfitted_settings() for guard in self.guards}

    def saved_settings(self) -> dict[str, Any]:
        return {guard.name: guard.saved_settings() for guard in self.guards}

    def marks(self) -> dict[str, Any]:
        return {}  # they stand with each part's facts

    def take(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        lacking = [guard.name for guard in self.guards if guard.name not in facts.get("parts", {})]
        if lacking:
            raise ValueError(f"there are no facts of {', '.join(lacking)}")
        for guard in self.guards:
            own = {
                name.removeprefix(f"{guard.name}."): tensor
                for name, tensor in tensors.items()
                if name.startswith(f"{guard.name}.")
            }
            guard.take(own, {**{key: facts[key] for key in ("model", "anchors")}, **facts["parts"][guard.name]})
        self.gather()

    def check_loaded(self) -> None:
        for guard in self.guards:
            guard.check_loaded()


def check_by_part(guard: str, settings: Mapping[str, Any]) -> None:
    """ValueError unless settings of a composition are {name of one of its guards: {setting: value}}."""
    names = guards_in(guard)
    for part, own in settings.items():
        if part not in names or not isinstance(own, dict):
            raise ValueError(
                f"{guard} takes settings by guard, as in {names[0]}={{'alpha': 1.0}}; {part}={own!r} is not that"
            )
