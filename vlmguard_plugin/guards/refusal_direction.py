"""Refusal direction (arXiv 2406.11717), the plain baseline: always, or under a condition as in CAST (2409.05907)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.directions import mean_difference, noise_of
from vlmguard_plugin.guards.core.preset import Preset
from vlmguard_plugin.guards.core.recording import record_anchors
from vlmguard_plugin.guards.core.representation import (
    AddDecision,
    AddVectors,
    RepresentationGuard,
    RepresentationSettings,
    band,
)
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits, Prompts
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RefusalDirectionSettings(RepresentationSettings):
    """Settings of the refusal direction. The sources edit one layer; several compound.

    alpha: strength; 0.25 by calibration on the demo model (1 adds the whole difference of the anchors' means).
    condition: steer only queries whose state points along the direction (CAST-like); False steers every query.
    condition_layer: the layer l_c that is looked at; None is the first edited one. It can't lie behind that one.
    theta: the query is steered where cos(h[l_c], r[l_c]) > theta, in -1..1; None is halfway between the anchor
        classes' mean cosines (our convention).
    """

    alpha: float = 0.25
    condition: bool = False
    condition_layer: int | None = None
    theta: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_flag("condition")
        if self.condition_layer is not None:
            self.check_whole("condition_layer", 0, ", or None for the first edited layer")
        if self.theta is not None:
            self.check_number("theta", -1, 1)


class RefusalDirection(RepresentationGuard):
    """Refusal direction: `h' = h + alpha * r` after each edited decoder layer.

    r: mean state of the harmful anchors minus that of the harmless ones, at the last prompt token, text only; zero at
    a layer where that is but rounding noise.
    With `condition`, only for queries with cos(h[l_c], r[l_c]) > theta at their last prompt token; decided once, in
    the prefill, per row of the batch, and kept for the whole answer. Queries with and without images are treated alike.

    Fitted tensors, for all L layers: direction [L, d], theta [L] (halfway between the anchor classes' mean cosines).
    """

    name = "refusal_direction"
    Settings = RefusalDirectionSettings
    settings: RefusalDirectionSettings
    fit_settings = ()
    paper = Preset(
        {"alpha": 1.0},
        ours=("layers", "condition_layer", "theta"),
        note="the whole difference of means at all positions of one layer, without a condition (2406.11717)",
    )

    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        return band(num_layers, 0.5)

    def layers(self, num_layers: int) -> tuple[int, ...]:
        layers = super().layers(num_layers)
        looked_at = self.settings.condition_layer
        if looked_at is not None and looked_at > layers[0]:
            raise ValueError(
                f"condition_layer is {looked_at}, after the first edited layer {layers[0]}; give an earlier one"
            )
        return layers

    def grid(self, num_layers: int) -> list[dict[str, list[Any]]]:
        return [
            {"layers": [band(num_layers, 0.5), band(num_layers, 0.625)], "alpha": [0.25, 0.5, 1.0]},
            {"layers": [band(num_layers, 0.625)], "condition": [True], "alpha": [0.5, 1.0, 2.0]},
        ]

    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        harmful, harmless = record_anchors(subject, anchors, self.name, progress)
        direction = mean_difference(harmful, harmless, noise_of(harmful))
        cosines = [torch.cosine_similarity(states, direction.unsqueeze(0), dim=-1) for states in (harmful, harmless)]
        theta = (cosines[0].mean(dim=0) + cosines[1].mean(dim=0)) / 2
        facts = {
            "direction_norm": direction.norm(dim=-1).tolist(),
            "theta": theta.tolist(),
            "gate_rate_harmful_anchors": (cosines[0] > theta).float().mean(dim=0).tolist(),
            "gate_rate_harmless_anchors": (cosines[1] > theta).float().mean(dim=0).tolist(),
        }
        return {"direction": direction, "theta": theta}, facts

    def tensor_shapes(self, num_layers: int, hidden_size: int, pairs: int) -> dict[str, tuple[int, ...]]:
        return {"direction": (num_layers, hidden_size), "theta": (num_layers,)}

    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> Edits:
        layers = self.layers(subject.num_layers)
        added = self.settings.alpha * self.tensors["direction"]
        if not self.settings.condition:
            return Edits({layer: AddVectors(added[layer].unsqueeze(0)) for layer in layers}, self.settings.positions)
        gate = self._gate(layers[0])
        return Edits(
            {layer: AddWhere(added[layer], gate) for layer in layers}, self.settings.positions, watched=(gate.layer,)
        )

    def gate_margins(self, states: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        if not self.settings.condition:
            return {}
        gate = self._gate(self.facts["edited_layers"][0])
        return {f"layer {gate.layer}": {name: gate.margins(own[:, gate.layer]) for name, own in states.items()}}

    def _gate(self, first_layer: int) -> CosineGate:
        layer = first_layer if self.settings.condition_layer is None else self.settings.condition_layer
        theta = self.settings.theta if self.settings.theta is not None else float(self.tensors["theta"][layer])
        return CosineGate(layer, self.tensors["direction"][layer], theta)


@dataclass(frozen=True)
class CosineGate:
    """Whether a query is steered: the cosine of its state at a layer with a direction [d] exceeds theta."""

    layer: int
    direction: Tensor
    theta: float

    def fires(self, states: Tensor) -> Tensor:
        """From states [rows, d] of its layer: bool [rows]."""
        return self.margins(states) > 0

    def margins(self, states: Tensor) -> Tensor:
        """How far the cosines of states [rows, d] lie above theta: [rows]."""
        cosines: Tensor = torch.cosine_similarity(states, self.direction.to(states.device).unsqueeze(0), dim=-1)
        return cosines - self.theta


@dataclass(frozen=True)
class AddWhere(AddDecision):
    """The conditional edit of one layer. added: alpha * r, [d]. See RefusalDirection."""

    added: Tensor
    gate: CosineGate

    def decide(self, last: Tensor, prompts: Prompts) -> Tensor:
        """What is added at each edited position of a row: [rows, d]."""
        return self.added * self.gate.fires(prompts.states[self.gate.layer]).unsqueeze(1)
