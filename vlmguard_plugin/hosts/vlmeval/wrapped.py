"""Guards on VLMEvalKit's own model objects: the host builds the model, its prompts and its answers; we hook its decoder."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from vlmguard_plugin.guards.registry import build_guard
from vlmguard_plugin.hosts.models import Model, fitted_guard
from vlmguard_plugin.subjects.host import HostSubject


class GuardedHost:
    """A model of the host's `supported_VLM` with a guard; everything but `generate` is the host's own object's.

    model: name in `supported_VLM`. guard: registered guard name, or several joined by "+".
    guard_dir, anchors: as for GuardedVLM. layers_path: name of the decoder's ModuleList, where it can't be found.
    settings: the guard's settings; what the model's own class takes goes into `model_arguments`.
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
            raise ValueError(f"{model} can't be guarded under vLLM, which keeps hidden states to itself; leave --use-vllm out")
        build_guard(guard, **settings)  # a wrong setting, before the model is loaded
        self.host_model = supported_VLM[model](**(model_arguments or {}))
        self.subject = HostSubject(self.host_model, layers_path=layers_path)
        self.guard = fitted_guard(Model(model), guard, self.subject, guard_dir, anchors, settings)

    def __getattr__(self, name: str) -> Any:
        if name == "host_model":  # not there yet
            raise AttributeError(name)
        return getattr(self.host_model, name)

    def generate(self, message: Any, dataset: str | None = None) -> str:
        """The guarded answer to the host's message."""
        parts = self.host_model.preproc_content(deepcopy(message))
        self.subject.dataset = dataset
        return self.guard.respond(self.subject, [self.subject.query(parts)])[0]

    def chat(self, messages: Any, dataset: str | None = None) -> str:
        """Conversations are refused: an answer here would be unguarded."""
        raise NotImplementedError("a guarded model answers single requests; run multi-turn sets with the unguarded model")
