"""A vLLM worker whose decoder layers can be heard and edited; what is asked of it by name from the front end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Sequence

import torch

from vlmguard_plugin.engines.vllm import operator
from vlmguard_plugin.engines.vllm.asked import Asked
from vlmguard_plugin.engines.vllm.configuration import edits_of, served_guard
from vlmguard_plugin.engines.vllm.edited_requests import WHOLE_PROMPT, EditedRequests, Stream
from vlmguard_plugin.engines.vllm.flattened import FlatBatch, batch_of
from vlmguard_plugin.engines.vllm.per_request import PerRequest
from vlmguard_plugin.guards.core.representation import AddDecision
from vlmguard_plugin.guards.core.strength import told
from vlmguard_plugin.reading import in_line
from vlmguard_plugin.steering.edit import Edits

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, ModuleList

MISSING = "PPMissingLayer"
"""The class of vLLM's that stands for the layers of other pipeline stages."""


class Steering:
    """The decoder layers of a worker, and the edits that are in place on them.

    runner: the worker's model runner. layers: numbers of the decoder layers that this worker has.
    """

    def __init__(self, runner: Any) -> None:
        model, config = runner.get_model(), runner.model_config
        self.runner = runner
        self.width = config.get_hidden_size()
        blocks = decoder_layers(model, config.get_total_num_hidden_layers())
        self.layers = [index for index, block in enumerate(blocks) if type(block).__name__ != MISSING]
        for index in self.layers:
            operator.put_behind(blocks[index], index)
        self.edited: list[EditedRequests] = []
        self.per_request = PerRequest(self.in_place)
        self.shares: list[tuple[list[EditedRequests], FlatBatch]] = []
        self.recorded: dict[int, dict[int, Tensor]] | None = None
        self.batch: FlatBatch | None = None
        execute = runner.execute_model

        def execute_model(scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
            for requests in (*self.edited, *self.per_request.edited()):
                requests.forget(scheduler_output.finished_req_ids)
            if not scheduler_output.total_num_scheduled_tokens:
                return execute(scheduler_output, *args, **kwargs)
            operator.running.append(self.after_layer)
            self.batch, self.shares = None, []
            try:
                output = execute(scheduler_output, *args, **kwargs)
            finally:
                operator.running.pop()
            self.end_pass()
            return output

        runner.execute_model = execute_model

    def begin(self, edits: Sequence[Edits], hears: Sequence[bool], record: bool) -> None:
        """Put edits in place, the first acting first, for requests to come. record: keep last prompt tokens' states.

        ValueError for edits that would not be those of transformers on this model.
        """
        self.edited = self.in_place(edits, hears)
        self.recorded = {} if record else None

    def in_place(self, edits: Sequence[Edits], hears: Sequence[bool] | None = None) -> list[EditedRequests]:
        """What edits make of requests on this worker. hears: whether each keeps decisions; None: none."""
        for step in edits:
            check_between_layers(step, self.runner.get_model())
        device, hears = self.runner.device, hears or [False] * len(edits)
        return [EditedRequests(one, self.layers, device, heard) for one, heard in zip(edits, hears, strict=True)]

    def after_layer(self, index: int, hidden: Tensor, residual: Tensor | None) -> None:
        """Called behind each decoder layer in each pass. hidden, residual: [tokens, d]."""
        if hidden.shape[-1] != self.width:
            raise RuntimeError(
                f"decoder layer {index} gives states of width {hidden.shape[-1]}, not {self.width}, so they can't be "
                "edited as in transformers; give no tensor-parallel option that splits them (sequence parallelism)"
            )
        if self.batch is None:
            self.batch = batch_of(self.runner, hidden.device)
            self.shares = self.per_request.shares(self.batch, self.edited)
            for edited, share in self.shares:
                for requests in edited:
                    requests.begin_pass(share)
        stream = Stream(hidden, residual)
        try:
            for edited, share in self.shares:
                for requests in edited:
                    requests.after_layer(index, share, stream)
        except RuntimeError:
            raise
        except Exception as error:  # of a guard, whose error is none of the request's
            raise RuntimeError(f"decoder layer {index} could not be edited ({in_line(error)})") from error
        if self.recorded is not None and self.batch.prefilled:
            for part, state in zip(self.batch.prefilled, stream.at(self.batch.last)):
                if part.place is not None:
                    self.recorded.setdefault(part.place, {})[index] = state.cpu()

    def edited_layers(self) -> list[int]:
        """The layers of this worker that are edited."""
        return sorted({index for requests in self.edited for index in requests.edits})

    def end_pass(self) -> None:
        """RuntimeError where edited layers were not reached, or what they were given is not finite."""
        try:
            if self.batch is None and self.edited_layers():
                raise RuntimeError(
                    "no decoder layer was reached in a pass, so none was edited; start vLLM with enforce_eager, or "
                    "without full graphs of decoding"
                )
            for edited, _ in self.shares:
                for requests in edited:
                    requests.end_pass()
        except RuntimeError:
            self.runner.execute_model_state = None  # nothing is sampled from a pass that has gone wrong
            raise


def decoder_layers(model: Module, count: int) -> ModuleList:
    """The language model's decoder layers in a model of vLLM's; ValueError where they can't be told."""
    language = language_model(model)
    lists = {
        path: module
        for path, module in language.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == count
    }
    if len(lists) != 1:
        raise ValueError(
            f"{type(model).__name__} has {len(lists)} lists of {count} modules in its language model "
            f"({', '.join(lists) or 'none'}), so its decoder layers can't be told in vLLM; use engine=transformers"
        )
    return next(iter(lists.values()))


def check_between_layers(edits: Edits, model: Any) -> None:
    """ValueError where a model adds pictures' features behind an edited layer (Qwen3-VL) and the order matters.

    What is added to an edited state comes to the same only where the edit itself adds, whatever the state.
    """
    levels = model.deepstack_num_level if getattr(model, "use_deepstack", False) else 0
    if edits.positions not in WHOLE_PROMPT:
        return
    added: Any = AddDecision.apply
    wrong = [n for n, edit in edits.by_layer.items() if n < levels and getattr(type(edit), "apply", None) is not added]
    if wrong:
        raise ValueError(
            f"{type(model).__name__} adds pictures' features behind decoder layers 0 to {levels - 1}, and what is done "
            f"at layers {sorted(wrong)} has to come after them; give positions=generated, other layers, or "
            "engine=transformers"
        )


def language_model(model: Any) -> Module:
    """The part of a model that reads words."""
    language: Module = model.get_language_model() if hasattr(model, "get_language_model") else model
    return language


# What a front end calls by name: `LLM.collective_rpc("vlmguard_begin", args=...)`. vLLM hands over the worker.


def vlmguard_begin(worker: Any, edits: Sequence[Edits], hears: Sequence[bool], record: bool) -> None:
    """Put edits in place for the requests to come."""
    steering_of(worker).begin(edits, hears, record)


def vlmguard_end(worker: Any) -> tuple[list[dict[int, dict[int, Tensor]]], dict[int, dict[int, Tensor]]]:
    """Take edits away. By edits the decisions, and the recorded states: each by query's place, then layer."""
    steering = steering_of(worker)
    decisions = [
        {place: {layer: row.cpu() for layer, row in rows.items()} for place, rows in requests.by_place.items()}
        for requests in steering.edited
    ]
    recorded = steering.recorded or {}
    steering.begin((), (), False)
    return decisions, recorded


def vlmguard_layers(worker: Any) -> list[int]:
    """Numbers of the decoder layers that this worker has."""
    return list(steering_of(worker).layers)


def vlmguard_normalised(worker: Any, states: Tensor) -> Tensor | None:
    """States [N, d] behind the model's final norm, float32 on the CPU; None where another pipeline stage has it."""
    steering = steering_of(worker)
    model = steering.runner.get_model()
    norms = [
        module
        for path, module in language_model(model).named_modules()
        if path.rpartition(".")[2] in ("norm", "final_norm", "ln_f", "final_layernorm")
    ]
    if len(norms) != 1:
        raise ValueError(
            f"{type(model).__name__} has {len(norms)} norms that may be its last, so its normalised states are not "
            "known in vLLM; use engine=transformers"
        )
    weight = next(norms[0].parameters(), None)
    if weight is None:  # of another stage
        return None
    with torch.inference_mode():
        norm: Any = norms[0]
        normed: Tensor = norm(states.to(weight))
    return normed.float().cpu()


def vlmguard_guard(worker: Any) -> dict[str, Any] | None:
    """The guard that is in place for all requests: its name, fingerprint and settings; None for none."""
    steering_of(worker)
    facts: dict[str, Any] | None = worker.vlmguard_facts
    return facts


def make_ready(worker: Any, asked: Asked) -> None:
    """Make a loaded worker ready for edits, and put a served guard in place; one line says which."""
    worker.vlmguard_steering = Steering(worker.model_runner)
    worker.vlmguard_facts = None
    if asked.guard is None:
        return
    guard = served_guard(asked)
    layers = worker.model_runner.model_config.get_total_num_hidden_layers()
    edits = edits_of(guard, layers)
    worker.vlmguard_steering.begin(edits, [False] * len(edits), False)
    worker.vlmguard_facts = {"name": guard.name, "fingerprint": guard.fingerprint, "settings": guard.saved_settings()}
    if asked.per_request:
        worker.vlmguard_steering.per_request.allow(guard, layers)
        worker.vlmguard_facts["per_request"] = told(guard)
    here = worker.vlmguard_steering.edited_layers()
    print(
        f"vlmguard: {guard.fingerprint} of {asked.guard} is on, worker {worker.rank}, decoder layers {here}",
        file=sys.stderr,
        flush=True,
    )


def steering_of(worker: Any) -> Steering:
    """The worker's; RuntimeError where it was started without."""
    steering = getattr(worker, "vlmguard_steering", None)
    if steering is None:
        raise RuntimeError(
            "this vLLM worker was started without the plugin; name vlmguard in $VLLM_PLUGINS, or unset it"
        )
    found: Steering = steering
    return found
