"""What guards that edit hidden states share: which layers, how strongly, at which positions."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.settings import GuardSettings
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import BlankImage, Query
from vlmguard_plugin.steering.edit import POSITIONS, Edits, Prompts
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self


MOST_ALPHA = 1000
"""The strongest edit; a published guard's is near 5."""


@dataclass(frozen=True)
class RepresentationSettings(GuardSettings):
    """Settings every representation guard has.

    layers: 0-based decoder layers that are edited; None is the guard's own default for the model's depth.
    alpha: strength of the edit, a number from -1000 to 1000.
    positions: "last", "prompt", "generated" or "all" (see steering.edit.Edits).
    """

    layers: tuple[int, ...] | None = None
    alpha: float = 1.0
    positions: str = "all"

    def __post_init__(self) -> None:
        if self.layers is not None:
            layers = tuple(self.layers) if isinstance(self.layers, (list, tuple, range)) else None
            if (
                not layers
                or any(type(layer) is not int or layer < 0 for layer in layers)
                or len(set(layers)) < len(layers)
            ):
                raise ValueError(
                    f"layers is {self.layers!r}; give distinct 0-based decoder layers such as [10, 11], or None for "
                    "the default"
                )
            object.__setattr__(self, "layers", tuple(sorted(layers)))
        self.check_number("alpha", -MOST_ALPHA, MOST_ALPHA)
        self.check_choice("positions", POSITIONS)


@dataclass(frozen=True)
class ImageSettings(RepresentationSettings):
    """Settings of a guard that measures what a meaningless image does.

    image: its kind, one of `query.BLANK_KINDS`: "white" (the default; "blank" is another name for it), "black",
        "gray", "mean" (the image processor's mean colour) or "noise".
    """

    image: str = "white"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "image", BlankImage(self.image).kind)

    @classmethod
    def from_saved(cls, saved: dict[str, Any]) -> dict[str, Any]:
        """Older versions called the mean colour "blank"; this one never saves that name."""
        return {**saved, "image": "mean"} if saved.get("image") == "blank" else saved


