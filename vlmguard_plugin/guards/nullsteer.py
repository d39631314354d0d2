"""NullSteer (arXiv 2603.22094): steer harmful queries to refusal through a map that is zero on benign states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.directions import leading_directions, mean_difference, noise_of
from vlmguard_plugin.guards.core.null_space import ridge_probe, suppressed, without
from vlmguard_plugin.guards.core.preset import Preset
from vlmguard_plugin.guards.core.recording import record_anchor_shifts
from vlmguard_plugin.guards.core.representation import ImageSettings, RepresentationGuard, band
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits, Prompts
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor

STATES = ("prompt", "own")
SHOWINGS = ("both", "pictured")


@dataclass(frozen=True)
class NullSteerSettings(ImageSettings):
    """Settings of NullSteer. Secondary notes are all that is known to us of the paper; the defaults are ours.

    alpha: the paper's lambda; 0.5 by calibration on the demo model (the notes: about 5).
    rank: benign directions whose complement is the null space; None is all that the benign anchors span, but at
        most half the width.
    state: what the map acts on: "own", each position's own state (the notes), or "prompt", the query's state at the
        last prompt token for all positions (our convention: the null space is known for that position alone).
    showings: the anchors' states that are fitted on: "both", as text and beside a meaningless image (ours), or
        "pictured", the multimodal ones alone (the notes).
    harmless_anchors, harmful_anchors: at most so many, the first of the file; None is all. The notes: 8 and 100.
    suppression: weight of the third term of Delta's least squares, at least 0, 0 for none. The notes have such a term
        and disagree about its form; here it is the mean square of what the edit leaves of the harmful states along
        the harmful direction (ours; see NullSteer).
    image: the meaningless image of the anchors' second showing (see ImageSettings).
    """

    alpha: float = 0.5
    rank: int | None = None
    state: str = "prompt"
    showings: str = "both"
    harmless_anchors: int | None = None
    harmful_anchors: int | None = None
    suppression: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank is not None:
            self.check_whole("rank", 1, ", or None for all that the benign anchors span")
        self.check_choice("state", STATES)
        self.check_choice("showings", SHOWINGS)
        for field in ("harmless_anchors", "harmful_anchors"):
            if getattr(self, field) is not None:
                self.check_whole(field, 1, ", or None for all")
        self.check_number("suppression", 0)


class NullSteer(RepresentationGuard):
    """NullSteer, built from its definition: `h' = h + alpha * Delta P h_q` after each edited decoder layer.

    P: projector on the null space of the benign activations, those of the harmless anchors as text alone and beside
    a meaningless image, at the last prompt token: P h = 0 for each of them, so they are not changed at all (up to
    `rank`; the fact benign_residual is what is left of their length).
    Delta: the ridge least-squares map that takes the harmful anchors' P h to the refusal direction r (mean harmful
    minus mean harmless state, over both showings). All targets being r, it has rank one: Delta P h = r (u . h) with
    u in the null space. With suppression s > 0 it minimises
    `|Delta x - r|^2 + s (v . (x + Delta x))^2`, summed over the harmful anchors' x = P h, and the ridge; v is the
    harmful direction, the first right singular vector of these x. A second probe then decides what is added along v:
    `Delta P h = (r - (r . v) v) (u . h) + v (w . h)`, w in the null space.
    h_q: the query's state at the last prompt token, in the prefill, per row, kept for the whole answer; or with
    state="own" the state of each edited position itself.

    Fitted tensors, for all L layers: refusal_direction [L, d], probe [L, d] (u); with suppression harmful_direction
    (v) and suppression_probe (w), [L, d] each.
    """

    name = "nullsteer"
    Settings = NullSteerSettings
    settings: NullSteerSettings
    fit_settings = ("rank", "image", "showings", "harmless_anchors", "harmful_anchors", "suppression")
    paper = Preset(
        {
            "alpha": 5.0,
            "state": "own",
            "showings": "pictured",
            "harmless_anchors": 8,
            "harmful_anchors": 100,
            "suppression": 1.0,
        },
        ours=("positions", "rank", "suppression", "image"),
        depths=(32, 40),
        note="layer 14 of 32 and 20 of 40, at other depths 0.45 of it; the third term's form and weight are ours",
    )

    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        return band(num_layers, 0.625)

    def paper_layers(self, num_layers: int) -> tuple[int, ...]:
        return {32: (14,), 40: (20,)}.get(num_layers, band(num_layers, 0.45))

    def grid(self, num_layers: int) -> list[dict[str, list[Any]]]:
        return [{"layers": [band(num_layers, 0.5), band(num_layers, 0.625)], "alpha": [0.5, 1.0, 2.0]}]

    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        settings, pairs, width = self.settings, len(anchors.pairs), subject.hidden_size
        showings = slice(None) if settings.showings == "both" else slice(1, None)
        harmless_count = min(pairs, settings.harmless_anchors or pairs)
        most = min((2 if settings.showings == "both" else 1) * harmless_count, width - 1)
        rank = min(most, width // 2) if settings.rank is None else settings.rank
        if rank > most:
            raise ValueError(
                f"rank is {rank} but {harmless_count} harmless anchors and a width of {width} leave a null space up to "
                f"rank {most}"
            )
        shifts, text = record_anchor_shifts(subject, anchors, settings.image, self.name, progress)
        states = torch.stack([text, text + shifts])[showings].double()  # [showings, 2N, L, d]
        harmful, harmless = (
            part.flatten(0, 1)
            for part in (states[:, :pairs][:, : settings.harmful_anchors], states[:, pairs:][:, :harmless_count])
        )  # [showings * anchors, L, d]
        noise = noise_of(text)
        refusal = mean_difference(harmful, harmless, noise)
        harmful, harmless = harmful.transpose(0, 1), harmless.transpose(0, 1)
        benign, _, numerical_rank = leading_directions(harmless, rank, noise)
        projected = without(harmful, benign)
        projected = projected * (projected.norm(dim=-1).mean(dim=1) > noise)[:, None, None]  # else there is but noise
        probe = ridge_probe(projected, torch.ones(projected.shape[:2], dtype=projected.dtype))
        tensors = {"refusal_direction": refusal, "probe": probe}
        if settings.suppression:
            tensors |= suppressed(projected, refusal, settings.suppression)
        pushes = [torch.einsum("lnd,ld->nl", part, probe) for part in (harmful, harmless)]
        facts = {
            "direction_norm": refusal.norm(dim=-1).tolist(),
            "rank": numerical_rank.tolist(),
            "benign_residual": (without(harmless, benign).norm(dim=-1) / harmless.norm(dim=-1)).mean(dim=1).tolist(),
            "push_harmful_anchors": pushes[0].mean(dim=0).tolist(),
            "push_harmless_anchors": pushes[1].mean(dim=0).tolist(),
        }
        return tensors, facts

    def tensor_shapes(self, num_layers: int, hidden_size: int, pairs: int) -> dict[str, tuple[int, ...]]:
        suppressing = ("harmful_direction", "suppression_probe") if self.settings.suppression else ()
        return dict.fromkeys(("refusal_direction", "probe", *suppressing), (num_layers, hidden_size))

    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> Edits:
        pushed, probes = self.tensors["refusal_direction"].unsqueeze(1), self.tensors["probe"].unsqueeze(1)
        if self.settings.suppression:
            along = self.tensors["harmful_direction"].unsqueeze(1)
            pushed = torch.cat([pushed - (pushed * along).sum(dim=-1, keepdim=True) * along, along], dim=1)
            probes = torch.cat([probes, self.tensors["suppression_probe"].unsqueeze(1)], dim=1)
        return Edits(
            {
                layer: Push(self.settings.alpha * pushed[layer], probes[layer], self.settings.state == "own")
                for layer in self.layers(subject.num_layers)
            },
            self.settings.positions,
        )


@dataclass(frozen=True)
class Push:
    """The edit of one layer: adds each direction times its probe's reading. directions, probes: [k, d].

    own: of each position's own state; else of the last prompt token's. See NullSteer.
    """

    directions: Tensor
    probes: Tensor
    own: bool

    def decide(self, last: Tensor, prompts: Prompts) -> Tensor:
        """What is added at each edited position of a row, [rows, d]; zero where each position decides by itself."""
        return torch.zeros_like(last) if self.own else last @ self.probes.T @ self.directions

    def apply(self, hidden: Tensor, decision: Tensor) -> Tensor:
        """Hidden states [rows, tokens, d] with what their own or their rows' states [rows, 1, d] decide."""
        return hidden + (hidden @ self.probes.T @ self.directions if self.own else decision)
