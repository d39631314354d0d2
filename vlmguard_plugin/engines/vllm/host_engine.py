"""An engine that a host's own class makes by vLLM's `LLM` and asks by `generate`, with a subject in between."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Iterator, Mapping, Sequence

from vlmguard_plugin.engines.vllm.edited_engine import EditedEngine
from vlmguard_plugin.engines.vllm.starting import as_subjects, options_here, vllm_here

OF_A_PICTURE = ("multi_modal_data", "multi_modal_uuids", "mm_processor_kwargs")
"""What a prompt of vLLM's says of its pictures, beside its text."""


@dataclass(frozen=True)
class EngineCall:
    """What a class has asked its engine.

    prompts: vLLM's, one or more. parameters: their SamplingParams. more: what else was given to `LLM.generate`.
    """

    prompts: Sequence[Any]
    parameters: Sequence[Any]
    more: Mapping[str, Any] = field(default_factory=dict)

    def is_like(self, other: EngineCall) -> bool:
        """Whether another call asks the same; pictures are not looked at."""
        return text_of(self.prompts) == text_of(other.prompts) and self.parameters == other.parameters

    def without_picture(self, marks: Sequence[str]) -> EngineCall:
        """The same without the picture that stands first in its prompt.

        marks: what stands in a prompt's text for pictures and their ends. ValueError where none does there.
        """
        (prompt,) = self.prompts
        text = prompt.get("prompt") if isinstance(prompt, dict) else None
        run = re.compile("(?:" + "|".join(map(re.escape, marks)) + ")+")
        if not marks or not isinstance(text, str) or not run.search(text):
            raise ValueError("its prompt shows no words that stand for a picture, so none can be left out")
        rest = {name: value for name, value in prompt.items() if name not in OF_A_PICTURE}
        return replace(self, prompts=[{**rest, "prompt": run.sub("", text, count=1)}])


def text_of(prompts: Sequence[Any]) -> list[Any]:
    """Prompts without their pictures."""
    return [prompt.get("prompt", prompt.get("prompt_token_ids")) if isinstance(prompt, dict) else prompt
            for prompt in prompts]  # fmt: skip


class HostEngine:
    """In an engine's place in a host's object: its `generate` is answered as is said here, all else by the engine.

    llm: the engine, a subject's. answer: what is done with a call; the engine's outputs come back, one a prompt.
    """

    def __init__(self, llm: Any) -> None:
        self.llm = llm
        self.edited = EditedEngine(llm, llm.model_config.get_total_num_hidden_layers())
        self.answer: Callable[[EngineCall], list[Any]] = self.unedited

    def generate(self, prompts: Any, sampling_params: Any = None, **more: Any) -> list[Any]:
        """As LLM.generate."""
        from vllm.renderers.inputs.preprocess import prompt_to_seq

        given = list(prompt_to_seq(prompts))
        parameters = self.llm.get_default_sampling_params() if sampling_params is None else sampling_params
        own = list(parameters) if isinstance(parameters, (list, tuple)) else [parameters] * len(given)
        return self.answer(EngineCall(given, own, more))

    def unedited(self, call: EngineCall) -> list[Any]:
        return self.edited.run(call.prompts, call.parameters, (), **call.more).outputs

    @contextmanager
    def answered_by(self, answer: Callable[[EngineCall], list[Any]]) -> Iterator[None]:
        """While open, calls are answered so."""
        before, self.answer = self.answer, answer
        try:
            yield
        finally:
            self.answer = before

    def __getattr__(self, name: str) -> Any:
        if name == "llm":  # not there yet
            raise AttributeError(name)
        return getattr(self.llm, name)


@contextmanager
def host_engines(options: Mapping[str, Any]) -> Iterator[list[HostEngine]]:
    """While open, whoever takes vLLM's `LLM` by its name gets a HostEngine, and the list grows by it.

    Its arguments hold, but for what edits need, and `options` (vLLM's, of options.OPTIONS, and dtype), which go before
    them. The model is not compiled unless these say enforce_eager=False. ModuleNotFoundError without vLLM.
    """
    vllm = vllm_here()
    own_options = options_here(options)  # not the class's: its share of the memory is meant of a GPU's
    own, kept = vllm.LLM, vars(vllm).get("LLM")
    made: list[HostEngine] = []

    def made_for_guards(*given: Any, **named: Any) -> HostEngine:
        named = {**named, **own_options, "additional_config": as_subjects(named.get("additional_config"))}
        made.append(HostEngine(own(*given, **named)))
        return made[-1]

    vllm.LLM = made_for_guards
    try:
        yield made
    finally:
        if kept is None:
            del vllm.LLM
        else:
            vllm.LLM = kept
