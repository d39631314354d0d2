"""vLLM's batch is one row of tokens, of many requests at once: which of them belong to which request."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Sequence

from vlmguard_plugin.engines.vllm.asked import KEY
from vlmguard_plugin.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

PLACE, ANSWER = "vlmguard_place", "vlmguard_answer"
"""What a request's `extra_args` say: its query's place in the call, and how many of its last tokens are an answer's."""


@dataclass(frozen=True)
class Part:
    """One request's tokens in a pass.

    request: vLLM's name for it. start: index in the flattened batch of the first. tokens: how many there are.
    position: of the first one in the request, from 0. prompt: tokens of its prompt, those of images included.
    has_image: whether the prompt holds one. place: of its query in a subject's call; None for a server's requests.
    asked: what the request asks of the guard that stands on the server; None for most.
    """

    request: str
    start: int
    tokens: int
    position: int
    prompt: int
    has_image: bool
    place: int | None
    asked: str | float | None = None

    @property
    def last(self) -> int | None:
        """Index in the flattened batch of the last prompt token; None where it is not in this pass."""
        offset = self.prompt - 1 - self.position
        return self.start + offset if 0 <= offset < self.tokens else None

    @property
    def begins_whole(self) -> bool:
        """Whether the whole prompt is in this pass."""
        return self.position == 0 and self.tokens >= self.prompt

    @property
    def decoding(self) -> bool:
        """Whether all of its tokens are behind the prompt."""
        return self.position >= self.prompt

    def edited(self, positions: str) -> range:
        """Indices in the flattened batch of the tokens that edits at these positions act on (see steering.edit)."""
        first = {
            "last": self.prompt - 1,
            "prompt": 0,
            "generated": self.prompt,
            "all": 0,
            "every_step": self.prompt - 1,
        }
        behind = {"last": self.prompt, "prompt": self.prompt}
        end = self.position + self.tokens
        begin, stop = max(first[positions], self.position), min(behind.get(positions, end), end)
        offset = self.start - self.position
        return range(begin + offset, max(begin, stop) + offset)


class FlatBatch:
    """The requests of the pass under way, in the batch's order."""

    def __init__(self, parts: Sequence[Part], device: torch.device) -> None:
        self.parts = tuple(parts)
        self.device = device
        self._edited: dict[str, tuple[Tensor, Tensor]] = {}

    @cached_property
    def prefilled(self) -> tuple[Part, ...]:
        """Those whose last prompt token is in this pass."""
        return tuple(part for part in self.parts if part.last is not None)

    @cached_property
    def last(self) -> Tensor:
        """Indices of the last prompt tokens of `prefilled`, int64."""
        return torch.tensor([part.last for part in self.prefilled], device=self.device)

    def edited(self, positions: str) -> tuple[Tensor, Tensor]:
        """The tokens that edits at these positions act on, int64, and the number in `parts` of each one's request."""
        if positions not in self._edited:
            ranges = [part.edited(positions) for part in self.parts]
            tokens = [index for of_part in ranges for index in of_part]
            owners = [number for number, of_part in enumerate(ranges) for _ in of_part]
            self._edited[positions] = (
                torch.tensor(tokens, dtype=torch.int64, device=self.device),
                torch.tensor(owners, dtype=torch.int64, device=self.device),
            )
        return self._edited[positions]


def batch_of(runner: Any, device: torch.device) -> FlatBatch:
    """The requests of the pass that a model runner (vLLM's V1 runner) has prepared."""
    batch, starts = runner.input_batch, runner.query_start_loc.np
    parts = []
    for number, request in enumerate(batch.req_ids[: batch.num_reqs]):
        state = runner.requests[request]
        said = (state.sampling_params and state.sampling_params.extra_args) or {}
        parts.append(
            Part(
                request=request,
                start=int(starts[number]),
                tokens=int(starts[number + 1] - starts[number]),
                position=int(batch.num_computed_tokens_cpu[number]),
                prompt=int(batch.num_prompt_tokens[number]) - said.get(ANSWER, 0),
                has_image=any(feature.modality == "image" for feature in state.mm_features),
                place=said.get(PLACE),
                asked=said.get(KEY),
            )
        )
    return FlatBatch(parts, device)
