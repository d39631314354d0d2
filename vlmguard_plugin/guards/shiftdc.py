"""ShiftDC (arXiv 2502.13095): undo what an image's presence, not its content, does along the safety direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.directions import mean_difference, noise_of
from vlmguard_plugin.guards.core.preset import Preset
from vlmguard_plugin.guards.core.recording import of_pictured, record_anchors
from vlmguard_plugin.guards.core.representation import AddVectors, RepresentationGuard, RepresentationSettings, band
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import Edits
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor

CAPTION_PROMPT = "Describe the image."
CAPTION_FOR_REQUEST = "Describe what the image shows, as far as it bears on this request: {query}"
PLACES = ("before", "after")
LAST_LAYER = ("raw", "normalised")


@dataclass(frozen=True)
class ShiftDCSettings(RepresentationSettings):
    """Settings of ShiftDC.

    alpha: share of the shift that is taken back; 1 is the method as published.
    positions: the last prompt token, as in the authors' code, by default.
    caption_prompt: request with which the model captions the image; {query} in it stands for the request at hand, so
        that the caption knows it (authors' code).
    caption_tokens: longest caption, in tokens (authors' code: 128).
    caption_place: the caption stands "before" the request (our convention) or "after" it (authors' code).
    chat_template: False puts text-only states' prompts (anchors, request with caption) as they stand, without the
        model's chat template (authors' code); of a conversation all turns' words, joined by line breaks.
    last_layer: the last layer's states are "raw", as the layer gives them, or "normalised", behind the model's final
        norm (authors' code, which reads them so; the edit is made on the raw ones all the same).
    """

    positions: str = "last"
    caption_prompt: str = CAPTION_PROMPT
    caption_tokens: int = 64
    caption_place: str = "before"
    chat_template: bool = True
    last_layer: str = "raw"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_whole("caption_tokens", 1, most=4096)
        self.check_words("caption_prompt", "the request for a caption")
        self.check_choice("caption_place", PLACES)
        self.check_flag("chat_template")
        self.check_choice("last_layer", LAST_LAYER)


class ShiftDC(RepresentationGuard):
    """ShiftDC: `h' = h - alpha * (m . s / s . s) s` after each edited decoder layer, for queries with an image.

    s: mean state of the harmless anchors minus that of the harmful ones at the last prompt token, text only; where
    that is but rounding noise it is zero, and so is the edit.
    m: h(q, img) - h(q, caption) of the query at hand, both of the unguarded model; the caption, by the model itself,
    stands as text where the images stood. Costs a caption and two prefills per query. Layers L//2 .. L-1 by default.

    Every layer takes back the shift that was measured at that layer without edits; what earlier layers took back is
    carried along by the residual stream (as the formula reads, layer by layer).

    Fitted tensors, for all L layers: safety_direction [L, d].
    """

    name = "shiftdc"
    Settings = ShiftDCSettings
    settings: ShiftDCSettings
    fit_settings = ("chat_template", "last_layer")
    paper = Preset(
        {
            "caption_prompt": CAPTION_FOR_REQUEST,
            "caption_tokens": 128,
            "caption_place": "after",
            "chat_template": False,
            "last_layer": "normalised",
        },
        ours=("caption_prompt",),
        depths=(32,),
        note="layers 10 to 31 of 32, at other depths in proportion; the caption knows the request, its wording is ours",
    )

    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        return tuple(range(num_layers // 2, num_layers))

    def paper_layers(self, num_layers: int) -> tuple[int, ...]:
        return tuple(range(round(10 / 32 * num_layers), num_layers))

    def grid(self, num_layers: int) -> list[dict[str, list[Any]]]:
        return [
            {"layers": [tuple(range(num_layers // 2, num_layers)), band(num_layers, 0.625)], "alpha": [0.5, 1.0]},
            {"layers": [band(num_layers, 0.625)], "alpha": [1.0], "positions": ["all"]},
        ]

    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        harmful, harmless = record_anchors(subject, anchors, self.name, progress, self.as_text)
        harmful, harmless = self.read(subject, harmful), self.read(subject, harmless)
        direction = mean_difference(harmless, harmful, noise_of(harmful))
        return {"safety_direction": direction}, {"direction_norm": direction.norm(dim=-1).tolist()}

    def tensor_shapes(self, num_layers: int, hidden_size: int, pairs: int) -> dict[str, tuple[int, ...]]:
        return {"safety_direction": (num_layers, hidden_size)}

    def edits(self, subject: Subject, queries: Sequence[Query] | None) -> Edits:
        direction = self.tensors["safety_direction"]

        def taken_back(shown: list[Query]) -> Tensor:
            with_image = self.read(subject, subject.record(shown))
            moved = with_image - self.read(subject, subject.record(self.captioned(subject, shown)))
            unit = torch.nn.functional.normalize(direction, dim=-1)  # [L, d]; 0 stays 0
            return self.settings.alpha * (moved * unit).sum(dim=-1, keepdim=True) * unit

        shifts = of_pictured(subject, queries, "ShiftDC measures the shift", taken_back)
        return Edits(
            {layer: AddVectors(-shifts[:, layer], per_query=True) for layer in self.layers(subject.num_layers)},
            self.settings.positions,
        )

    def read(self, subject: Subject, states: Tensor) -> Tensor:
        """States [N, L, d] with those of the last layer as the setting last_layer has them."""
        if self.settings.last_layer == "raw":
            return states
        return torch.cat([states[:, :-1], subject.normalised(states[:, -1]).unsqueeze(1)], dim=1)

    def as_text(self, text: str) -> Query:
        """A text-only prompt, in the model's chat template or as it stands."""
        return Query(text, raw=not self.settings.chat_template)

    def captioned(self, subject: Subject, queries: Sequence[Query]) -> list[Query]:
        """The queries with the model's own caption of all their images, earlier turns' included, beside the request."""
        prompt = self.settings.caption_prompt
        asked = [Query(prompt.replace("{query}", query.text), query.all_images) for query in queries]
        captions = subject.generate(asked, max_new_tokens=self.settings.caption_tokens)
        after = self.settings.caption_place == "after"
        as_text = [
            query.without_images().with_text(f"{query.text}\n{caption}" if after else f"{caption}\n{query.text}")
            for caption, query in zip(captions, queries)
        ]
        return as_text if self.settings.chat_template else [self.as_text(words(query)) for query in as_text]


def words(query: Query) -> str:
    """All words of a conversation, and those that its answer begins with."""
    said = [str(value) for turn in query.turns() for kind, value in turn.parts if kind == "text"]
    return "\n".join([*said, *filter(None, [query.begun])])
