"""A guard in a package of its own: it takes the mean harmless state away from the last prompt token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Sequence

from vlmguard_plugin import AddVectors, Edits, RepresentationGuard, RepresentationSettings, band, record_anchors

if TYPE_CHECKING:
    from torch import Tensor

    from vlmguard_plugin import Query, Subject
    from vlmguard_plugin.anchors import Anchors


@dataclass(frozen=True)
class OutsideSettings(RepresentationSettings):
    """alpha: how often the mean is added; below zero it is taken away."""

    alpha: float = -3.0
    positions: str = "last"


class Outside(RepresentationGuard):
    """Outside: `h' = h + alpha * mean(harmless)`, at the last prompt token by default.

    Fitted tensors, for all L layers: mean [L, d], of the harmless anchors' states at the last prompt token.
    """

    name = "outside"
    Settings = OutsideSettings
    settings: OutsideSettings
    fit_settings = ()

    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        return band(num_layers, 0.5)

    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        _, harmless = record_anchors(subject, anchors, self.name, progress)
        return {"mean": harmless.mean(dim=0)}, {}

    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> Edits:
        added = self.settings.alpha * self.tensors["mean"]
        return Edits(
            {layer: AddVectors(added[layer].unsqueeze(0)) for layer in self.layers(subject.num_layers)},
            self.settings.positions,
        )
