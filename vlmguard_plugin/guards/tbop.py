"""TBOP-style projection (arXiv 2603.14825): take away the directions along which an image shifts states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.directions import check_rank, leading_directions, noise_of
from vlmguard_plugin.guards.core.preset import Preset
from vlmguard_plugin.guards.core.recording import record_anchor_shifts
from vlmguard_plugin.guards.core.representation import ImageSettings, RepresentationGuard, band
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits, Prompts
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TBOPSettings(ImageSettings):
    """Settings of the TBOP-style projection.

    alpha: share of the component that is taken away; 1 is the projection as published.
    rank: number k of shift directions, at least 1.
    image: the meaningless image img' (see ImageSettings).
    text_too: project text-only queries as well (the formula has no exception); False leaves them alone, since the
        abstract speaks of cross-modal features.
    """

    rank: int = 1
    text_too: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_whole("rank", 1)
        self.check_flag("text_too")


class TBOP(RepresentationGuard):
    """TBOP-style projection: `h' = h - alpha * h W^T W` after each edited decoder layer; one pass.

    W (k x d): first k right singular vectors of the anchors' shifts h(q, img') - h(q) at the last prompt token, over
    harmful and harmless anchors (our convention for the anchor set). Each position loses its own component.

    Fitted tensors, for all L layers: directions [L, k, d] (zero beyond the numerical rank), singular_values
    [L, min(2N, d)].
    """

    name = "tbop"
    Settings = TBOPSettings
    settings: TBOPSettings
    fit_settings = ("rank", "image")
    paper = Preset(
        {"text_too": False},
        ours=("layers", "positions", "rank"),
        note="one late layer, at 0.875 of the depth, since the sources say no more than late",
    )

    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        return late(num_layers)

    def paper_layers(self, num_layers: int) -> tuple[int, ...]:
        return band(num_layers, 0.875)

    def grid(self, num_layers: int) -> list[dict[str, list[Any]]]:
        return [
            {"layers": [band(num_layers, 0.625), late(num_layers)], "rank": [1, 4], "alpha": [1.0]},
        ]

    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        rank = self.settings.rank
        check_rank(rank, 2 * len(anchors.pairs), subject.hidden_size)
        shifts, text = record_anchor_shifts(subject, anchors, self.settings.image, self.name, progress)
        directions, singular_values, numerical_rank = leading_directions(
            shifts.transpose(0, 1).double(), rank, 2 * noise_of(text)
        )
        shares = singular_values**2 / (singular_values**2).sum(dim=1, keepdim=True)
        facts = {
            "singular_values": singular_values[:, : max(rank, 10)].tolist(),
            "rank": numerical_rank.tolist(),
            "share_taken_away": shares[:, :rank].sum(dim=1).tolist(),
        }
        return {"directions": directions, "singular_values": singular_values}, facts

    def tensor_shapes(self, num_layers: int, hidden_size: int, pairs: int) -> dict[str, tuple[int, ...]]:
        return {
            "directions": (num_layers, self.settings.rank, hidden_size),
            "singular_values": (num_layers, min(2 * pairs, hidden_size)),
        }

    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> Edits:
        settings = self.settings
        return Edits(
            {
                layer: ProjectOut(self.tensors["directions"][layer], settings.alpha, settings.text_too)
                for layer in self.layers(subject.num_layers)
            },
            settings.positions,
        )


def late(num_layers: int) -> tuple[int, ...]:
    """The last quarter of the decoder layers."""
    return tuple(range(3 * num_layers // 4, num_layers))


@dataclass(frozen=True)
class ProjectOut:
    """The edit of one layer. directions: W [k, d], orthonormal rows. See TBOP."""

    directions: Tensor
    alpha: float
    text_too: bool

    def decide(self, last: Tensor, prompts: Prompts) -> Tensor:
        """Share of its component that each row loses: [rows, 1]."""
        every = torch.ones(prompts.rows, dtype=torch.bool, device=last.device)
        rows = every if self.text_too else prompts.has_image
        return self.alpha * rows.float().unsqueeze(1)

    def apply(self, hidden: Tensor, decision: Tensor) -> Tensor:
        """Hidden states [rows, tokens, d] less their rows' shares [rows, 1, 1] of their components."""
        return hidden - decision * (hidden @ self.directions.T @ self.directions)
