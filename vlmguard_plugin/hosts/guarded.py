"""A checkpoint with or without a guard, and what it has spent: the part that is the same on every host."""

from __future__ import annotations

import importlib
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

from vlmguard_plugin import __version__
from vlmguard_plugin.environment import TRANSFORMERS
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.gates_heard import hearing_gates
from vlmguard_plugin.hosts.early_layers import FOLLOWED, attacked
from vlmguard_plugin.hosts.guard_spec import GuardSpec
from vlmguard_plugin.query import Query
from vlmguard_plugin.runs.check_costs import CheckCostsOf, costs_added, costs_since
from vlmguard_plugin.runs.facts import RunFacts, folder_name
from vlmguard_plugin.runs.gate_counts import GateCounts, added, gate_count
from vlmguard_plugin.runs.rows import marked_harmful
from vlmguard_plugin.steering.early_features import NoEarlyFeatures
from vlmguard_plugin.subjects.base import AnswersCutShort, Likelihood, Subject


@dataclass
class Spent:
    """seconds: on answering. answers: given. tokens: generated; None where nobody counted. gates, checks: as a
    Session's."""

    seconds: float = 0.0
    answers: int = 0
    tokens: int | None = None
    gates: GateCounts | None = None
    checks: CheckCostsOf | None = None


class Meter:
    """What was spent on answers, by data set. An answer that is asked for within another is not counted twice."""

    def __init__(self) -> None:
        self.spent: dict[str, Spent] = {}
        self._within = False

    def total(self) -> Spent:
        """Over all data sets; tokens None where none were counted."""
        spent = list(self.spent.values())
        counted = [dataset.tokens for dataset in spent if dataset.tokens is not None]
        return Spent(
            sum(dataset.seconds for dataset in spent),
            sum(dataset.answers for dataset in spent),
            sum(counted) if counted else None,
            added(dataset.gates for dataset in spent),
            costs_added(dataset.checks for dataset in spent),
        )

    @contextmanager
    def answering(
        self, dataset: str, answers: int, subject: Subject | None = None, guard: Guard | None = None
    ) -> Iterator[None]:
        """While open, time, the tokens that `subject` generates and the checks of `guard` go to `dataset`."""
        if self._within:
            yield
            return
        spent = self.spent.setdefault(dataset, Spent())
        tokens_before = subject.generated_tokens if subject is not None else None
        checks_before = checks_of(guard)
        started, self._within = time.perf_counter(), True
        try:
            yield
            spent.answers += answers
        finally:
            self._within = False
            spent.seconds += time.perf_counter() - started
            if subject is not None and tokens_before is not None:
                spent.tokens = (spent.tokens or 0) + (subject.generated_tokens or 0) - tokens_before
            spent.checks = costs_added([spent.checks, costs_since(checks_of(guard), checks_before)])

    def count_gate(self, dataset: str, fired: bool | None, row: Any) -> None:
        """A gate has decided about a row that the host has asked for, once a row.

        fired: None where no gate has. row: whatever the host has for a row; its mark is counted, and no guard sees it.
        """
        spent = self.spent.setdefault(dataset, Spent())
        spent.gates = added([spent.gates, gate_count(fired, marked_harmful(row))])


def checks_of(guard: Guard | None) -> CheckCostsOf | None:
    """What a guard's checks have cost so far; None for none, or for a guard without them."""
    costs = guard.checks if guard else None
    return None if costs is None else {"calls": costs.calls, "tokens": costs.tokens, "seconds": costs.seconds}


@dataclass(frozen=True)
class NoAnswer:
    """In an answer's place: why there is none. refused: because of the query, which fails again if asked again."""

    reason: str
    refused: bool = False


OF_THE_QUERY = ("ValueError", "TemplateError", "VLLMClientError", "BadRequestError", "UnprocessableEntityError")
"""Errors that say what is wrong with a query, or with what is asked of its answer: Python's, of chat templates (jinja),
of vLLM's, and of another server's (openai)."""


def no_answer(error: Exception) -> NoAnswer:
    """What stands in the place of an answer that has failed with this error."""
    why = error.__cause__ or error if isinstance(error, AnswersCutShort) else error
    kinds = {kind.__name__ for kind in type(why).__mro__}
    return NoAnswer(" ".join(str(why).split()), not kinds.isdisjoint(OF_THE_QUERY))


class Answered(NamedTuple):
    """A query's answer, and whether a gate has fired on it; None where no gate has decided."""

    text: str | NoAnswer
    fired: bool | None = None


def answered_under(guard: Guard, subject: Subject, queries: Sequence[Query], **generation: Any) -> list[Answered]:
    """The guard's answers, in order, and what its gates have decided about each query."""
    with hearing_gates(queries) as heard:
        answers = guard.respond(subject, queries, **generation)
    return [Answered(text, fired) for text, fired in zip(answers, heard.fired, strict=True)]


