"""CMRM (arXiv 2410.09047): subtract the shift of hidden states that an image causes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.representation import (
    AddVectors,
    ImageSettings,
    RepresentationGuard,
    band,
    record_anchor_shifts,
    record_shifts,
)
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor

LEVELS = ("dataset", "sample")
ESTIMATORS = ("mean", "pca")


@dataclass(frozen=True)
class CMRMSettings(ImageSettings):
    """Settings of CMRM.

    level: "dataset" (one shift for all queries, from anchors) or "sample" (the shift of the query at hand, at
        the price of two more prefills per query).
    alpha: strength, 1 at dataset level as in the paper; 0.5 at sample level, where 1 makes answers degenerate.
    estimator: "mean" of the anchors' shifts, or "pca": their first principal component (of the centred
        differences, as PCA is defined; our reading), scaled to their mean projection on it. Dataset level only.
    image: the meaningless image img' (see ImageSettings).
    """

    alpha: float = None  # type: ignore[assignment]  # until the level is known
    level: str = "dataset"
    estimator: str = "mean"

    def __post_init__(self) -> None:
        self.check_choice("level", LEVELS)
        if self.alpha is None:
            object.__setattr__(self, "alpha", 1.0 if self.level == "dataset" else 0.5)
        super().__post_init__()
        self.check_choice("estimator", ESTIMATORS)


class CMRM(RepresentationGuard):
    """CMRM: `h* = h - alpha * D` after each edited decoder layer, for queries with an image.

    D: h(q, img') - h(q) at the last prompt token, img' a meaningless image of the query's image size; at dataset
    level averaged over the harmful and the harmless anchors (our convention for the anchor set), at sample level
    for the query at hand. The sign pulls back towards text: the paper's equations disagree about it, its model
    h(q, img) = h_ideal + alpha * (h(q, img') - h(q)) settles it. Rows of a batch without an image are left alone.

    Fitted tensors at dataset level, for all L layers: shift [L, d], shift_norms [2N, L] (Euclidean length of each
    anchor's shift). Sample level has nothing to fit and no tensors: anchors are not even looked at.
    """

    name = "cmrm"
    Settings = CMRMSettings
    settings: CMRMSettings
    fit_settings = ("level", "estimator", "image")

    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        return band(num_layers, 0.5)

    def grid(self, num_layers: int) -> list[dict[str, list[Any]]]:
        return [
            {"layers": [band(num_layers, 0.5), band(num_layers, 0.67)], "alpha": [0.4, 0.6, 1.0]},
            {"layers": [band(num_layers, 0.67)], "alpha": [1.0], "positions": ["last"]},
        ]

    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if self.settings.level == "sample":
            return {}, {}
        differences, text = record_anchor_shifts(subject, anchors, self.settings.image, self.name, progress)
        norms = differences.norm(dim=-1)
        mean = differences.mean(dim=0)
        shift = mean if self.settings.estimator == "mean" else principal_shift(differences)
        facts = {
            "shift_norm": shift.norm(dim=-1).tolist(),
            "shift_over_state": (norms / text.norm(dim=-1)).mean(dim=0).tolist(),
            "shift_alignment": torch.cosine_similarity(differences, mean.unsqueeze(0), dim=-1).mean(dim=0).tolist(),
        }
        return {"shift": shift, "shift_norms": norms}, facts

    def tensor_shapes(self, num_layers: int, hidden_size: int, pairs: int) -> dict[str, tuple[int, ...]]:
        if self.settings.level == "sample":
            return {}
        return {"shift": (num_layers, hidden_size), "shift_norms": (2 * pairs, num_layers)}

    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> Edits:
        layers = self.layers(subject.num_layers)
        if self.settings.level == "dataset":
            shifts = self.tensors["shift"].unsqueeze(0)
        elif queries is None:
            raise ValueError(
                "CMRM at sample level measures the shift of the query at hand; use guard.respond, or "
                "guard.on(subject, queries)"
            )
        else:
            shifts = torch.zeros(len(queries), subject.num_layers, subject.hidden_size)
            pictured = [index for index, query in enumerate(queries) if query.all_images]
            if pictured:
                shifts[pictured], _ = record_shifts(
                    subject, [queries[index] for index in pictured], self.settings.image, None
                )
        return Edits(
            {
                layer: AddVectors(
                    -self.settings.alpha * shifts[:, layer],
                    pictured_only=True,
                    per_query=self.settings.level == "sample",
                )
                for layer in layers
            },
            self.settings.positions,
        )


def principal_shift(differences: Tensor) -> Tensor:
    """First principal component of differences [N, L, d] per layer, scaled to their mean projection on it: [L, d]."""
    layered = differences.transpose(0, 1).double()
    _, _, rows = torch.linalg.svd(layered - layered.mean(dim=1, keepdim=True), full_matrices=False)
    component: Tensor = rows[:, 0]
    along: Tensor = torch.einsum("lnd,ld->ln", layered, component).mean(dim=1, keepdim=True)
    return (along * component).float()
