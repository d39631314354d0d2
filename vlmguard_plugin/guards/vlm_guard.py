"""VLM-Guard (arXiv 2502.10486): steer the multimodal pass along a direction that text alone gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.directions import check_rank, leading_directions, noise_of
from vlmguard_plugin.guards.core.preset import Preset
from vlmguard_plugin.guards.core.recording import record_anchors, text_of_pictured
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

GATES = ("zero", "midpoint")
QUERIES = ("prompt", "text")


@dataclass(frozen=True)
class VLMGuardSettings(RepresentationSettings):
    """Settings of VLM-Guard; the paper's layers, rank and alpha are not known, so none of these is called its own.

    alpha: strength; 0.5 on each of the three default layers, found by calibration on the demo model.
    rank: number m of right singular vectors that span the steering direction, at least 1.
    gate: "zero" (the paper's threshold 0 on q's projection on V_1) or "midpoint" (halfway between the two anchor
        classes' mean projections, since raw hidden states are not centred at 0; our convention).
    query: whose state h_q is, which the sources leave open. "prompt": the last prompt token of the same pass. "text":
        the last token of the same request without its images (the language model as supervision, as the abstract has
        it), in a pass of its own: one more prefill a query, and a gate and a strength that no picture changes.
    project: remove the component along the steering direction before the gated one is added (two notes on the method
        section have it as a step of its own); with alpha = 0 this is the pure projection of the paper's abstract.
    """

    alpha: float = 0.5
    rank: int = 1
    gate: str = "zero"
    project: bool = False
    query: str = "prompt"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_whole("rank", 1)
        self.check_choice("gate", GATES)
        self.check_choice("query", QUERIES)
        self.check_flag("project")


class VLMGuard(RepresentationGuard):
    """VLM-Guard: `h' = h + alpha * g * h_q V^T V` after each edited decoder layer (the method section's alignment).

    V (m x d): first m right singular vectors of the anchors' differences harmful - harmless at the last prompt
    token, text only, each flipped so that its mean projection of the differences is >= 0 (our convention).
    h_q: the last prompt token's hidden state after the same layer in the same pass, edits of earlier layers
    included; with query="text" the unguarded model's state for the request as text alone (a request without an image
    is its own, so its h_q is that of the pass). g: 1 if h_q . V_1 > tau, else 0; decided once, in the prefill, per row
    of the batch, and kept for the whole answer. With project, h loses its component along V first:
    `h' = h - h V^T V + alpha * g * h_q V^T V`. Every query is treated alike, with an image or without.

    Fitted tensors, for all L layers: directions [L, m, d] (zero beyond the numerical rank), singular_values
    [L, min(N, d)], harmful_mean and harmless_mean [L, d], midpoint [L].
    """

    name = "vlm_guard"
    Settings = VLMGuardSettings
    settings: VLMGuardSettings
    fit_settings = ("rank", "gate")
    paper = Preset(
        {"alpha": 1.0, "project": True, "query": "text"},
        ours=("layers", "alpha", "positions", "rank", "query"),
        note="the sources give neither m, alpha and the layers nor whose state q is; theirs are 100 pairs of requests",
    )

    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        return band(num_layers, 0.625, 3)  # where the zero gate parts the anchors on the demo model: our convention

    def grid(self, num_layers: int) -> list[dict[str, list[Any]]]:
        return [
            {"gate": ["zero"], "layers": [band(num_layers, 0.625, 3)], "alpha": [0.25, 0.5, 1.0]},
            {"gate": ["zero"], "layers": [band(num_layers, 0.625), band(num_layers, 0.67)], "alpha": [1.0, 2.0, 3.0]},
            {"gate": ["midpoint"], "layers": [band(num_layers, 0.625, 3)], "alpha": [0.5, 1.0]},
        ]

    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        rank = self.settings.rank
        check_rank(rank, len(anchors.pairs), subject.hidden_size)
        harmful, harmless = record_anchors(subject, anchors, self.name, progress)
        differences = (harmful - harmless).transpose(0, 1).double()  # [L, N, d]
        noise = noise_of(harmful) + noise_of(harmless)
        directions, singular_values, numerical_rank = leading_directions(differences, rank, noise)
        sign = torch.einsum("lnd,lmd->lm", differences, directions).sign()
        sign[sign == 0] = 1
        directions = (directions * sign.unsqueeze(-1)).float()
        means = harmful.mean(dim=0), harmless.mean(dim=0)
        projections = [torch.einsum("nld,ld->nl", states, directions[:, 0]) for states in (harmful, harmless)]
        midpoint = (projections[0].mean(dim=0) + projections[1].mean(dim=0)) / 2
        tensors = {
            "directions": directions,
            "singular_values": singular_values,
            "harmful_mean": means[0],
            "harmless_mean": means[1],
            "midpoint": midpoint,
        }
        threshold = self._thresholds(midpoint)
        facts = {
            "singular_values": singular_values[:, : max(rank, 10)].tolist(),
            "rank": numerical_rank.tolist(),
            "threshold": threshold.tolist(),
            "gate_rate_harmful_anchors": (projections[0] > threshold).float().mean(dim=0).tolist(),
            "gate_rate_harmless_anchors": (projections[1] > threshold).float().mean(dim=0).tolist(),
            "separation": ((projections[0] - projections[1]) > 0).float().mean(dim=0).tolist(),
        }
        return tensors, facts

    def tensor_shapes(self, num_layers: int, hidden_size: int, pairs: int) -> dict[str, tuple[int, ...]]:
        mean = (num_layers, hidden_size)
        return {
            "directions": (num_layers, self.settings.rank, hidden_size),
            "singular_values": (num_layers, min(pairs, hidden_size)),
            "harmful_mean": mean,
            "harmless_mean": mean,
            "midpoint": (num_layers,),
        }

    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> Edits:
        settings, thresholds = self.settings, self._thresholds(self.tensors["midpoint"])
        as_text = None
        if settings.query == "text":
            as_text = text_of_pictured(subject, queries, "VLM-Guard with query='text' takes the text-only state")
        return Edits(
            {
                layer: AlignToText(
                    self.tensors["directions"][layer],
                    float(thresholds[layer]),
                    settings.alpha,
                    settings.project,
                    None if as_text is None else as_text[:, layer],
                )
                for layer in self.layers(subject.num_layers)
            },
            settings.positions,
        )

    def gate_margins(self, states: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        first, thresholds = self.tensors["directions"][:, 0], self._thresholds(self.tensors["midpoint"])
        asked = {name: states["text"] if self.settings.query == "text" else own for name, own in states.items()}
        return self.margins_by_layer(asked, lambda layer, _, own: beyond(own, first[layer], thresholds[layer]))

    @property
    def acts_where_fired(self) -> bool:
        return not self.settings.project  # which is done to every request

    def _thresholds(self, midpoint: Tensor) -> Tensor:
        """tau per layer: [L]."""
        return midpoint if self.settings.gate == "midpoint" else torch.zeros_like(midpoint)


@dataclass(frozen=True)
class AlignToText(AddDecision):
    """The edit of one layer. directions: V [m, d], orthonormal rows. threshold: tau. See VLMGuard.

    as_text: h_q of each query, [queries, d], zero for those whose h_q is that of the pass; None if all are.
    """

    directions: Tensor
    threshold: float
    alpha: float
    project: bool
    as_text: Tensor | None = None

    def decide(self, last: Tensor, prompts: Prompts) -> Tensor:
        """What is added at each edited position of a row: [rows, d]."""
        if self.as_text is not None:
            as_text = prompts.repeat(self.as_text)
            last = torch.where(as_text.any(dim=1, keepdim=True), as_text, last)
        fires = (beyond(last, self.directions[0], self.threshold) > 0).float()
        return self.alpha * fires.unsqueeze(1) * (last @ self.directions.T @ self.directions)

    def apply(self, hidden: Tensor, decision: Tensor) -> Tensor:
        """Hidden states [rows, tokens, d], projected if that is set, with their rows' decisions [rows, 1, d] added."""
        if self.project:
            hidden = hidden - hidden @ self.directions.T @ self.directions
        return super().apply(hidden, decision)
