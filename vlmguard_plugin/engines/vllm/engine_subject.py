"""What subjects whose model runs in an engine of vLLM's have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Iterator, Sequence

from vlmguard_plugin.engines.vllm.checkpoint import CheckpointFacts
from vlmguard_plugin.environment import VLLM
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits, SomeEdits, as_edits

if TYPE_CHECKING:
    from torch import Tensor

    from vlmguard_plugin.subjects.base import EditsForBatch


class EngineSubject(ABC):
    """A checkpoint in an engine of this process. llm: that engine, a vllm.LLM.

    Logits are not contrasted and answers not drawn token by token here; guards that need it say so.
    """

    engine = VLLM

    def __init__(self, llm: Any) -> None:
        self.llm = llm
        self._standing: list[Edits] = []

    @property
    @abstractmethod
    def facts(self) -> CheckpointFacts:
        """Of the engine's checkpoint."""

    @property
    def num_layers(self) -> int:
        return self.facts.num_layers

    @property
    def hidden_size(self) -> int:
        return self.facts.hidden_size

    @property
    def fingerprint(self) -> str:
        return self.facts.fingerprint

    @property
    def is_edited(self) -> bool:
        return bool(self._standing)

    def normalised(self, states: Tensor) -> Tensor:
        normed = [part for part in self.llm.collective_rpc("vlmguard_normalised", args=(states,)) if part is not None]
        result: Tensor = normed[-1]
        return result

    @contextmanager
    def editing(self, edits: SomeEdits | None) -> Iterator[None]:
        """While open, whatever is asked of this subject is answered with `edits` in place, before others' own."""
        own = list(as_edits(edits))
        self._standing += own
        try:
            yield
        finally:
            del self._standing[len(self._standing) - len(own) :]

    def steps(self, queries: Sequence[Query], edits: SomeEdits | EditsForBatch | None) -> tuple[Edits, ...]:
        """What is done to these queries' states, the first acting first: standing edits, and these."""
        return (*self._standing, *as_edits(edits(queries) if callable(edits) else edits))

    def close(self) -> None:
        """End the engine and its workers."""
        self.llm.llm_engine.engine_core.shutdown()
