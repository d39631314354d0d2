"""ShiftDC (arXiv 2502.13095): undo what an image's presence, not its content, does along the safety direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.representation import (
    AddVectors,
    RepresentationGuard,
    RepresentationSettings,
    band,
    check_own_states,
    record_anchors,
)
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor

CAPTION_PROMPT = "Describe the image."


@dataclass(frozen=True)
class ShiftDCSettings(RepresentationSettings):
    """Settings of ShiftDC.

    alpha: share of the shift that is taken back; 1 is the method as published.
    positions: the last prompt token, as in the authors' code, by default.
    caption_prompt: request with which the model captions the image. caption_tokens: longest caption, in tokens.
    """

    positions: str = "last"
    caption_prompt: str = CAPTION_PROMPT
    caption_tokens: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_whole("caption_tokens", 1, most=4096)
        self.check_words("caption_prompt", "the request for a caption")


class ShiftDC(RepresentationGuard):
    """ShiftDC: `h' = h - alpha * (m . s / s . s) s` after each edited decoder layer, for queries with an image.

    s: mean state of the harmless anchors minus that of the harmful ones at the last prompt token, text only.
    m: h(q, img) - h(q, caption) of the query at hand, both of the unguarded model; the caption, by the model itself,
    stands as text where the images stood. Costs a caption and two prefills per query. Layers L//2 .. L-1 by default.

    Every layer takes back the shift that was measured at that layer without edits; what earlier layers took back is
    carried along by the residual stream (as the formula reads, layer by layer).

    Fitted tensors, for all L layers: safety_direction [L, d].
    """

    name = "shiftdc"
    Settings = ShiftDCSettings
    settings: ShiftDCSettings
    fit_settings = ()

    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        return tuple(range(num_layers // 2, num_layers))

    def grid(self, num_layers: int) -> list[dict[str, list[Any]]]:
        return [
            {"layers": [tuple(range(num_layers // 2, num_layers)), band(num_layers, 0.625)], "alpha": [0.5, 1.0]},
            {"layers": [band(num_layers, 0.625)], "alpha": [1.0], "positions": ["all"]},
        ]

    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        harmful, harmless = record_anchors(subject, anchors, self.name, progress)
        direction = harmless.mean(dim=0) - harmful.mean(dim=0)
        return {"safety_direction": direction}, {"direction_norm": direction.norm(dim=-1).tolist()}

    def tensor_shapes(self, num_layers: int, hidden_size: int, pairs: int) -> dict[str, tuple[int, ...]]:
        return {"safety_direction": (num_layers, hidden_size)}

    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> Edits:
        if queries is None:
            raise ValueError(
                "ShiftDC measures the shift of the query at hand; use guard.respond, or guard.on(subject, queries)"
            )
        check_own_states(subject)
        direction = self.tensors["safety_direction"]
        shifts = torch.zeros(len(queries), subject.num_layers, subject.hidden_size)
        pictured = [index for index, query in enumerate(queries) if query.all_images]
        if pictured:
            shown = [queries[index] for index in pictured]
            moved = subject.record(shown) - subject.record(self.captioned(subject, shown))
            unit = torch.nn.functional.normalize(direction, dim=-1)  # [L, d]; 0 stays 0
            along = (moved * unit).sum(dim=-1)  # [N, L]
            shifts[pictured] = self.settings.alpha * along.unsqueeze(-1) * unit
        return Edits(
            {layer: AddVectors(-shifts[:, layer], per_query=True) for layer in self.layers(subject.num_layers)},
            self.settings.positions,
        )

    def captioned(self, subject: Subject, queries: Sequence[Query]) -> list[Query]:
        """The queries with the model's own caption of all their images, earlier turns' included, before the request."""
        asked = [Query(self.settings.caption_prompt, query.all_images) for query in queries]
        captions = subject.generate(asked, max_new_tokens=self.settings.caption_tokens)
        return [
            query.without_images().with_text(f"{caption}\n{query.text}") for caption, query in zip(captions, queries)
        ]
