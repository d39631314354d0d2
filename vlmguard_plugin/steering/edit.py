"""What an edit of hidden states is.

An edit is decided once a generation, per row, from the hidden state of the last prompt token as the layer
puts it out in the prefill (edits of earlier layers included), and is kept for the whole answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Callable, Mapping, Protocol, Sequence

from vlmguard_plugin.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

POSITIONS = ("last", "prompt", "generated", "all", "every_step")


@dataclass(frozen=True)
class Prompts:
    """What an edit may know of the batch it is decided for.

    rows: of the batch, beams and returned sequences counted. images: bool [rows], which prompts hold an image; None
        where it can't be told. expansion: rows per query.
    states: the last prompt token's hidden states [rows, d] after the layers heard so far that are edited or
        watched, by layer.
    places: of each row its query's place among those that the edits were made for, where an engine takes some of them
        at a time, in an order of its own; None where rows are all queries in order.
    """

    rows: int
    images: Tensor | None
    expansion: int = 1
    states: Mapping[int, Tensor] = field(default_factory=dict)
    places: tuple[int, ...] | None = None

    @property
    def has_image(self) -> Tensor:
        """bool [rows], which prompts hold an image; RuntimeError where it can't be told."""
        if self.images is None:
            raise RuntimeError(
                "whether the prompt holds an image can't be told from its embeddings, and this guard acts by it; give "
                "the model input_ids"
            )
        return self.images

    def repeat(self, per_query: Tensor) -> Tensor:
        """Values [queries, ...] repeated to [rows, ...]: beams of one query lie next to each other."""
        if self.places is not None:
            if max(self.places) >= len(per_query):
                raise ValueError(
                    f"edits were made for {len(per_query)} queries but query {max(self.places)} is answered under "
                    "them; give the same queries"
                )
            return per_query[list(self.places)]
        if len(per_query) * self.expansion != self.rows:
            each = f" ({self.expansion} rows a query)" if self.expansion > 1 else ""
            raise ValueError(
                f"edits were made for {len(per_query)} queries but the batch has {self.rows} rows{each}; give the same "
                "queries"
            )
        return per_query.repeat_interleave(self.expansion, dim=0)


class LayerEdit(Protocol):
    """What is done to the residual stream after one decoder layer, in float32.

    Tensors that are fields of a dataclass are put on the layer's device before it is asked.
    """

    def decide(self, last: Tensor, prompts: Prompts) -> Tensor:
        """From the last prompt tokens [rows, d]: whatever is kept for the answer, [rows, ...]."""

    def apply(self, hidden: Tensor, decision: Tensor) -> Tensor:
        """Edited hidden states [rows, tokens, d], from hidden [rows, tokens, d] and decisions [rows, 1, ...].

        Asked once a pass; some of the tokens may be ones that are not edited, whose results are not used.
        """


def on_device(edit: LayerEdit, device: torch.device) -> LayerEdit:
    """The edit with the tensors among its fields on a device, so that no token waits for a copy.

    Nor does the program wait for a copy to a GPU: what is asked of it afterwards comes after the copy.
    """
    if not is_dataclass(edit) or isinstance(edit, type):
        return edit
    values = {part.name: getattr(edit, part.name) for part in fields(edit)}
    at_once = device.type == "cuda"
    moved = {
        name: value.to(device, non_blocking=at_once)
        for name, value in values.items()
        if isinstance(value, torch.Tensor)
    }
    return replace(edit, **moved) if moved else edit


@dataclass(frozen=True)
class Edits:
    """Edits by 0-based decoder layer, and the positions they act on.

    positions: "last" (last prompt token, in the prefill only), "prompt" (all prompt tokens),
    "generated" (each new token as it is decoded), "all", or "every_step" (the last token of every step: the last
    prompt token, then each new one). Padding is never read or edited.
    watched: layers whose last prompt token later layers decide by, beside their own.
    heard: told of every decision, [rows, ...]; None for nobody.
    """

    by_layer: Mapping[int, LayerEdit]
    positions: str = "last"
    watched: tuple[int, ...] = ()
    heard: Callable[[Tensor], None] | None = None

    def __post_init__(self) -> None:
        if self.positions not in POSITIONS:
            raise ValueError(f"positions is {self.positions!r}; choose one of {', '.join(POSITIONS)}")


SomeEdits = Edits | Sequence[Edits]
"""Edits, or several that act one after the other."""


def as_edits(edits: SomeEdits | None) -> tuple[Edits, ...]:
    """Edits in the order in which they act; empty for None."""
    if edits is None:
        return ()
    return (edits,) if isinstance(edits, Edits) else tuple(edits)
