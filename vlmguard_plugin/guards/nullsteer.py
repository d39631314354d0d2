"""NullSteer (arXiv 2603.22094): steer harmful queries to refusal through a map that is zero on benign states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.representation import (
    AddDecision,
    ImageSettings,
    RepresentationGuard,
    band,
    record_anchor_shifts,
)
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits, Prompts
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor

RIDGE = 1e-2  # weight of Delta's size in its least squares, of the mean square of the projected harmful states


@dataclass(frozen=True)
class NullSteerSettings(ImageSettings):
    """Settings of NullSteer; of the paper only the outline is known to us, so all of them are our convention.

    alpha: the paper's lambda; 0.5 by calibration on the demo model.
    rank: benign directions whose complement is the null space; None is all that the benign anchors span, but at
        most half the width.
    image: the meaningless image of the anchors' second showing (see ImageSettings).
    """

    alpha: float = 0.5
    rank: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank is not None:
            self.check_whole("rank", 1, ", or None for all that the benign anchors span")


class NullSteer(RepresentationGuard):
    """NullSteer, built from its definition: `h' = h + alpha * Delta P h_q` after each edited decoder layer.

    P: projector on the null space of the benign activations, those of the harmless anchors as text alone and beside
    a meaningless image, at the last prompt token: P h = 0 for each of them, so they are not changed at all (up to
    `rank`; the fact benign_residual is what is left of their length).
    Delta: the ridge least-squares map that takes the harmful anchors' P h to the refusal direction r (mean harmful
    minus mean harmless state, over both showings). All targets being r, it has rank one: Delta P h = r (u . h) with
    u in the null space.
    h_q: the query's state at the last prompt token, in the prefill, per row; kept for the whole answer. The null
    space is known for this position alone, so other positions take over what is decided there.

    Fitted tensors, for all L layers: refusal_direction [L, d], probe [L, d] (u).
    """

    name = "nullsteer"
    Settings = NullSteerSettings
    settings: NullSteerSettings
    fit_settings = ("rank", "image")

    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        return band(num_layers, 0.625)

    def grid(self, num_layers: int) -> list[dict[str, list[Any]]]:
        return [{"layers": [band(num_layers, 0.5), band(num_layers, 0.625)], "alpha": [0.5, 1.0, 2.0]}]

    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        pairs, width = len(anchors.pairs), subject.hidden_size
        most = min(2 * pairs, width - 1)
        rank = min(most, width // 2) if self.settings.rank is None else self.settings.rank
        if rank > most:
            raise ValueError(
                f"rank is {rank} but {pairs} anchor pairs of width {width} leave a null space up to rank {most}"
            )
        shifts, text = record_anchor_shifts(subject, anchors, self.settings.image, self.name, progress)
        states = torch.stack([text, text + shifts]).double()  # [2 showings, 2N, L, d]
        harmful, harmless = (
            part.flatten(0, 1).transpose(0, 1) for part in (states[:, :pairs], states[:, pairs:])
        )  # [L, 2N, d]
        benign = torch.linalg.svd(harmless, full_matrices=False).Vh[:, :rank]
        refusal = harmful.mean(dim=1) - harmless.mean(dim=1)
        probe = null_space_probe(harmful, benign)
        pushes = [torch.einsum("lnd,ld->nl", part, probe) for part in (harmful, harmless)]
        facts = {
            "direction_norm": refusal.norm(dim=-1).tolist(),
            "benign_residual": (without(harmless, benign).norm(dim=-1) / harmless.norm(dim=-1)).mean(dim=1).tolist(),
            "push_harmful_anchors": pushes[0].mean(dim=0).tolist(),
            "push_harmless_anchors": pushes[1].mean(dim=0).tolist(),
        }
        return {"refusal_direction": refusal, "probe": probe}, facts

    def tensor_shapes(self, num_layers: int, hidden_size: int, pairs: int) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("refusal_direction", "probe"), (num_layers, hidden_size))

    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> Edits:
        refusal, probe = self.tensors["refusal_direction"], self.tensors["probe"]
        return Edits(
            {
                layer: PushToRefusal(self.settings.alpha * refusal[layer], probe[layer])
                for layer in self.layers(subject.num_layers)
            },
            self.settings.positions,
        )


def without(states: Tensor, rows: Tensor) -> Tensor:
    """states [L, N, d] less their components along orthonormal rows [L, k, d]."""
    return states - states @ rows.transpose(1, 2) @ rows


def null_space_probe(harmful: Tensor, benign: Tensor) -> Tensor:
    """u [L, d] in the complement of benign [L, k, d] with u . h near 1 for the harmful states [L, N, d] (ridge)."""
    projected = without(harmful, benign)
    gram = projected @ projected.transpose(1, 2)
    ridge = RIDGE * gram.diagonal(dim1=1, dim2=2).mean(dim=1)
    gram = gram + ridge[:, None, None] * torch.eye(gram.shape[-1], dtype=gram.dtype)
    weights = torch.linalg.solve(gram, torch.ones(gram.shape[:2], dtype=gram.dtype))
    return torch.einsum("lnd,ln->ld", projected, weights)


@dataclass(frozen=True)
class PushToRefusal(AddDecision):
    """The edit of one layer. direction: alpha * r, [d]. probe: u, [d]. See NullSteer."""

    direction: Tensor
    probe: Tensor

    def decide(self, last: Tensor, prompts: Prompts) -> Tensor:
        """What is added at each edited position of a row: [rows, d]."""
        return (last @ self.probe).unsqueeze(1) * self.direction