class RepresentationGuard(Guard):
    """A guard that edits hidden states after some decoder layers. `fit_tensors` gives facts per layer."""

    settings: RepresentationSettings

    @abstractmethod
    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The fitted numbers and the per-layer facts worth keeping, from anchors."""

    @abstractmethod
    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> Edits:
        """What to do to which layer's hidden state, for these queries; see `Guard.edits`."""

    @abstractmethod
    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        """Decoder layers edited where the settings name none."""

    def layers(self, num_layers: int) -> tuple[int, ...]:
        """Decoder layers that are edited, checked against the model's depth."""
        layers = self.settings.layers if self.settings.layers is not None else self.default_layers(num_layers)
        beyond = [layer for layer in layers if layer >= num_layers]
        if beyond:
            raise ValueError(
                f"layers {beyond} are beyond the model's {num_layers} decoder layers (0 to {num_layers - 1})"
            )
        return layers

    def fit(self, subject: Subject, anchors: Anchors, *, progress: bool = False) -> Self:
        layers = self.layers(subject.num_layers)
        super().fit(subject, anchors, progress=progress)
        model_and_anchors = {key: self.facts.pop(key) for key in ("model", "anchors")}
        self.facts = {**model_and_anchors, "edited_layers": list(layers), "per_layer": self.facts}
        return self

    def with_settings(self, **changes: Any) -> Self:
        changed = super().with_settings(**changes)
        if changed.facts:
            changed.facts["edited_layers"] = list(changed.layers(self.facts["model"]["num_layers"]))
        return changed

    def take(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        if not isinstance(facts.get("edited_layers"), list):
            raise ValueError("edited_layers is missing among its facts")
        super().take(tensors, facts)

    def check_loaded(self) -> None:
        layers, of_facts = list(self.layers(self.facts["model"]["num_layers"])), self.facts["edited_layers"]
        if layers != of_facts:
            raise ValueError(f"its settings name the layers {layers}, its facts {of_facts}")

    def saved_settings(self) -> dict[str, Any]:
        settings = super().saved_settings()
        return {**settings, "layers": self.facts["edited_layers"]} if self.facts else settings


def band(num_layers: int, depth: float, count: int = 1) -> tuple[int, ...]:
    """`count` neighbouring layers around this share of the model's depth (0..1)."""
    first = min(max(0, round(depth * num_layers) - count // 2), max(0, num_layers - count))
    return tuple(range(first, min(num_layers, first + count)))


def check_rank(rank: int, states: int, width: int) -> None:
    """ValueError where this many directions can't come out of `states` hidden states of this width."""
    if rank > min(states, width):
        raise ValueError(
            f"rank is {rank} but {states} anchor differences of width {width} give at most {min(states, width)}"
        )


class AddDecision:
    """An edit of one layer that adds what it decides, [rows, d], to each edited position of the row."""

    def apply(self, hidden: Tensor, decision: Tensor) -> Tensor:
        """Hidden states [rows, tokens, d] with their rows' decisions [rows, 1, d] added."""
        return hidden + decision


@dataclass(frozen=True)
class AddVectors(AddDecision):
    """Adds a vector: [1, d] for all queries alike, or [queries, d].

    pictured_only: to rows with an image alone. per_query: a single vector too is one query's, not all queries'.
    """

    vectors: Tensor
    pictured_only: bool = False
    per_query: bool = False

    def decide(self, last: Tensor, prompts: Prompts) -> Tensor:
        """What is added at each edited position of a row: [rows, d]."""
        alike = len(self.vectors) == 1 and not self.per_query
        added = self.vectors.expand(prompts.rows, -1) if alike else prompts.repeat(self.vectors)
        return added * prompts.has_image.unsqueeze(1) if self.pictured_only else added


def check_finite(states: Tensor) -> Tensor:
    """The states [N, L, d]; ValueError, naming the decoder layers, where some are not finite."""
    finite = torch.isfinite(states).all(dim=2).all(dim=0)
    if not bool(finite.all()):
        layers = (~finite).nonzero().flatten().tolist()
        raise ValueError(
            f"the model's hidden states after decoder layers {layers[:8]} are not finite on anchors; load it in "
            "bfloat16 or float32 (float16 overflows in many models), or mend the checkpoint"
        )
    return states


def record_anchors(subject: Subject, anchors: Anchors, guard: str, progress: bool) -> tuple[Tensor, Tensor]:
    """Text-only states of the harmful and of the harmless anchors, [N, L, d] each."""
    label = f"fit {guard}: " if progress else None
    harmful, harmless = (
        check_finite(subject.record([Query(text) for text in requests], progress=label and f"{label}{side} anchors"))
        for side, requests in (("harmful", anchors.harmful), ("harmless", anchors.harmless))
    )
    return harmful, harmless


def check_own_states(subject: Subject) -> None:
    """RuntimeError while a guard is on the model: what is measured then are not the model's own states."""
    if subject.is_edited:
        raise RuntimeError(
            "the states of a query can't be measured while another guard is on the model; leave it first, or compose "
            "the two by name, as in vlm_guard+shiftdc"
        )


def record_shifts(subject: Subject, queries: Sequence[Query], image: str, label: str | None) -> tuple[Tensor, Tensor]:
    """Shift of each query's state by a meaningless image, and its text-only state: both [N, L, d], the model's own."""
    check_own_states(subject)
    text = subject.record([query.without_images() for query in queries], progress=label and label + "text")
    blank = [query.with_blank_images(image) for query in queries]
    pictured = subject.record(blank, progress=label and f"{label}with {image} image")
    return check_finite(pictured) - check_finite(text), text


def record_anchor_shifts(
    subject: Subject, anchors: Anchors, image: str, guard: str, progress: bool
) -> tuple[Tensor, Tensor]:
    """`record_shifts` of the harmful anchors, then of the harmless ones: both [2N, L, d]."""
    queries = [Query(text) for text in anchors.harmful + anchors.harmless]
    return record_shifts(subject, queries, image, f"fit {guard}: " if progress else None)
