"""vLLM's offline engine with edits in its workers: put in place, run, checked, and taken away again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Sequence

import torch

from vlmguard_plugin.engines.vllm.flattened import ANSWER, PLACE
from vlmguard_plugin.steering.edit import Edits

if TYPE_CHECKING:
    from torch import Tensor


class Answered(NamedTuple):
    """outputs: vLLM's, in the order of the prompts. recorded: last prompt tokens' states [d] by place and layer."""

    outputs: list[Any]
    recorded: dict[int, dict[int, Tensor]]


class EditedEngine:
    """An engine in this process, and workers that may have processes of their own.

    llm: a vllm.LLM whose workers were started with this package's plugin. num_layers: L.
    ValueError where the workers don't have all decoder layers between them.
    """

    def __init__(self, llm: Any, num_layers: int) -> None:
        self.llm = llm
        layers = sorted({layer for own in llm.collective_rpc("vlmguard_layers") for layer in own})
        if layers != list(range(num_layers)):
            raise ValueError(
                f"vLLM's workers have the decoder layers {layers}, but the checkpoint has {num_layers}; use "
                "engine=transformers"
            )

    def run(
        self,
        inputs: Sequence[Mapping[str, Any]],
        parameters: Sequence[Any],
        edits: Sequence[Edits],
        *,
        record: bool = False,
        answer_tokens: Sequence[int] | None = None,
        **more: Any,
    ) -> Answered:
        """What vLLM gives to its prompts under edits, the first acting first.

        parameters: vLLM's SamplingParams, by prompt. record: keep states of the last prompt tokens.
        answer_tokens: how many of each prompt's last tokens are an answer's. more: what else `LLM.generate` takes.
        RuntimeError where an edited layer has not decided about a prompt.
        """
        behind = answer_tokens or [0] * len(inputs)
        parameters = [
            placed(own, place, tokens) for place, (own, tokens) in enumerate(zip(parameters, behind, strict=True))
        ]
        told = [replace(step, heard=None) for step in edits]  # workers may be other processes: who hears stays here
        self.llm.collective_rpc("vlmguard_begin", args=(told, [step.heard is not None for step in edits], record))
        try:
            outputs = self.llm.generate(list(inputs), parameters, **{"use_tqdm": False, **more})
        except BaseException:
            self._drop_requests()
            self.llm.collective_rpc("vlmguard_end")
            raise
        workers = self.llm.collective_rpc("vlmguard_end")
        for number, step in enumerate(edits):
            hear(step, together([decisions[number] for decisions, _ in workers]), len(inputs))
        return Answered(list(outputs), together([recorded for _, recorded in workers]))

    def _drop_requests(self) -> None:
        """Have the engine forget requests that an error has left in it."""
        engine = self.llm.llm_engine
        engine.abort_request(list(engine.output_processor.request_states), internal=True)


def placed(parameters: Any, place: int, answer_tokens: int) -> Any:
    """A request's SamplingParams that say its place in the call, and how many of its last tokens are an answer's."""
    own = parameters.clone()
    own.extra_args = {**(own.extra_args or {}), PLACE: place, ANSWER: answer_tokens}
    return own


def together(of_workers: Sequence[dict[int, dict[int, Tensor]]]) -> dict[int, dict[int, Tensor]]:
    """What workers say by place and layer; those that share a layer by tensor parallelism say the same."""
    by_place: dict[int, dict[int, Tensor]] = {}
    for own in of_workers:
        for place, layers in own.items():
            by_place.setdefault(place, {}).update(layers)
    return by_place


def hear(step: Edits, decisions: dict[int, dict[int, Tensor]], count: int) -> None:
    """Check that each edited layer has decided about each of `count` prompts, and tell who listens."""
    for layer in sorted(step.by_layer):
        missed = [place for place in range(count) if layer not in decisions.get(place, {})]
        if missed:
            raise RuntimeError(
                f"decoder layer {layer} was not edited for prompts {missed}, so their answers would be unguarded"
            )
        if step.heard is not None:
            step.heard(torch.stack([decisions[place][layer] for place in range(count)]))
