"""What a guard can be put on."""

from __future__ import annotations

from typing import Protocol, Sequence

from vlmguard_plugin.query import Query


class Subject(Protocol):
    """Something that can run a VLM with edits in place.

    num_layers: L, decoder layers of the language model. hidden_size: d, width of its residual stream.
    fingerprint: identifies the weights; equal for the same checkpoint whatever its dtype or device.
    prompt_form: identifies how prompts are built.
    """

    num_layers: int
    hidden_size: int
    fingerprint: str
    prompt_form: str

    def record(self, queries: Sequence[Query], *, progress: str | None = None):
        """float32 tensor [N, L, d] on the CPU: last prompt token, after each decoder layer."""

    def generate(self, queries: Sequence[Query], edits=None, **generation) -> list[str]:
        """One answer per query, in order. edits: a sequence of Edits, or a function from a batch to one."""

    def editing(self, edits):
        """A context in which the model runs with these Edits."""
