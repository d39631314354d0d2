"""JRS-Rem (arXiv 2603.17372): take out of an image's shift what leads from refusing towards answering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.conditions import ConditionSettings, record_conditions
from vlmguard_plugin.guards.core.directions import mean_difference, noise_of
from vlmguard_plugin.guards.core.preset import Preset
from vlmguard_plugin.guards.core.recording import of_pictured, text_of_pictured
from vlmguard_plugin.guards.core.representation import AddDecision, RepresentationGuard, band, beyond
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits, Prompts
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor

SHOWN = ("pass", "unguarded")


@dataclass(frozen=True)
class JRSRemSettings(ConditionSettings):
    """Settings of JRS-Rem; the defaults are those of the sources as far as they go, none is calibrated.

    alpha: share of the component that is removed; 1 in the sources.
    positions: the last prompt token, whose logits choose the first answer token, as in the sources.
    threshold: a layer is edited where the component's share of the shift's length exceeds it, -1 to 1; 0.2 in the
        sources.
    shown: whose state beside the image the shift is taken from, which the sources leave open. "pass": the guarded pass
        itself, with what earlier layers have removed: one prefill more a query. "unguarded": the model's own, so that
        no layer knows of another: two prefills more.
    conditions: what stands beside the anchors that the direction is taken from: "text" (project notes), or pictures
        (another note takes it from requests beside images); see `anchor_queries`. picture_seed: of drawn ones.
    """

    conditions: tuple[str, ...] = ("text",)
    positions: str = "last"
    threshold: float = 0.2
    shown: str = "pass"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_number("threshold", -1, 1)
        self.check_choice("shown", SHOWN)


class JRSRem(RepresentationGuard):
    """JRS-Rem: `h' = h - alpha * c * d` where `c / |m| > threshold`, after each edited decoder layer, with an image.

    d, the jailbreak direction: mean state of the harmless anchors minus that of the harmful ones, at the last prompt
    token, scaled to length 1; zero at a layer where that is but rounding noise.
    m = h(q, img) - h(q), the shift that the image causes, at the last prompt token, by layer; h(q), the same request
    as text alone, is the unguarded model's state, of a prefill of its own. c = m . d. Decided once, in the prefill,
    by each edited layer for itself; all layers by default. Rows without an image are left alone.

    Known to us by notes on the paper; its repository holds no code. They agree on m, c, the threshold, all layers and
    the first token. By one of them the direction is that of 50 jailbroken less 50 refused requests of HADES, beside
    their images; by another it is text-only. Anchors have no such labels: ours is from refused to answered as far as
    harmful anchors are refused and harmless ones answered. Anchors of one's own, refused requests as harmful and
    jailbroken ones as harmless, under conditions=photos=FOLDER, come nearest to the first.

    Fitted tensors, for all L layers: direction [L, d], not scaled.
    """

    name = "jrs_rem"
    Settings = JRSRemSettings
    settings: JRSRemSettings
    fit_settings = ("conditions", "picture_seed")
    paper = Preset(
        {},
        ours=("shown", "conditions", "picture_seed"),
        note="all layers, first token, 0.2; its direction is of jailbroken and refused requests, ours of the anchors",
    )

    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        return tuple(range(num_layers))

    def grid(self, num_layers: int) -> list[dict[str, list[Any]]]:
        every = tuple(range(num_layers))
        return [{"layers": [every, band(num_layers, 0.625, 3)], "threshold": [0.1, 0.2, 0.4], "alpha": [0.5, 1.0]}]

    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        conditions, seed = self.settings.conditions, self.settings.picture_seed
        states = record_conditions(subject, anchors, conditions, seed, self.name, progress)
        harmful, harmless = (torch.cat(side) for side in zip(*(both.chunk(2) for _, both in states)))
        direction = mean_difference(harmless, harmful, noise_of(harmful))
        return {"direction": direction}, {"direction_norm": direction.norm(dim=-1).tolist()}

    def tensor_shapes(self, num_layers: int, hidden_size: int, pairs: int) -> dict[str, tuple[int, ...]]:
        return {"direction": (num_layers, hidden_size)}

    def gate_margins(self, states: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        unit = torch.nn.functional.normalize(self.tensors["direction"], dim=-1)
        shifts = {condition: own - states["text"] for condition, own in states.items()}
        share = self.settings.threshold
        return self.margins_by_layer(shifts, lambda layer, _, own: beyond(own, unit[layer], share * own.norm(dim=-1)))

    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> Edits:
        settings = self.settings
        unit = torch.nn.functional.normalize(self.tensors["direction"], dim=-1)  # [L, d]; 0 stays 0
        text = text_of_pictured(subject, queries, "JRS-Rem measures the shift")
        shown = None
        if settings.shown == "unguarded":
            shown = of_pictured(subject, queries, "JRS-Rem measures the shift", subject.record)
        return Edits(
            {
                layer: RemoveAlong(
                    unit[layer],
                    settings.alpha,
                    settings.threshold,
                    text[:, layer],
                    None if shown is None else shown[:, layer],
                )
                for layer in self.layers(subject.num_layers)
            },
            settings.positions,
        )


@dataclass(frozen=True)
class RemoveAlong(AddDecision):
    """The edit of one layer. unit: d, [d], of length 1. See JRSRem.

    text: h(q) of each query, [queries, d], zero for those without an image. shown: their h(q, img), [queries, d]; None
    where it is the state of the pass.
    """

    unit: Tensor
    alpha: float
    threshold: float
    text: Tensor
    shown: Tensor | None = None

    def decide(self, last: Tensor, prompts: Prompts) -> Tensor:
        """What is added at each edited position of a row: [rows, d]."""
        text = prompts.repeat(self.text)
        shift = (last if self.shown is None else prompts.repeat(self.shown)) - text
        along = shift @ self.unit
        fires = (beyond(shift, self.unit, self.threshold * shift.norm(dim=-1)) > 0) & text.any(dim=1)
        removed: Tensor = (self.alpha * along * fires).unsqueeze(1) * self.unit
        return -removed
