"""Conditional refusal, our own guard: refuse where the request reads as harmful, beside a picture or not; else nothing.

The difference of means is the refusal direction's (2406.11717), the condition CAST's (2409.05907), a discriminant with
a shrunken covariance is textbook. Ours: pictures on both sides of every pair, several layers at once, a threshold from
states that the gate was not fitted on, and a dose that ends where harmful requests as text lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.conditions import OBJECT, ConditionSettings, record_conditions
from vlmguard_plugin.guards.core.directions import mean_difference, noise_of
from vlmguard_plugin.guards.core.discriminant import Gate, check_pairs, fit_gate
from vlmguard_plugin.guards.core.representation import AddDecision, RepresentationGuard, band, checked_layers
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits, Prompts
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor

FARTHEST = 0.95  # share of the harmful anchors as text that lie nearer along r than a dose may lead


@dataclass(frozen=True)
class ConditionalRefusalSettings(ConditionSettings):
    """Settings of conditional refusal.

    alpha: dose, in differences of the anchors' means.
    read_layers: decoder layers that the gate reads, up to the first edited one; None is from 0.5 to 0.625 of the depth.
    shrinkage: of the within-class covariance towards a multiple of the identity, above 0, at most 1.
    over_refusal: share of harmless anchors that may fire under every condition, 0 to 0.5.
    bounded: whether the dose ends where the harmful anchors as text lie.
    conditions: "text" among them, "object" not.
    """

    alpha: float = 1.5
    read_layers: tuple[int, ...] | None = None
    shrinkage: float = 0.5
    over_refusal: float = 0.01
    bounded: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.read_layers is not None:
            object.__setattr__(self, "read_layers", checked_layers("read_layers", self.read_layers))
        self.check_number("shrinkage", 1e-6, 1)
        self.check_number("over_refusal", 0, 0.5)
        self.check_flag("bounded")
        if "text" not in self.conditions or OBJECT in self.conditions:
            given = ",".join(self.conditions)
            raise ValueError(f"conditions is {given!r}; give text among them, and no {OBJECT}, which has its own pairs")


class ConditionalRefusal(RepresentationGuard):
    """Conditional refusal: `h' = h + a * u` after each edited decoder layer, in rows whose gate fires; else `h' = h`.

    The gate reads the last prompt token's states h_l after the read layers: it fires where the mean over l of
    `w_l . h_l - b_l` exceeds tau. w_l is a linear discriminant of the anchors under all conditions together, its
    within-class covariance shrunk by `shrinkage`; scaled so that the pooled within-class deviation is 1, and 0 lies
    half-way between the classes' means. tau is the lowest threshold from 0 on at which, under every condition, at most
    `over_refusal` of the harmless anchors fire, each scored by a gate fitted without its pair (five folds).
    u: unit vector of r, the mean state of the harmful anchors less that of the harmless ones, as text. a = alpha * |r|,
    but if `bounded` no farther along u than FARTHEST of the harmful anchors as text lie, counted from the row's own
    last prompt token.

    Fitted tensors, for R read layers, C conditions, N pairs: weights [R, d], offsets [R], direction [L, d] (r),
    farthest [L] (along u), scores [C, 2N] (out of fold, the harmful anchors' first).
    """

    name = "conditional_refusal"
    Settings = ConditionalRefusalSettings
    settings: ConditionalRefusalSettings
    fit_settings = ("read_layers", "shrinkage", "conditions", "picture_seed")

    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        return band(num_layers, 0.625)

    def read_layers(self, num_layers: int) -> tuple[int, ...]:
        """Decoder layers that the gate reads, checked against those that are edited."""
        first, own = self.layers(num_layers)[0], self.default_layers(num_layers)[0]
        layers = self.settings.read_layers or tuple(range(min(num_layers // 2, own), own + 1))
        if layers[-1] > first:
            raise ValueError(
                f"the gate reads layers {list(layers)}, and they lie after the first edited layer {first}; give "
                f"read_layers up to {first}, or edit later"
            )
        return layers

    def grid(self, num_layers: int) -> list[dict[str, list[Any]]]:
        return [{"alpha": [1.0, 1.5, 2.0], "over_refusal": [0.01, 0.02, 0.05]}]

    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        check_pairs(anchors)
        reads, seed = list(self.read_layers(subject.num_layers)), self.settings.picture_seed
        conditions, read = self.settings.conditions, []
        for condition, states in record_conditions(subject, anchors, conditions, seed, self.name, progress):
            read.append(states[:, reads])
            if condition == "text":
                harmful, harmless = states.chunk(2)
        direction = mean_difference(harmful, harmless, noise_of(harmful))
        unit = torch.nn.functional.normalize(direction, dim=-1)
        farthest = torch.einsum("nld,ld->nl", harmful, unit).quantile(FARTHEST, dim=0)
        gate = fit_gate(torch.stack(read), self.settings.shrinkage)
        return {**gate, "direction": direction, "farthest": farthest}, {
            "direction_norm": direction.norm(dim=-1).tolist()
        }

    def facts_of_settings(self) -> dict[str, Any]:
        return {**super().facts_of_settings(), "gate": self.gate().rates(self.settings.conditions)}

    def gate(self) -> Gate:
        """The fitted gate."""
        return Gate.of(self.tensors, self.read_layers(len(self.tensors["direction"])), self.settings.over_refusal)

    def tensor_shapes(self, num_layers: int, hidden_size: int, pairs: int) -> dict[str, tuple[int, ...]]:
        reads, scores = len(self.read_layers(num_layers)), (len(self.settings.conditions), 2 * pairs)
        gate = {"weights": (reads, hidden_size), "offsets": (reads,), "scores": scores}
        return {**gate, "direction": (num_layers, hidden_size), "farthest": (num_layers,)}

    def gate_margins(self, states: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        return self.gate().margins(states)

    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> Edits:
        gate, alpha, directions = self.gate(), self.settings.alpha, self.tensors["direction"]
        farthest = self.tensors["farthest"] + (0 if self.settings.bounded else torch.inf)
        doses = {n: BoundedDose(directions[n], farthest[n], alpha, gate) for n in self.layers(subject.num_layers)}
        return Edits(doses, self.settings.positions, watched=gate.reads)


@dataclass(frozen=True)
class BoundedDose(AddDecision):
    """The edit of one layer. direction: r [d]. farthest: along its unit vector, or inf. See ConditionalRefusal."""

    direction: Tensor
    farthest: Tensor
    alpha: float
    gate: Gate

    def decide(self, last: Tensor, prompts: Prompts) -> Tensor:
        """What is added at each edited position of a row: [rows, d]; zero in rows where the gate does not fire."""
        unit = torch.nn.functional.normalize(self.direction, dim=0)
        dose: Tensor = torch.minimum(self.alpha * self.direction.norm(), (self.farthest - last @ unit).clamp_min(0))
        return (dose * self.gate.fires(prompts.states)).unsqueeze(1) * unit
