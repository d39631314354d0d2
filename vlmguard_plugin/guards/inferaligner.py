"""InferAligner (arXiv 2401.11206): add safety vectors, an aligned model's or its own, where a layer sees harm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.files import expanded, sha256_of
from vlmguard_plugin.guards.core.directions import mean_difference, noise_of
from vlmguard_plugin.guards.core.preset import Preset
from vlmguard_plugin.guards.core.recording import record_anchors
from vlmguard_plugin.guards.core.representation import (
    AddDecision,
    RepresentationGuard,
    RepresentationSettings,
    band,
    beyond,
)
from vlmguard_plugin.guards.core.saved import TENSORS_FILE, FittedFolder
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits, Prompts
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor

SCALES = ("difference", "unit")


@dataclass(frozen=True)
class InferAlignerSettings(RepresentationSettings):
    """Settings of InferAligner. Strength, layers and threshold are not in the sources at hand; the defaults are ours.

    alpha: strength; 0.5, not calibrated.
    vectors_from: folder of an `inferaligner` that was fitted on an aligned model of the same depth and width
        (`vlmguard fit inferaligner --model ALIGNED --out FOLDER`), whose vectors are added; None adds the model's own.
    threshold: a layer's gate fires above it, in units of hidden states; None is halfway between the anchor classes'
        mean projections (ours), a number is that number at every layer.
    scale: length of what is added: the "difference" of the anchors' means as it is, or "unit", alpha alone.
    """

    alpha: float = 0.5
    vectors_from: str | None = None
    threshold: float | None = None
    scale: str = "difference"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vectors_from is not None:
            object.__setattr__(self, "vectors_from", str(self.vectors_from))
            self.check_words("vectors_from", "the folder of an inferaligner fitted on an aligned model, or None")
        if self.threshold is not None:
            self.check_number("threshold")
        self.check_choice("scale", SCALES)

    def contents(self) -> dict[str, str]:
        if self.vectors_from is None:
            return {}
        return {"vectors_from": sha256_of(folder_of(self.vectors_from) / TENSORS_FILE)}


class InferAligner(RepresentationGuard):
    """InferAligner: `h' = h + alpha * g_l * theta_l` after each edited decoder layer l.

    s_l, the safety-related vector: mean state of the harmful anchors minus that of the harmless ones, at the last
    prompt token, text only; zero at a layer where that is but rounding noise.
    theta_l, the safety steering vector: s_l of an aligned model (`vectors_from`), else s_l itself.
    g_l: 1 if h[l][last] . s_l / |s_l| > threshold, else 0, by each edited layer for itself, from the state as it is
    there, edits of earlier layers included (our convention); decided once, in the prefill, per row of the batch, and
    kept for the whole answer. Queries with and without images are treated alike.

    The sources are the README of the authors' repository, which has no code, and notes: the vectors, the gate by the
    target's own vector, all token positions, chosen layers. Not in them: which layers, alpha, the threshold.

    Fitted tensors, for all L layers: direction [L, d] (s), midpoint [L]; with vectors_from aligned_direction [L, d]
    (theta).
    """

    name = "inferaligner"
    Settings = InferAlignerSettings
    settings: InferAlignerSettings
    fit_settings = ("vectors_from", "threshold")
    paper = Preset(
        {"alpha": 1.0},
        ours=("layers", "alpha", "threshold", "vectors_from"),
        note="its vectors come from an aligned model, vectors_from=FOLDER; without one they are the model's own",
    )

    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        return band(num_layers, 0.625, 3)  # as vlm_guard's, whose gate looks at the same thing

    def grid(self, num_layers: int) -> list[dict[str, list[Any]]]:
        return [{"layers": [band(num_layers, 0.5, 3), band(num_layers, 0.625, 3)], "alpha": [0.25, 0.5, 1.0]}]

    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        aligned = self.aligned_direction(subject.num_layers, subject.hidden_size)
        harmful, harmless = record_anchors(subject, anchors, self.name, progress)
        direction = mean_difference(harmful, harmless, noise_of(harmful))
        unit = torch.nn.functional.normalize(direction, dim=-1)
        projections = [torch.einsum("nld,ld->nl", states, unit) for states in (harmful, harmless)]
        midpoint = (projections[0].mean(dim=0) + projections[1].mean(dim=0)) / 2
        thresholds = self.thresholds(midpoint)
        facts = {
            "direction_norm": direction.norm(dim=-1).tolist(),
            "threshold": thresholds.tolist(),
            "gate_rate_harmful_anchors": (projections[0] > thresholds).float().mean(dim=0).tolist(),
            "gate_rate_harmless_anchors": (projections[1] > thresholds).float().mean(dim=0).tolist(),
        }
        return {"direction": direction, "midpoint": midpoint, **aligned}, facts

    def aligned_direction(self, num_layers: int, hidden_size: int) -> dict[str, Tensor]:
        """The vectors of `vectors_from`, [L, d], by their name here; none without it. ValueError for others'."""
        if self.settings.vectors_from is None:
            return {}
        folder = folder_of(self.settings.vectors_from)
        fitted = FittedFolder.load(folder)
        direction = fitted.tensors.get("direction")
        if fitted.guard != self.name or direction is None:
            raise ValueError(
                f"vectors_from is {folder}, which holds a fit of {fitted.guard!r}; give one of {self.name!r}"
            )
        if tuple(direction.shape) != (num_layers, hidden_size):
            raise ValueError(
                f"vectors_from is {folder}, fitted on a model of {direction.shape[0]} decoder layers and width "
                f"{direction.shape[1]}, but this one has {num_layers} and {hidden_size}; fit {self.name} on an aligned "
                "model of this one's architecture"
            )
        return {"aligned_direction": direction}

    def tensor_shapes(self, num_layers: int, hidden_size: int, pairs: int) -> dict[str, tuple[int, ...]]:
        shapes = {"direction": (num_layers, hidden_size), "midpoint": (num_layers,)}
        return shapes if self.settings.vectors_from is None else {**shapes, "aligned_direction": shapes["direction"]}

    def gate_margins(self, states: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        unit = torch.nn.functional.normalize(self.tensors["direction"], dim=-1)
        thresholds = self.thresholds(self.tensors["midpoint"])
        return self.margins_by_layer(states, lambda layer, _, own: beyond(own, unit[layer], thresholds[layer]))

    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> Edits:
        direction, thresholds = self.tensors["direction"], self.thresholds(self.tensors["midpoint"])
        added = direction if self.settings.vectors_from is None else self.tensors["aligned_direction"]
        if self.settings.scale == "unit":
            added = torch.nn.functional.normalize(added, dim=-1)
        unit = torch.nn.functional.normalize(direction, dim=-1)
        return Edits(
            {
                layer: AddAbove(self.settings.alpha * added[layer], unit[layer], float(thresholds[layer]))
                for layer in self.layers(subject.num_layers)
            },
            self.settings.positions,
        )

    def thresholds(self, midpoint: Tensor) -> Tensor:
        """The threshold of each layer's gate, [L]."""
        own = self.settings.threshold
        return midpoint if own is None else torch.full_like(midpoint, own)


def folder_of(named: str) -> Path:
    """The folder that the setting vectors_from names; ValueError where it holds no fitted guard."""
    folder = expanded(named)
    if not (folder / TENSORS_FILE).is_file():
        raise ValueError(
            f"vectors_from is {named!r}, which holds no {TENSORS_FILE}; give the folder of an inferaligner fitted on "
            "an aligned model"
        )
    return folder


@dataclass(frozen=True)
class AddAbove(AddDecision):
    """The edit of one layer: adds alpha * theta, [d], to rows whose last prompt token lies far enough along a vector.

    unit: s / |s|, [d]. threshold: the projection on it that has to be exceeded. See InferAligner.
    """

    added: Tensor
    unit: Tensor
    threshold: float

    def decide(self, last: Tensor, prompts: Prompts) -> Tensor:
        """What is added at each edited position of a row: [rows, d]."""
        return self.added * (beyond(last, self.unit, self.threshold) > 0).unsqueeze(1)
