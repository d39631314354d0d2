"""CMRM (arXiv 2410.09047): subtract the shift of hidden states that an image causes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.directions import leading_directions, noise_of
from vlmguard_plugin.guards.core.preset import Preset
from vlmguard_plugin.guards.core.recording import of_pictured, record_anchor_shifts, record_shifts
from vlmguard_plugin.guards.core.representation import AddVectors, ImageSettings, RepresentationGuard, band
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor

LEVELS = ("dataset", "sample")
ESTIMATORS = ("mean", "pca")
SCALES = ("mean", "unit", "spread")


@dataclass(frozen=True)
class CMRMSettings(ImageSettings):
    """Settings of CMRM.

    level: "dataset" (one shift for all queries, from anchors) or "sample" (the shift of the query at hand, at
        the price of two more prefills per query).
    alpha: strength, 1 at dataset level as in the paper; 0.5 at sample level, where 1 makes answers degenerate.
    estimator: "mean" of the anchors' shifts, or "pca": their first principal component, of the shifts as they are
        (centring them would take away what they have in common, which is what is looked for). Dataset level only.
    scale: length of that component, which the sources leave open. "mean": the shifts' mean projection on it (our
        convention); "unit": 1, the formula taken by the letter; "spread": the root mean square of their projections,
        as a public reproduction advises. It points along the mean shift.
    norm_cap: at sample level, the longest shift that is taken back, in multiples of that spread (the reproduction's
        cap; it gives no value); None is no cap, and then no anchor is looked at.
    image: the meaningless image img' (see ImageSettings).
    """

    alpha: float = None  # type: ignore[assignment]  # until the level is known
    level: str = "dataset"
    estimator: str = "mean"
    scale: str = "mean"
    norm_cap: float | None = None

    def __post_init__(self) -> None:
        self.check_choice("level", LEVELS)
        if self.alpha is None:
            object.__setattr__(self, "alpha", 1.0 if self.level == "dataset" else 0.5)
        super().__post_init__()
        self.check_choice("estimator", ESTIMATORS)
        self.check_choice("scale", SCALES)
        if self.norm_cap is not None:
            self.check_number("norm_cap", 0)
            if self.level == "dataset":
                raise ValueError(f"norm_cap is {self.norm_cap!r}, but it is for level='sample'; leave it out")

    @classmethod
    def from_saved(cls, saved: dict[str, Any]) -> dict[str, Any]:
        """ValueError for a principal component of an earlier version, which was another thing."""
        of_anchors = saved.get("level", "dataset") == "dataset"
        if of_anchors and saved.get("estimator") == "pca" and "scale" not in saved:
            raise ValueError(
                "its estimator 'pca' is of a version that centred the shifts, which takes away what they "
                "have in common; fit it again"
            )
        return super().from_saved(saved)


class CMRM(RepresentationGuard):
    """CMRM: `h* = h - alpha * D` after each edited decoder layer, for queries with an image.

    D: h(q, img') - h(q) at the last prompt token, img' a meaningless image of the query's image size; at dataset
    level averaged over the harmful and the harmless anchors (our convention for the anchor set), at sample level
    for the query at hand. The sign pulls back towards text: the paper's equations disagree about it, its model
    h(q, img) = h_ideal + alpha * (h(q, img') - h(q)) settles it. Rows of a batch without an image are left alone.

    Fitted tensors at dataset level, for all L layers: shift [L, d], shift_norms [2N, L] (Euclidean length of each
    anchor's shift). Sample level has no tensors and looks at no anchors, but for spread [L] where there is a norm_cap.
    """

    name = "cmrm"
    Settings = CMRMSettings
    settings: CMRMSettings
    fit_settings = ("level", "estimator", "scale", "norm_cap", "image")
    paper = Preset(
        {"layers": "all", "estimator": "pca", "positions": "every_step"},
        ours=("scale", "norm_cap"),
        note="one source says the mean in place of the first component",
    )

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
        settings = self.settings
        if settings.level == "sample" and settings.norm_cap is None:
            return {}, {}
        differences, text = record_anchor_shifts(subject, anchors, settings.image, self.name, progress)
        if settings.level == "sample":
            _, spread = first_component(differences, text)
            return {"spread": spread}, {"spread": spread.tolist()}
        norms = differences.norm(dim=-1)
        shift = mean = differences.mean(dim=0)
        if settings.estimator == "pca":
            component, spread = first_component(differences, text)
            along = (mean * component).sum(dim=-1)
            length = {"mean": along.abs(), "unit": torch.ones_like(along), "spread": spread}[settings.scale]
            shift = (length * along.sign()).unsqueeze(1) * component
        facts = {
            "shift_norm": shift.norm(dim=-1).tolist(),
            "shift_over_state": (norms / text.norm(dim=-1)).mean(dim=0).tolist(),
            "shift_alignment": torch.cosine_similarity(differences, mean.unsqueeze(0), dim=-1).mean(dim=0).tolist(),
        }
        return {"shift": shift, "shift_norms": norms}, facts

    def tensor_shapes(self, num_layers: int, hidden_size: int, pairs: int) -> dict[str, tuple[int, ...]]:
        if self.settings.level == "sample":
            return {} if self.settings.norm_cap is None else {"spread": (num_layers,)}
        return {"shift": (num_layers, hidden_size), "shift_norms": (2 * pairs, num_layers)}

    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> Edits:
        at_sample_level = self.settings.level == "sample"
        shifts = (
            of_pictured(
                subject,
                queries,
                "CMRM at sample level measures the shift",
                lambda shown: self.capped(record_shifts(subject, shown, self.settings.image, None)[0]),
            )
            if at_sample_level
            else self.tensors["shift"].unsqueeze(0)
        )
        return Edits(
            {
                layer: AddVectors(-self.settings.alpha * shifts[:, layer], True, per_query=at_sample_level)
                for layer in self.layers(subject.num_layers)
            },
            self.settings.positions,
        )

    def capped(self, shifts: Tensor) -> Tensor:
        """Shifts [N, L, d], each no longer than norm_cap allows."""
        if self.settings.norm_cap is None:
            return shifts
        most = self.settings.norm_cap * self.tensors["spread"].unsqueeze(-1)  # [L, 1]
        share: Tensor = (most / shifts.norm(dim=-1, keepdim=True).clamp_min(1e-12)).clamp_max(1)
        return shifts * share


def first_component(differences: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """First principal component of differences [N, L, d] as they are, a unit vector [L, d], and their spread on it [L].

    The spread is the root mean square of their projections. The component is zero where they are but noise. text: the
    text-only states [N, L, d].
    """
    rows = differences.transpose(0, 1).double()
    component, singular_values, _ = leading_directions(rows, 1, 2 * noise_of(text))
    return component[:, 0].float(), (singular_values[:, 0] / len(differences) ** 0.5).float()
