"""Guards on VLMEvalKit's own models: the host builds model, prompts and answers; we hook the decoder."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Sequence

from vlmeval.vlm.base import BaseModel

from vlmguard_plugin import environment
from vlmguard_plugin.benchmarks.condition import early_layer
from vlmguard_plugin.engines.vllm.host_engine import HostEngine, host_engines
from vlmguard_plugin.engines.vllm.host_subject import VLLMHostSubject
from vlmguard_plugin.hosts.early_layers import attacked
from vlmguard_plugin.hosts.guard_spec import GuardSpec
from vlmguard_plugin.hosts.guarded import Answered, Meter, answered_under, guard_facts, no_video, versions
from vlmguard_plugin.hosts.vlmeval.engines import class_arguments, engine_options, wants_vllm
from vlmguard_plugin.hosts.vlmeval.host_facts import facts_of_host_model
from vlmguard_plugin.hosts.vlmeval.messages import as_query
from vlmguard_plugin.hosts.vlmeval.rows_ahead import RowsAhead
from vlmguard_plugin.query import Query
from vlmguard_plugin.runs.facts import RunFacts
from vlmguard_plugin.subjects.host_object import HostSubject
from vlmguard_plugin.subjects.loading import BATCH_SIZE

VLLM_BATCH_SIZE = 32
"""Rows handed to vLLM at once, several times what the host's classes let it batch."""
FIT_DATASET = "FigStep"
"""The data set's name that the host's classes are told while a guard is fitted: some look at it, and none knows it."""