class GuardedModel:
    """A model loaded as a GuardSpec says, with its guard fitted or taken from the cache.

    subject, guard: what answers; guard is None for the model alone. max_new_tokens: length of an answer.
    meter: what was spent on answers.
    """

    def __init__(self, spec: GuardSpec) -> None:
        self.checkpoint = spec.known.checkpoint
        self.max_new_tokens = spec.answer_tokens
        self.subject = spec.load_subject()
        self.guard = spec.fitted_guard(self.subject) if spec.guard else None
        self.meter = Meter()
        FOLLOWED.by_model = True

    def respond(
        self, queries: Sequence[Query], dataset: str = "", early: int | None = None, **generation: Any
    ) -> list[Answered]:
        """One answer per query; raises where one fails.

        dataset: whose cost it is. early: after which layer of the vision encoder pictures' features are taken, the
        guard's own questions included; None for the model's own. generation: arguments of the model's `generate`.
        """
        generation = {"max_new_tokens": self.max_new_tokens, **generation}
        metered = self.meter.answering(dataset, len(queries), self.subject, self.guard)
        with metered, attacked(self.subject, early):
            if self.guard is None:
                return [Answered(text) for text in self.subject.generate(queries, **generation)]
            return answered_under(self.guard, self.subject, queries, **generation)

    def respond_each(
        self, queries: Sequence[Query], dataset: str = "", early: int | None = None, **generation: Any
    ) -> list[Answered]:
        """The same, but a query that fails costs its own answer alone: NoAnswer stands in its place."""
        try:
            return self.respond(queries, dataset, early, **generation)
        except NoEarlyFeatures:
            raise  # of the model, not of this query
        except Exception as error:  # noqa: BLE001 - templates, tokenizers and image readers raise of any kind
            if len(queries) > 1:
                return [
                    answer for query in queries for answer in self.respond_each([query], dataset, early, **generation)
                ]
            return [Answered(no_answer(error))]

    def log_likelihoods(self, queries: Sequence[Query], answers: Sequence[str], dataset: str = "") -> list[Likelihood]:
        """How likely the model, guarded if it is, is to give each answer to its query; see Scorer.log_likelihoods."""
        with self.meter.answering(dataset, len(queries), self.subject):
            if self.guard is None:
                return self.subject.log_likelihoods(queries, answers)
            return self.guard.log_likelihoods(self.subject, queries, answers)

    def token_log_likelihoods(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], counted: int, dataset: str = ""
    ) -> list[Likelihood]:
        """The same for tokens. counted: as how many answers of the data set these stand."""
        with self.meter.answering(dataset, counted, self.subject):
            if self.guard is None:
                return self.subject.token_log_likelihoods(prompts, answers)
            return self.guard.token_log_likelihoods(self.subject, prompts, answers)

    def facts(self, host: str, host_version: str, model: str, **generation: Any) -> RunFacts:
        """What the leaderboard is told of a run. model: its name on the host. generation: beside max_new_tokens."""
        subject = self.subject
        return RunFacts(
            host=host,
            host_version=host_version,
            model=model,
            checkpoint=folder_name(self.checkpoint) if os.path.isdir(self.checkpoint) else self.checkpoint,
            fingerprint=subject.fingerprint,
            **guard_facts(self.guard),
            generation={"max_new_tokens": self.max_new_tokens, "do_sample": False, **generation},
            device=subject.device.type,
            dtype=str(subject.dtype).removeprefix("torch."),
            batch_size=subject.batch_size,
            versions=versions(subject.engine),
            engine=subject.engine,
        )


def guard_facts(guard: Guard | None) -> dict[str, Any]:
    """A guard's part of RunFacts."""
    if guard is None:
        return {"guard": None, "settings": {}, "guard_fingerprint": None}
    return {"guard": guard.name, "settings": guard.saved_settings(), "guard_fingerprint": guard.fingerprint}


def shared_values(of_tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all of a run's tasks have alike: of their generation arguments those with the same value everywhere."""
    if not of_tasks:
        return {}
    first, *others = of_tasks
    return {name: value for name, value in first.items() if all(task.get(name) == value for task in others)}


def versions(engine: str = TRANSFORMERS) -> dict[str, str]:
    """Of the packages that answers depend on, the engine's among them."""
    import torch
    import transformers

    own = {"vlmguard_plugin": __version__, "torch": torch.__version__, "transformers": transformers.__version__}
    if engine == TRANSFORMERS:
        return own
    return {**own, engine: str(importlib.import_module(engine).__version__)}


def no_video(model: str, dataset: str | None) -> str:
    """Why a video is not answered."""
    return (
        f"{dataset or 'the request'} shows a video, and {model} takes text and images alone; "
        "put its frames as images, or run it with a model of the host's own that reads video, without a guard"
    )
