"""What every guard is: settings, a fit, and one way to answer."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Iterator, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.errors import GuardNotFitted, NoTensors, WrongModel
from vlmguard_plugin.guards.core.guarded_subject import GuardedScorer, GuardedSubject, own_prompt_form
from vlmguard_plugin.guards.core.moderation import CheckCosts
from vlmguard_plugin.guards.core.preset import Preset, checked_name, without_preset
from vlmguard_plugin.guards.core.reach import check_reach
from vlmguard_plugin.guards.core.saved import FittedFolder, problem_in
from vlmguard_plugin.guards.core.settings import GuardSettings, setting_names
from vlmguard_plugin.guards.core.sharing import Shared
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import Query
from vlmguard_plugin.reading import parsed_json, visible
from vlmguard_plugin.steering.edit import Edits, SomeEdits, as_edits
from vlmguard_plugin.subjects.base import Likelihood, Scorer, Subject

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self


class Guard(Shared):
    """A guard: settings, perhaps a fit on anchors, then answering queries in the subject's place.

    A guard says how it rewrites a query (`rewrite`) and what it does to hidden states (`edits`); one that looks
    at answers has a `respond` of its own (`looks_at_answers`).

    name: registered name. settings: a frozen dataclass. tensors: fitted numbers, float32 on the CPU, by name.
    facts: what the fit has to tell (model, anchors, per-layer numbers), as in guard.json.
    fit_settings: settings that the fitted numbers depend on; None for all of them. needs_fit: whether it belongs to
    one model. looks_at_answers: whether it needs whole answers. files: settings that name a file whose content it uses.
    draws: whether it has parts of answers drawn, which a subject must be able to (`subjects.base.Drawer`).
    paper: its settings as its sources give them (`preset="paper"`); None where there are none. preset: the name of the
    one it was built with, None for the defaults; settings given beside a preset go before its own.
    acts: False for `none` alone, which is meant to do nothing. checks: what a guard model of its own has cost.
    """

    name: str
    Settings: type[GuardSettings] = GuardSettings
    settings: GuardSettings
    fit_settings: ClassVar[tuple[str, ...] | None] = None
    needs_fit: bool = True
    looks_at_answers: bool = False
    draws: ClassVar[bool] = False
    files: ClassVar[tuple[str, ...]] = ()
    paper: ClassVar[Preset | None] = None
    preset: str | None = None
    acts: ClassVar[bool] = True
    checks: CheckCosts | None = None

    def __init__(self, *, preset: str | None = None, **settings: Any) -> None:
        known = setting_names(self.Settings)
        for setting in settings:
            if setting not in known:
                raise ValueError(f"guard {self.name!r} has no setting {setting!r}; it has {', '.join(known) or 'none'}")
        self.preset = checked_name(self.name, preset, self.paper)
        of_preset = self.paper.settings if self.preset and self.paper else {}
        self.settings = self.Settings(**{**of_preset, **settings})
        self.tensors: dict[str, Tensor] = NoTensors(self.name)
        self.facts: dict[str, Any] = {}

    def rewrite(self, query: Query) -> Query:
        """The query that is put to the model in this one's place."""
        return query

    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> SomeEdits:
        """What is done to hidden states for these (rewritten) queries, the first acting first; () for nothing.

        queries: None inside `on(subject)`, where the model's own inputs are all there is; ValueError for a guard that
        has to know them.
        """
        return ()

    @property
    def contrast(self) -> float | None:
        """alpha where an answer's logits are contrasted with those of the request as it is without this guard's
        rewriting (see `subjects.base.Contrast`); None for most.
        """
        return None

    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The fitted numbers, and facts of the fit by name; nothing, for a guard that has none."""
        return {}, {}

    def tensor_shapes(self, num_layers: int, hidden_size: int, pairs: int) -> dict[str, tuple[int, ...]] | None:
        """The shapes of the fitted numbers by name, from L, d and the anchor pairs; None for a guard that can't say."""
        return None

    def fit(self, subject: Subject, anchors: Anchors, *, progress: bool = False) -> Self:
        """Fit on anchor requests. Returns the guard itself; nothing of an earlier fit is kept if this one fails.

        ValueError for no anchor pair at all, and where the numbers are worthless: not finite, or zero everywhere.
        RuntimeError while a guard is on the model.
        """
        self.check_given()
        if not anchors.pairs:
            raise ValueError(f"guard {self.name!r} can't be fitted on 0 anchor pairs; give some, 100 are usual")
        if subject.is_edited:
            raise RuntimeError(
                f"guard {self.name!r} can't be fitted while a guard is on the model; leave it first, or fit on a "
                "GuardedSubject if the guarded model is what you mean"
            )
        tensors, facts = self.fit_tensors(subject, anchors, progress)
        # a copy has the strides of a loaded one, so that both give the same sums to the last bit
        fitted = {name: torch.empty(tensor.shape).copy_(tensor) for name, tensor in tensors.items()}
        problem = problem_in(fitted)
        if problem:
            raise ValueError(
                f"guard {self.name!r} can't be fitted on these anchors: {problem}, so harmful and harmless requests "
                "(or those with an image and without) give the model the same hidden states"
            )
        self.tensors = fitted
        contents = {"contents": read} if (read := self.settings.contents()) else {}
        self.facts = {
            "model": {
                "fingerprint": subject.fingerprint,
                "num_layers": subject.num_layers,
                "hidden_size": subject.hidden_size,
                "prompt_form": own_prompt_form(subject),
            },
            "anchors": {"pairs": len(anchors.pairs), "sha256": anchors.sha256, **contents},
            **facts,
        }
        return self

    def grid(self, num_layers: int) -> list[dict[str, list[Any]]]:
        """Settings that calibration tries: each {setting: values} in every combination of its values.

        num_layers: L of the model. ValueError for a guard that can't be calibrated.
        """
        return []

    @property
    def settings_of_fit(self) -> tuple[str, ...]:
        """The settings that the fitted numbers depend on."""
        return setting_names(self.Settings) if self.fit_settings is None else self.fit_settings

    @property
    def fit_identity(self) -> dict[str, Any]:
        """What the fit is made of beside model and anchors, as JSON: guards that agree in it share one fit.

        The settings that enter it with their values, and the contents of files that it reads.
        """
        settings = self.unfitted_settings()
        return {name: settings[name] for name in self.settings_of_fit} | self.settings.contents()

    def under(self, **changes: Any) -> Self:
        """The same guard under other settings, not fitted; a preset among them puts its own in the place of all."""
        kept = {} if changes.get("preset") else self.unfitted_settings()
        return type(self)(**{**kept, **changes})

    def with_settings(self, **changes: Any) -> Self:
        """The same fit under other settings; ValueError for a setting that the fit depends on (`fit_settings`)."""
        changed = self.under(**changes)
        for setting in self.settings_of_fit:
            value = getattr(changed.settings, setting)
            if value != getattr(self.settings, setting):
                raise ValueError(
                    f"{setting} enters the fit of {self.name!r}; build and fit a guard with {setting}={value!r}"
                )
        changed.tensors, changed.facts = self.tensors, dict(self.facts)
        return changed

    def respond(self, subject: Subject, queries: Sequence[Query], **generation: Any) -> list[str]:
        """One guarded answer per query, in order. generation: arguments of the model's `generate`."""
        self.check_fits(subject)
        return GuardedSubject(subject, (self,)).generate(queries, **generation)

    def log_likelihoods(self, subject: Scorer, queries: Sequence[Query], answers: Sequence[str]) -> list[Likelihood]:
        """How likely the guarded model is to give each answer to its query; see Scorer.log_likelihoods.

        ValueError for a guard that looks at answers: what it gives depends on a whole answer, not on one token after
        another.
        """
        return self._scorer(subject).log_likelihoods(queries, answers)

    def token_log_likelihoods(
        self, subject: Scorer, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> list[Likelihood]:
        """The same for tokens. There is no request in them: what the guard does to prompts is left undone."""
        return self._scorer(subject).token_log_likelihoods(prompts, answers)

    def _scorer(self, subject: Scorer) -> GuardedScorer:
        self.check_fits(subject)
        if self.looks_at_answers:
            raise ValueError(
                f"guard {self.name!r} looks at whole answers, so how likely an answer is under it is not defined; "
                "let the model write answers, or leave the guard out"
            )
        return GuardedScorer(subject, (self,))

    @contextmanager
    def on(self, subject: Subject, queries: Sequence[Query] | None = None) -> Iterator[None]:
        """While open, the subject's model is guarded, also when its own `generate` or forward is called.

        queries: the queries of the one batch to come, in order; only guards that look at the query at hand
        (CMRM at sample level) need them. A guard that acts on prompts or answers has no such form.
        """
        self.check_fits(subject)
        edits: list[Edits] = []
        for part in self.parts:
            own = as_edits(part.edits(subject, queries))
            if part.acts and not own:
                raise ValueError(
                    f"guard {part.name!r} acts on the prompt or the answer, not on hidden states; use guard.respond"
                )
            edits += own
        with subject.editing(edits):
            yield

    @property
    def parts(self) -> tuple[Guard, ...]:
        """The guards it is made of: itself alone, unless it is a composition."""
        return (self,)

    @property
    def has_gate(self) -> bool:
        """Whether it decides by the request whether to edit hidden states at all."""
        return False

    @property
    def acts_where_fired(self) -> bool:
        """Whether a request that none of its gates fires on gets the unguarded model's answer, word for word."""
        return False

    @property
    def is_fitted(self) -> bool:
        """Whether it can be used: it has been fitted or loaded, or has nothing to fit."""
        return bool(self.facts) or not self.needs_fit

    def check_given(self) -> None:
        """ValueError where a setting that nothing can stand for is not given."""

    def check_reach(self, subject: Subject) -> None:
        """ValueError for a subject that can't do what the guard needs."""
        check_reach(self.parts, subject)

    def check_fits(self, subject: Subject) -> None:
        """Refuse a subject that the guard was not fitted on, or that can't do what it needs."""
        self.check_given()
        self.check_reach(subject)
        if not self.needs_fit:
            return
        if not self.is_fitted:
            raise GuardNotFitted(
                f"guard {self.name!r} is not fitted; call guard.fit(subject, anchors) or load a fitted one"
            )
        model = self.facts["model"]
        fitted, here = str(model.get("prompt_form", "")), own_prompt_form(subject)
        # earlier versions did not write it down; a host's model and a processor tell it in ways of their own
        if fitted.rpartition("-")[0] == here.rpartition("-")[0] and fitted != here:
            raise WrongModel(
                f"guard {self.name!r} was fitted with another chat template, tokenizer or image processor than this "
                "model has; fit it again on this model"
            )
        for fact, label in (
            ("hidden_size", "hidden size"),
            ("num_layers", "number of decoder layers"),
            ("fingerprint", "model fingerprint"),
        ):
            if model[fact] != getattr(subject, fact):
                raise WrongModel(
                    f"guard {self.name!r} was fitted on a model with {label} {visible(str(model[fact]))}, but this one "
                    f"has {getattr(subject, fact)}; fit it again on this model"
                )

    def take(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Take over what a fit has left, as read from a folder; ValueError for what is no fit of this guard."""
        shapes = self.tensor_shapes(
            facts["model"]["num_layers"], facts["model"]["hidden_size"], facts["anchors"]["pairs"]
        )
        there = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if shapes is not None and shapes != there:
            raise ValueError(f"a fit has the tensors {shapes}, but there are {there}")
        self.tensors, self.facts = tensors, {name: fact for name, fact in facts.items() if name != "ours"}

    def check_loaded(self) -> None:
        """ValueError where settings and fit, as they were read from a folder, do not belong together."""

    def unfitted_settings(self) -> dict[str, Any]:
        """The settings as JSON, as they were given; with a preset, its name too."""
        values = {name: getattr(self.settings, name) for name in setting_names(self.Settings)}
        values |= {"preset": self.preset} if self.preset else {}
        as_json: dict[str, Any] = parsed_json(json.dumps(values))
        return as_json

    def saved_settings(self) -> dict[str, Any]:
        """The settings as JSON, with what the fit has decided filled in."""
        return self.unfitted_settings()

    @property
    def given_by_sources(self) -> tuple[str, ...]:
        """With a preset, the settings whose values its sources give; none without."""
        names = setting_names(self.Settings) if self.preset and self.paper else ()
        return tuple(name for name in names if self.paper and name not in self.paper.ours)

    def changed_from_preset(self) -> tuple[str, ...]:
        """The settings whose values are not those of the preset that the guard was built with."""
        own, asked = self.settings, type(self)(preset=self.preset).settings
        return tuple(name for name in setting_names(self.Settings) if getattr(own, name) != getattr(asked, name))

    def marks(self) -> dict[str, Any]:
        """What guard.json says of a preset: "ours", the settings whose values its sources leave open, so are ours."""
        if self.preset is None or self.paper is None:
            return {}
        changed = self.changed_from_preset()
        return {"ours": [name for name in self.paper.ours if name not in changed]}

    def read_files(self) -> Iterator[bytes]:
        """What the files hold that its settings name, one after the other."""
        for file in filter(None, (getattr(self.settings, name) for name in self.files)):
            yield Path(file).read_bytes()

    @property
    def fingerprint(self) -> str:
        """Identifies what the guard does: "<name>-<12 hex digits>" of its settings, its files and fitted numbers.

        GuardNotFitted for one whose numbers are not there yet.
        """
        if not self.is_fitted:
            raise GuardNotFitted(
                f"guard {self.name!r} is not fitted, so it has no fingerprint yet; call guard.fit(subject, anchors) "
                "or load a fitted one"
            )
        digest = hashlib.sha256(json.dumps([self.name, without_preset(self.saved_settings())], sort_keys=True).encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        for content in (content for part in self.parts for content in part.read_files()):
            digest.update(content)
        return f"{self.name}-{digest.hexdigest()[:12]}"

    def save(self, folder: str | Path) -> None:
        """Save as a folder: guard.safetensors (the numbers) and guard.json (name, settings, facts, versions)."""
        if not self.facts:
            raise GuardNotFitted(f"guard {self.name!r} is not fitted; there is nothing to save yet")
        FittedFolder(self.name, self.saved_settings(), {**self.facts, **self.marks()}, self.tensors).save(folder)