class GuardedHost:
    """A model of the host's `supported_VLM` with a guard; all but `generate` and `chat` is the host's own object's.

    model: name in `supported_VLM`. guard: registered guard name, or several joined by "+".
    guard_dir, anchors: see GuardSpec. layers_path: name of the decoder's ModuleList, where it can't be found.
    settings: the guard's settings, and where the model runs on vLLM that engine's options (`engines.vllm.options`, and
    dtype); what the model's own class takes goes into `model_arguments`. use_vllm: the host's own option; None leaves
    it to the host's entry (see `engines`). meter: what was spent on answers.

    On vLLM, model and guard share the engine that the host's class makes. Where the class asks for each answer once and
    decodes greedily, the rows to come ($VLMGUARD_BATCH_SIZE) are answered in one batch and handed out when their very
    message is asked for, else one by one; one line on stderr says which.
    """

    def __init__(
        self,
        model: str,
        guard: str,
        guard_dir: str | None = None,
        anchors: str | None = None,
        layers_path: str | None = None,
        model_arguments: dict[str, Any] | None = None,
        use_vllm: bool | None = None,
        **settings: Any,
    ) -> None:
        from vlmeval.config import supported_VLM

        builder, given = supported_VLM[model], model_arguments or {}
        on_vllm = wants_vllm(model, builder, given, use_vllm)
        options, settings = engine_options(settings, on_vllm)
        spec = GuardSpec(model, guard, settings, guard_dir, anchors)
        arguments = class_arguments(model, builder, given, on_vllm, spec.unfitted_guard().needs_fit)
        self._name = model
        if on_vllm:
            self.host_model, engine = built_on_vllm(model, partial(builder, **arguments), options)
            self.subject: HostSubject | VLLMHostSubject = VLLMHostSubject(self.host_model, engine, dataset=FIT_DATASET)
        else:
            self.host_model = builder(**arguments)
            self.subject = HostSubject(self.host_model, layers_path=layers_path, dataset=FIT_DATASET)
        spec.unfitted_guard().check_reach(self.subject)
        self.guard = spec.fitted_guard(self.subject)
        self.meter = Meter()
        size = environment.BATCH_SIZE.whole() or (VLLM_BATCH_SIZE if on_vllm else BATCH_SIZE)
        if size > 1 and self.subject.look_for_batches():
            self.subject.batch_size = size
        self._ahead = RowsAhead()

    def set_dump_image(self, dump_image_func: Any) -> None:
        """Called by the host once a dataset, with the dataset's bound method: the rows to come are known from it."""
        self.host_model.set_dump_image(dump_image_func)
        self._ahead = RowsAhead(dump_image_func, self.message_of)

    def message_of(self, dataset: Any, row: Any) -> Any:
        """A row's message, built by the set or by the model's own class as the host chooses it.

        ValueError where it says more of a picture than its file: two such messages may look the same to a Query.
        """
        name = dataset.dataset_name
        by_set = getattr(dataset, "force_use_dataset_prompt", False) or not self.host_model.use_custom_prompt(name)
        message = dataset.build_prompt(row) if by_set else self.host_model.build_prompt(row, dataset=name)
        parts: list[dict[str, Any]] = self.host_model.preproc_content(deepcopy(message))
        if not all(says_no_more(part) for part in parts):
            raise ValueError(f"a row of {name} says more of a part than its kind and value")
        return parts

    def __getattr__(self, name: str) -> Any:
        if name == "host_model":  # not there yet
            raise AttributeError(name)
        return getattr(self.host_model, name)

    def generate(self, message: Any, dataset: str | None = None) -> str:
        """The guarded answer to the host's message."""
        parts = self.host_model.preproc_content(deepcopy(message))
        self.refuse_video(parts, dataset)
        if not all(map(says_no_more, parts)):
            (answered,) = self.answers([self.subject.query(parts)], dataset, by_chat=False)
            self.meter.count_gate(dataset or "", answered.fired, None)
            return str(answered.text)
        known = self._ahead.answers_to(dataset)
        rows = self._ahead.rows_from(as_query(parts), self.subject.batch_size)
        answered = known.get(rows[0].query) or self.answer_ahead([row.query for row in rows], dataset)
        self.meter.count_gate(dataset or "", answered.fired, rows[0].row)
        return str(answered.text)

    def answer_ahead(self, queries: list[Query], dataset: str | None) -> Answered:
        """The answer to the first of the queries; those to the others are kept until the host asks for them.

        Where all together fail, halves of them are answered, and halves of these; what fails alone is not asked
        together again, and what is wrong with it is raised when it is the first.
        """
        asked = [
            self.subject.query([{"type": kind, "value": value} for kind, value in each.parts()]) for each in queries
        ]
        first, known, failed = asked[0], self._ahead.answers_to(dataset), self._ahead.failed
        if len(asked) > 1 and self.subject.batches.alone is None and first not in failed:
            new = [query for query in dict.fromkeys(asked) if query not in known and query not in failed]
            self._answer_halves(new, dataset)
            if first in known:
                return known[first]
        (answered,) = self.answers([first], dataset, by_chat=False)
        return answered

    def _answer_halves(self, queries: list[Query], dataset: str | None) -> None:
        """Keep the answers to queries, together as far as that works."""
        known, failed = self._ahead.answers_to(dataset), self._ahead.failed
        try:
            known.update(zip(queries, self.answers(queries, dataset, by_chat=False)))
        except Exception:  # noqa: BLE001 - a host's class may raise anything, and does again for the one that fails
            if len(queries) == 1:
                failed.update(queries)
                return
            half = (len(queries) + 1) // 2
            self._answer_halves(queries[:half], dataset)
            if queries[0] not in failed:  # else all may fail, and the host is to hear of it first
                self._answer_halves(queries[half:], dataset)

    def chat(self, messages: list[dict[str, Any]], dataset: str | None = None) -> str:
        """The guarded answer to a conversation, which the host puts again with fewer turns where it fails."""
        for turn in messages:
            self.refuse_video(self.host_model.preproc_content(deepcopy(turn["content"])), dataset)
        return BaseModel.chat(self, messages, dataset=dataset)

    @property
    def chat_inner(self) -> Callable[..., str]:
        """What the host asks for before it converses with a model, and then calls with its turns."""
        if not hasattr(self.host_model, "chat_inner"):
            raise NotImplementedError(
                f"the host has no way of conversing with {self._name} (no `chat_inner`), guarded or not"
            )
        return self.respond_in_conversation

    def respond_in_conversation(self, messages: list[dict[str, Any]], dataset: str | None = None) -> str:
        """The guarded answer to the last of the host's turns."""
        query = self.subject.query(messages[-1]["content"], messages[:-1])
        (answered,) = self.answers([query], dataset, by_chat=True)
        self.meter.count_gate(dataset or "", answered.fired, None)
        return str(answered.text)

    def answers(self, queries: Sequence[Query], dataset: str | None, by_chat: bool) -> list[Answered]:
        """The guarded answers, in the condition that the data set's name says."""
        self.subject.dataset, self.subject.by_chat = dataset, by_chat
        early = early_layer(dataset or "")
        metered = self.meter.answering(dataset or "", len(queries), self.subject, self.guard)
        with metered, attacked(self.subject, early):
            return answered_under(self.guard, self.subject, queries)

    def refuse_video(self, parts: list[dict[str, Any]], dataset: str | None) -> None:
        if any(part["type"] == "video" for part in parts):
            raise ValueError(no_video(f"the guarded {self._name}", dataset))

    def run_facts(self, name: str) -> RunFacts:
        """What the leaderboard is told of a run. name: of this model on the host."""
        subject = self.subject
        try:
            fingerprint = subject.fingerprint
        except (ValueError, OSError):  # DecoderNotFound, and others: a guard on prompts or answers alone needs none
            fingerprint = ""
        own = {"fingerprint": fingerprint, "batch_size": subject.batch_size, **guard_facts(self.guard)}
        if isinstance(subject, VLLMHostSubject):
            own |= {"device": subject.device.type, "dtype": str(subject.dtype).removeprefix("torch.")}
            own |= {"engine": subject.engine, "versions": versions(subject.engine)}
        return replace(facts_of_host_model(self.host_model, name), **own)


def built_on_vllm(model: str, build: Callable[[], Any], options: dict[str, Any]) -> tuple[Any, HostEngine]:
    """A model object of the host's, and its engine, in which a guard can be put in place. options: of vLLM's.

    ValueError where the object makes no engine, or several.
    """
    with host_engines(options) as engines:
        built = build()
    if len(engines) != 1:
        raise ValueError(
            f"{model} makes {len(engines)} engines by vLLM's LLM, and a guard is put into one; leave use_vllm out, or "
            "give its checkpoint to GuardedVLM with engine=vllm"
        )
    return built, engines[0]


def says_no_more(part: dict[str, Any]) -> bool:
    """Whether a part of a message says nothing but its kind and value, as a Query does."""
    return part.keys() == {"type", "value"}
