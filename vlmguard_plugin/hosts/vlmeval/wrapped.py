"""Guards on VLMEvalKit's own models: the host builds model, prompts and answers; we hook the decoder."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any, Callable

from vlmeval.vlm.base import BaseModel

from vlmguard_plugin.benchmarks.condition import early_layer
from vlmguard_plugin.hosts.early_layers import attacked
from vlmguard_plugin.hosts.guard_spec import GuardSpec
from vlmguard_plugin.hosts.guarded import Meter, answered_under, guard_facts, no_video
from vlmguard_plugin.hosts.vlmeval.engines import without_engine
from vlmguard_plugin.hosts.vlmeval.host_facts import facts_of_host_model
from vlmguard_plugin.hosts.vlmeval.messages import as_query
from vlmguard_plugin.hosts.vlmeval.rows_ahead import RowsAhead, of_ours
from vlmguard_plugin.query import Query
from vlmguard_plugin.runs.facts import RunFacts
from vlmguard_plugin.steering.decoder import DecoderNotFound
from vlmguard_plugin.subjects.host_object import HostSubject

FIT_DATASET = "FigStep"
"""The data set's name that the host's classes are told while a guard is fitted: some look at it, and none knows it."""


class GuardedHost:
    """A model of the host's `supported_VLM` with a guard; all but `generate` and `chat` is the host's own object's.

    model: name in `supported_VLM`. guard: registered guard name, or several joined by "+".
    guard_dir, anchors: see GuardSpec. layers_path: name of the decoder's ModuleList, where it can't be found.
    settings: the guard's settings; what the model's own class takes goes into `model_arguments`, an engine
    (`use_vllm`) too, which is else switched off: see `engines`. use_vllm: the host's own option.
    meter: what was spent on answers.
    """

    def __init__(
        self,
        model: str,
        guard: str,
        guard_dir: str | None = None,
        anchors: str | None = None,
        layers_path: str | None = None,
        model_arguments: dict[str, Any] | None = None,
        use_vllm: bool = False,
        **settings: Any,
    ) -> None:
        from vlmeval.config import supported_VLM

        if use_vllm:
            raise ValueError(
                f"{model} can't be guarded under vLLM as VLMEvalKit starts it; leave --use-vllm out, or give its "
                "checkpoint to GuardedVLM with engine=vllm (docs/vllm.md)"
            )
        spec = GuardSpec(model, guard, settings, guard_dir, anchors)
        builder = supported_VLM[model]
        needs_states = spec.unfitted_guard().needs_fit
        self.host_model = builder(**without_engine(model, builder, model_arguments or {}, needs_states))
        self._name = model
        self.subject = HostSubject(self.host_model, layers_path=layers_path, dataset=FIT_DATASET)
        spec.unfitted_guard().check_reach(self.subject)
        self.guard = spec.fitted_guard(self.subject)
        self.meter = Meter()
        self._ahead = RowsAhead()

    def set_dump_image(self, dump_image_func: Any) -> None:
        """Called by the host once a dataset, with the dataset's bound method."""
        self.host_model.set_dump_image(dump_image_func)
        self._ahead = RowsAhead(of_ours(dump_image_func))

    def __getattr__(self, name: str) -> Any:
        if name == "host_model":  # not there yet
            raise AttributeError(name)
        return getattr(self.host_model, name)

    def generate(self, message: Any, dataset: str | None = None) -> str:
        """The guarded answer to the host's message."""
        parts = self.host_model.preproc_content(deepcopy(message))
        self.refuse_video(parts, dataset)
        return self.respond(self.subject.query(parts), dataset, self._ahead.row_of(as_query(parts)), by_chat=False)

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
        return self.respond(self.subject.query(messages[-1]["content"], messages[:-1]), dataset, None, by_chat=True)

    def respond(self, query: Query, dataset: str | None, row: Any, by_chat: bool) -> str:
        """The guarded answer. row: of the data set, None where it isn't known; counted and not shown to the guard."""
        self.subject.dataset, self.subject.by_chat = dataset, by_chat
        early = early_layer(dataset or "")
        metered = self.meter.answering(dataset or "", 1, self.subject, self.guard)
        with metered, attacked(self.subject, early):
            (answered,) = answered_under(self.guard, self.subject, [query])
        self.meter.count_gate(dataset or "", answered.fired, row)
        return str(answered.text)

    def refuse_video(self, parts: list[dict[str, Any]], dataset: str | None) -> None:
        if any(part["type"] == "video" for part in parts):
            raise ValueError(no_video(f"the guarded {self._name}", dataset))

    def run_facts(self, name: str) -> RunFacts:
        """What the leaderboard is told of a run. name: of this model on the host."""
        try:
            fingerprint = self.subject.fingerprint
        except DecoderNotFound:  # a guard on prompts or answers alone needs none
            fingerprint = ""
        return replace(facts_of_host_model(self.host_model, name), fingerprint=fingerprint, **guard_facts(self.guard))
