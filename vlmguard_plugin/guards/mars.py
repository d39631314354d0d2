"""MARS (arXiv 2606.31876): a text's refusal direction, re-centred for images, in a dose that each query sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.conditions import COLOUR, anchor_queries
from vlmguard_plugin.guards.core.directions import mean_difference, noise_of
from vlmguard_plugin.guards.core.preset import Preset
from vlmguard_plugin.guards.core.recording import anchors_called, check_finite, record_anchors
from vlmguard_plugin.guards.core.representation import (
    AddDecision,
    RepresentationGuard,
    RepresentationSettings,
    band,
    beyond,
)
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits, Prompts
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MARSSettings(RepresentationSettings):
    """Settings of MARS. Its sources here give no number; all of these are ours, and none is calibrated.

    alpha: step per unit of what lies past the threshold.
    positions: the last prompt token, whose logits choose the first answer token (the sources' "first token").
    threshold: how far along the way from the harmless anchors' mean (0) to the harmful ones' (1) the gate opens; any
        number, 0.5 is where both are equally far.
    trust: longest step, in distances between the two means; at least 0.
    picture_seed: of the colours of the neutral images, a whole number from 0.
    """

    positions: str = "last"
    threshold: float = 0.5
    trust: float = 1.0
    picture_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_number("threshold")
        self.check_number("trust", 0)
        self.check_whole("picture_seed", 0)


class MARS(RepresentationGuard):
    """MARS: `h' = h + dose * r / |r|`, `dose = alpha * ReLU(e)`, after each edited decoder layer.

    The dose is kept between `-trust * |r|` and `trust * |r|` (its sources have a positive alpha).

    r: mean state of the harmful anchors minus that of the harmless ones, at the last prompt token, text only; zero at a
    layer where that is but rounding noise. s: the mean of the harmless ones.
    x, the re-centred state: h[l][last] less the mean shift of the harmless anchors' states by neutral images, each of
    one colour drawn from a seed; of a query without an image, h[l][last] itself.
    e = (x - s) . r / |r| - threshold * |r|: how far x lies past the threshold on the way from the harmless mean to the
    harmful one. With threshold 0.5, e = (|x - s|^2 - |x - (s + r)|^2) / (2 |r|): the gate opens for what lies nearer to
    the harmful mean. The trust region is a step's longest length. Decided once, in the prefill, per row of the batch.

    Known to us by the paper's abstract and two summaries of it, without a formula: the direction comes from text,
    neutral images of random colours re-centre the states, the dose follows from the distances between the state and the
    safe and unsafe means and stays in a trust region, a ReLU gates it, one chosen layer, first token. What of this is
    a formula here, and which requests stand beside the neutral images, is ours. The layer is chosen by calibration.

    Fitted tensors, for all L layers: direction [L, d] (r), harmless_mean [L, d] (s), image_shift [L, d].
    """

    name = "mars"
    Settings = MARSSettings
    settings: MARSSettings
    fit_settings = ("picture_seed",)
    paper = Preset(
        {},
        ours=("layers", "alpha", "threshold", "trust", "picture_seed"),
        note="first token; the forms of gate, dose and re-centring are ours too, the sources have no formula",
    )

    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        return band(num_layers, 0.625)

    def grid(self, num_layers: int) -> list[dict[str, list[Any]]]:
        layers = [band(num_layers, depth) for depth in (0.5, 0.625, 0.75)]
        return [{"layers": layers, "alpha": [1.0, 2.0], "trust": [1.0, 2.0]}]

    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        harmful, harmless = record_anchors(subject, anchors, self.name, progress)
        (neutral,) = anchor_queries(anchors, (COLOUR,), self.settings.picture_seed)
        coloured = check_finite(
            subject.record(
                neutral.queries[len(anchors.pairs) :],
                progress=f"fit {self.name}: harmless anchors, {COLOUR}" if progress else None,
            ),
            anchors_called("harmless", anchors.harmless),
        )
        direction = mean_difference(harmful, harmless, noise_of(harmful))
        shift = mean_difference(coloured, harmless, noise_of(harmless))
        length = direction.norm(dim=-1)
        facts = {
            "direction_norm": length.tolist(),
            "shift_norm": shift.norm(dim=-1).tolist(),
            "shift_along": ((shift * direction).sum(dim=-1) / (length**2).clamp_min(1e-12)).tolist(),
        }
        return {"direction": direction, "harmless_mean": harmless.mean(dim=0), "image_shift": shift}, facts

    def tensor_shapes(self, num_layers: int, hidden_size: int, pairs: int) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("direction", "harmless_mean", "image_shift"), (num_layers, hidden_size))

    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> Edits:
        steps = {layer: self.step(layer) for layer in self.layers(subject.num_layers)}
        return Edits(steps, self.settings.positions)

    def step(self, layer: int) -> StepWithin:
        """The edit of one layer."""
        direction, mean, shift = (self.tensors[name][layer] for name in ("direction", "harmless_mean", "image_shift"))
        return StepWithin(direction, mean, shift, self.settings.alpha, self.settings.threshold, self.settings.trust)

    def gate_margins(self, states: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        steps = {layer: self.step(layer) for layer in self.facts["edited_layers"]}
        return self.margins_by_layer(
            states, lambda layer, name, own: steps[layer].past(own, torch.full((len(own),), name != "text"))
        )


@dataclass(frozen=True)
class StepWithin(AddDecision):
    """The edit of one layer. direction: r, harmless_mean: s, image_shift, [d] each. See MARS."""

    direction: Tensor
    harmless_mean: Tensor
    image_shift: Tensor
    alpha: float
    threshold: float
    trust: float

    def decide(self, last: Tensor, prompts: Prompts) -> Tensor:
        """What is added at each edited position of a row: [rows, d]."""
        longest = self.trust * self.direction.norm()
        dose = (self.alpha * self.past(last, prompts.has_image).clamp_min(0)).clamp(-longest, longest)
        added: Tensor = dose.unsqueeze(1) * torch.nn.functional.normalize(self.direction, dim=0)
        return added

    def past(self, last: Tensor, has_image: Tensor) -> Tensor:
        """e of last prompt tokens [rows, d], with or without an image (bool [rows]): [rows]."""
        unit = torch.nn.functional.normalize(self.direction, dim=0)  # 0 stays 0
        centred = last - has_image.unsqueeze(1) * self.image_shift
        return beyond(centred - self.harmless_mean, unit, self.threshold * self.direction.norm())
