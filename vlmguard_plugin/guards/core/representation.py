"""What guards that edit hidden states share: which layers, how strongly, at which positions."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.errors import NoTensors
from vlmguard_plugin.guards.core.preset import PAPER
from vlmguard_plugin.guards.core.settings import GuardSettings
from vlmguard_plugin.query import BlankImage, Query
from vlmguard_plugin.steering.edit import POSITIONS, Edits, Prompts
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self


ALL_LAYERS = "all"
MOST_ALPHA = 1000
"""The strongest edit; a published guard's is near 5."""


@dataclass(frozen=True)
class RepresentationSettings(GuardSettings):
    """Settings every representation guard has.

    layers: 0-based decoder layers that are edited, or "all"; None is the guard's own choice for the model's depth.
    alpha: strength of the edit, a number from -1000 to 1000.
    positions: "last", "prompt", "generated", "all" or "every_step" (see steering.edit.Edits).
    """

    layers: tuple[int, ...] | str | None = None
    alpha: float = 1.0
    positions: str = "all"

    def __post_init__(self) -> None:
        if self.layers is not None and self.layers != ALL_LAYERS:
            object.__setattr__(self, "layers", checked_layers("layers", self.layers, f'"{ALL_LAYERS}", '))
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

    def gate_margins(self, states: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """How far requests lie beyond the fitted guard's gates, which fire above 0: [N] by gate and condition.

        states: the unguarded model's, [N, L, d] by condition, "text" among them unless there is none. Empty for a guard
        that acts on every request.
        """
        return {}

    @property
    def has_gate(self) -> bool:
        return bool(self.gate_margins({}))

    @property
    def acts_where_fired(self) -> bool:
        return self.has_gate and type(self).rewrite is Guard.rewrite

    def margins_by_layer(
        self, states: Mapping[str, Tensor], margin: Callable[[int, str, Tensor], Tensor]
    ) -> dict[str, dict[str, Tensor]]:
        """`gate_margins` where each edited layer decides for itself.

        margin: from a layer, a condition and the states [N, d] there to the margins [N].
        """
        return {
            f"layer {layer}": {name: margin(layer, name, own[:, layer]) for name, own in states.items()}
            for layer in self.facts["edited_layers"]
        }

    def paper_layers(self, num_layers: int) -> tuple[int, ...]:
        """The same under the preset "paper", where its settings name none."""
        return self.default_layers(num_layers)

    def layers(self, num_layers: int) -> tuple[int, ...]:
        """Decoder layers that are edited, checked against the model's depth."""
        named = self.settings.layers
        if named is None:
            layers = self.paper_layers(num_layers) if self.preset == PAPER else self.default_layers(num_layers)
        else:
            layers = tuple(range(num_layers)) if isinstance(named, str) else named
        beyond = [layer for layer in layers if layer >= num_layers]
        if beyond:
            raise ValueError(
                f"layers {beyond} are beyond the model's {num_layers} decoder layers (0 to {num_layers - 1})"
            )
        return layers

    def fit(self, subject: Subject, anchors: Anchors, *, progress: bool = False) -> Self:
        self.layers(subject.num_layers)  # wrong ones are refused before anything is recorded
        super().fit(subject, anchors, progress=progress)
        per_layer = self.facts
        self.facts = {key: per_layer.pop(key) for key in ("model", "anchors")}
        self.facts |= {**self.facts_of_settings(), "per_layer": per_layer}
        try:
            self.check_numerical_rank()
        except ValueError:
            self.tensors, self.facts = NoTensors(self.name), {}
            raise
        return self

    def with_settings(self, **changes: Any) -> Self:
        changed = super().with_settings(**changes)
        if changed.facts:
            changed.facts |= changed.facts_of_settings()
            changed.check_numerical_rank()
        return changed

    def facts_of_settings(self) -> dict[str, Any]:
        """Of a fitted guard: facts that settings decide which the fit does not depend on."""
        return {"edited_layers": list(self.layers(self.facts["model"]["num_layers"]))}

    def changed_from_preset(self) -> tuple[str, ...]:
        changed = super().changed_from_preset()
        asked = type(self)(preset=self.preset)
        if self.facts and self.facts["edited_layers"] == list(asked.layers(self.facts["model"]["num_layers"])):
            return tuple(
                name for name in changed if name != "layers"
            )  # those of the preset, which the fit has filled in
        return changed

    def marks(self) -> dict[str, Any]:
        marks = super().marks()
        depths = self.paper.depths if self.paper else ()
        if marks and depths and self.facts and self.facts["model"]["num_layers"] not in depths:
            marks["ours"] += ["layers"] if "layers" not in self.changed_from_preset() else []
        return marks

    def check_numerical_rank(self) -> None:
        """ValueError where the anchors don't give the directions that are asked for at an edited layer.

        Looks at the fact rank (the numerical rank) and the setting rank; guards without them have nothing to say here.
        """
        ranks, asked = self.facts["per_layer"].get("rank"), getattr(self.settings, "rank", None)
        for layer in self.facts["edited_layers"] if ranks and asked else ():
            if asked > ranks[layer]:
                raise ValueError(
                    f"rank is {asked} but what the anchors give after decoder layer {layer} has a numerical rank of "
                    f"{ranks[layer]}, and directions beyond it are rounding noise; give a smaller rank, or more and "
                    "other anchors"
                )

    def take(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        if not isinstance(facts.get("edited_layers"), list):
            raise ValueError("edited_layers is missing among its facts")
        super().take(tensors, facts)

    def check_loaded(self) -> None:
        layers, of_facts = list(self.layers(self.facts["model"]["num_layers"])), self.facts["edited_layers"]
        if layers != of_facts:
            raise ValueError(f"its settings name the layers {layers}, its facts {of_facts}")
        self.check_numerical_rank()

    def saved_settings(self) -> dict[str, Any]:
        settings = super().saved_settings()
        return {**settings, "layers": self.facts["edited_layers"]} if self.facts else settings


def beyond(states: Tensor, direction: Tensor, threshold: float | Tensor) -> Tensor:
    """How far states [..., d] lie along a direction [d] beyond a threshold: [...]."""
    along: Tensor = states @ direction
    return along - threshold


def checked_layers(setting: str, value: object, others: str = "") -> tuple[int, ...]:
    """A setting's decoder layers in order; ValueError unless they are distinct whole numbers from 0.

    others: what else the setting may be.
    """
    layers = tuple(value) if isinstance(value, (list, tuple, range)) else ()
    if not layers or any(type(layer) is not int or layer < 0 for layer in layers) or len(set(layers)) < len(layers):
        raise ValueError(
            f"{setting} is {value!r}; give distinct 0-based decoder layers such as [10, 11], {others}or None for the "
            "default"
        )
    return tuple(sorted(layers))


def band(num_layers: int, depth: float, count: int = 1) -> tuple[int, ...]:
    """`count` neighbouring layers around this share of the model's depth (0..1)."""
    first = min(max(0, round(depth * num_layers) - count // 2), max(0, num_layers - count))
    return tuple(range(first, min(num_layers, first + count)))


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
