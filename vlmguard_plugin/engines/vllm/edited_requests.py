"""What one set of edits makes of the requests that go through a worker: decided once a request, kept until it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterable

from vlmguard_plugin.engines.vllm.flattened import FlatBatch, Part
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.steering.edit import Edits, LayerEdit, Prompts, on_device

if TYPE_CHECKING:
    from torch import Tensor

WHOLE_PROMPT = ("prompt", "all")
"""Positions whose tokens are read before the last prompt token, by which is decided: the prompt has to come in one."""


class EditedRequests:
    """Edits in one worker, as steering.edited_generations has them in one generation.

    layers: the decoder layers of this worker. hears: whether decisions are kept for `Edits.heard`.
    Raises ValueError where a layer here decides by one that another pipeline stage has.
    """

    def __init__(self, edits: Edits, layers: Iterable[int], device: torch.device, hears: bool = False) -> None:
        here = set(layers)
        self.edits = {index: on_device(edit, device) for index, edit in edits.by_layer.items() if index in here}
        self.positions = edits.positions
        elsewhere = sorted(set(edits.watched) - here)
        if elsewhere and self.edits:
            raise ValueError(
                f"decoder layers {sorted(self.edits)} are edited by what layers {elsewhere} say, which another "
                "pipeline stage has; use tensor parallelism in place of pipeline parallelism"
            )
        self.noted = {*self.edits, *(set(edits.watched) & here)}
        self.hears = hears
        self.states: dict[str, dict[int, Tensor]] = {}
        self.decisions: dict[str, dict[int, Tensor]] = {}
        self.by_place: dict[int, dict[int, Tensor]] = {}
        self._stacked: dict[int, Tensor] = {}
        self._finite: dict[int, Tensor] = {}
        self.reached: set[int] = set()

    def begin_pass(self, batch: FlatBatch) -> None:
        """RuntimeError for a request that can't be edited as it comes."""
        self._stacked, self._finite, self.reached = {}, {}, set()
        for part in batch.parts if self.edits else ():
            decided = part.request in self.decisions
            if part.decoding and not decided:
                raise RuntimeError(f"request {part.request} decodes, but its prompt was not heard under this guard")
            if self.positions in WHOLE_PROMPT and not (decided or part.begins_whole):
                raise RuntimeError(
                    f"a prompt of {part.prompt} tokens is read in pieces ({part.tokens} from {part.position}), but "
                    f"edits at positions {self.positions!r} need it whole; switch chunked prefill off"
                )

    def end_pass(self) -> None:
        """RuntimeError where an edited layer was not reached in the pass, or an edit is not finite."""
        missed = sorted(set(self.edits) - self.reached)
        if missed:
            raise RuntimeError(
                f"decoder layers {missed} were not reached in a pass, so they were not edited; start vLLM with "
                "enforce_eager, or without full graphs of decoding"
            )
        wrong = [index for index, finite in self._finite.items() if not bool(finite)]
        if wrong:
            raise RuntimeError(
                f"what is to be added to the hidden states after decoder layers {wrong} is not finite; load the model "
                "in bfloat16 or float32, or fit the guard again"
            )

    def forget(self, requests: Iterable[str]) -> None:
        """Drop what is kept for requests that have ended."""
        for request in requests:
            self.states.pop(request, None)
            self.decisions.pop(request, None)

    def after_layer(self, index: int, batch: FlatBatch, stream: Stream) -> None:
        """Note, decide and edit behind a layer."""
        if index not in self.noted:
            return
        new = [part for part in batch.prefilled if index not in self.decisions.get(part.request, {})]
        if new:
            self.note(index, new, stream.at(torch.tensor([part.last for part in new], device=batch.device)))
        edit = self.edits.get(index)
        if edit is None:
            return
        if new:
            self.decide(index, edit, new)
        self.reached.add(index)
        tokens, owners = batch.edited(self.positions)
        if len(tokens):
            decision = self.stacked(index, batch)[owners]
            stream.put(tokens, edit.apply(stream.at(tokens).unsqueeze(1), decision.unsqueeze(1)).squeeze(1))

    def note(self, index: int, parts: list[Part], states: Tensor) -> None:
        for part, state in zip(parts, states):
            self.states.setdefault(part.request, {})[index] = state

    def decide(self, index: int, edit: LayerEdit, parts: list[Part]) -> None:
        """Decide for requests whose last prompt tokens are here, each by its own states alone."""
        layers = self.states[parts[0].request]
        states = {layer: torch.stack([self.states[part.request][layer] for part in parts]) for layer in layers}
        images = torch.tensor([part.has_image for part in parts], device=states[index].device)
        places = [part.place for part in parts if part.place is not None]
        prompts = Prompts(
            len(parts), images, states=states, places=tuple(places) if len(places) == len(parts) else None
        )
        decision = edit.decide(states[index], prompts)
        self._finite[index] = torch.isfinite(decision).all()
        for part, row in zip(parts, decision):
            self.decisions.setdefault(part.request, {})[index] = row
            if part.place is not None:
                kept = self.by_place.setdefault(part.place, {})
                kept[index] = row if self.hears else row.new_empty(0)

    def stacked(self, index: int, batch: FlatBatch) -> Tensor:
        """Decisions of the pass's requests at a layer, [requests, ...]; zero for a prompt that is read only in part."""
        rows = [self.decisions.get(part.request, {}).get(index) for part in batch.parts]
        known = next(row for row in rows if row is not None)
        return torch.stack([torch.zeros_like(known) if row is None else row for row in rows])


class Stream:
    """The residual stream behind a layer, which most of vLLM's layers give in two halves, [tokens, d] each."""

    def __init__(self, hidden: Tensor, residual: Tensor | None) -> None:
        self.hidden, self.residual = hidden, residual

    def at(self, tokens: Tensor) -> Tensor:
        """Of these tokens, float32 [len(tokens), d]."""
        hidden = self.hidden[tokens].float()
        return hidden if self.residual is None else hidden + self.residual[tokens].float()

    def put(self, tokens: Tensor, states: Tensor) -> None:
        """Put states in the place of these tokens' own, in the halves' dtype; all others stay to the bit."""
        self.hidden.index_copy_(0, tokens, states.to(self.hidden.dtype))
        if self.residual is not None:
            self.residual.index_fill_(0, tokens, 0)
