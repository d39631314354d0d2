"""A visual prompt around or on every input image: a trained border (DAVSP, arXiv 2506.09353) or a given picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from PIL import Image

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.adashield import AdaShield
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.border_pictures import (
    border_mask,
    bordered,
    check_margin,
    is_levels,
    on_white,
    picture_of,
)
from vlmguard_plugin.guards.core.border_training import (
    Aim,
    BorderTraining,
    examples_of,
    gap_of,
    local_model,
    pixel_places,
)
from vlmguard_plugin.guards.core.conditions import CONDITIONS, check_conditions, contents_of
from vlmguard_plugin.guards.core.preset import Preset
from vlmguard_plugin.guards.core.settings import GuardSettings
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.pictures.meaningless import meaningless
from vlmguard_plugin.query import BlankImage, ImageLike, Query, read_image
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor

MODES = ("border", "patch")
PLACES = ("top left", "top right", "bottom left", "bottom right", "centre")
SCALES = ("gap", "absolute")
TEXT = "text"


@dataclass(frozen=True)
class VisualPromptSettings(GuardSettings):
    """Settings of a visual prompt.

    image: file of the prompt (PNG or JPEG; its transparency is used); None trains a border.
    mode: "border" (the input image is shown in the middle of the prompt) or "patch" (the prompt lies on the image;
        not trained, so it needs image).
    margin: width of the border as a share of the prompt's width and height, each side, in 0..0.45; of its pixels at
        least one must be border on some side, and one be left for the image. Border only.
    square: the input image is put on a white square before it is shown in a border, as in the authors' code; else it
        is stretched to what the border leaves.
    shielded: requests beside images are put in the words of `adashield`, in training and after; the authors' protocol.
    place: corner or centre that the patch lies at. Patch only.
    size: the patch's width as a share of the image's, in 0..1; None keeps its pixels (cut off at the edge). Patch only.

    Of training alone:
    canvas: the border picture's width and height in pixels, which the processor must keep as it is; None is the
        size that it resizes pictures to.
    layer: 0-based decoder layer whose states are aligned; None is L // 2 - 1 (the authors' 19 of 40).
    steps, step: how many steps, and by how many of 255 levels each pixel goes in one (up to 255).
    batch: pairs of anchors in a step.
    seed: of the order in which the pairs are taken.
    top, bottom: how far along the direction harmful states are pushed at least and harmless ones at most.
    scale: what these are counted in: "gap" (0 is the harmless anchors' mean place, 1 the harmful ones'; ours) or
        "absolute" (the projection on the unit direction as it is; the authors').
    hold: weight of keeping harmless states where they were, at least 0; see VisualPrompt.
    conditions: the pictures beside the anchors, to each pair one of them in turn (see `anchor_queries`); not "text".
    """

    image: str | None = None
    mode: str = "border"
    margin: float = 0.1
    square: bool = False
    shielded: bool = False
    place: str = "bottom right"
    size: float | None = None
    canvas: int | None = None
    layer: int | None = None
    steps: int = 100
    step: float = 2.0
    batch: int = 1
    seed: int = 0
    top: float = 2.0
    bottom: float = 0.0
    scale: str = "gap"
    hold: float = 0.1
    conditions: tuple[str, ...] = CONDITIONS[1:]

    def __post_init__(self) -> None:
        self.check_choice("mode", MODES)
        self.check_choice("place", PLACES)
        self.check_number("margin", 0, 0.45)  # beyond, nothing of the image is left
        self.check_flag("square")
        self.check_flag("shielded")
        if self.size is not None:
            self.check_number("size", 0)
            if not 0 < self.size <= 1:
                raise ValueError(
                    f"size is {self.size!r}; it must be above 0 and at most 1, or None for the patch's own pixels"
                )
        if self.layer is not None:
            self.check_whole("layer", 0, ", or None for the one before the middle")
        if self.canvas is not None:
            self.check_whole("canvas", 8, ", or None for the processor's own", most=4096)
        for field in ("steps", "batch"):
            self.check_whole(field, 1)
        self.check_whole("seed", 0)
        self.check_number("step", 0, 255)
        self.check_number("top")
        self.check_number("bottom")
        self.check_number("hold", 0)
        self.check_choice("scale", SCALES)
        object.__setattr__(self, "conditions", check_conditions(self.conditions))
        if TEXT in self.conditions:
            raise ValueError("conditions holds 'text', but a border is trained beside pictures; leave it out")
        if self.image is not None:
            object.__setattr__(self, "image", str(self.image))
            shown = read_image(self.image, "RGBA")
            if self.mode == "border":
                check_margin(shown.size, self.margin)

    def contents(self) -> dict[str, str]:
        return contents_of(self.conditions) if self.image is None else {}


class VisualPrompt(Guard):
    """A visual prompt around or on every input image: a border that is trained (DAVSP), or a given border or patch.

    border: the prompt is the canvas; the input image, resized, fills all but a margin.
    patch: the input image keeps its size; the prompt lies on it at `place`.
    Text-only queries are left alone (the source has none). With `image` nothing is fitted.

    Without, `fit` trains the border of a canvas of the processor's input size, which begins as its mean colour. With
    x(h) the place of a last prompt token's state after decoder layer `layer` along r, mean harmful minus mean harmless
    state of the anchors beside pictures, it lowers
    `mean max(0, top - x(h')) over harmful anchors + mean max(0, x(h') - bottom) over harmless ones
    + hold * mean |h' - h|^2 / |r|^2 over harmless ones`, h' with the border, h without; each step moves all its
    levels by `step` against the gradient's sign. The model's weights stay as they are.

    From the authors' code: canvas, r, both hinges, layer, sign steps. Ours: levels stay within 0 to 255 and are shown
    rounded, so that the border is a picture that any model can be given; hinges in units of the gap; each step sees
    harmful and harmless anchors (theirs one side by chance); `hold`, in the place of their third term, the
    cross-entropy of given answers (weight 0.02), since anchors have no answers; which pictures stand beside anchors.

    Fitted tensors: border [height, width, 3] (levels, 0 where the image is shown), direction [d] (r).
    """

    name = "visual_prompt"
    Settings = VisualPromptSettings
    settings: VisualPromptSettings
    files = ("image",)
    paper = Preset(
        {
            "margin": 30 / 336,
            "square": True,
            "shielded": True,
            "steps": 1200,
            "step": 1.0,
            "batch": 1,
            "top": 27.0,
            "bottom": -2.0,
            "scale": "absolute",
            "hold": 0.0,
        },
        ours=("place", "size", "canvas", "seed", "hold", "conditions", "layer"),
        note="the authors' code for LLaVA-1.5-13B (layer 19 of 40), less its third term; adashield's words are ours",
    )

    def __init__(self, *, preset: str | None = None, **settings: Any) -> None:
        super().__init__(preset=preset, **settings)
        self.needs_fit = self.settings.image is None

    def rewrite(self, query: Query) -> Query:
        if not query.all_images:
            return query
        return self.framed(self.worded(query), self.prompt)

    def worded(self, query: Query) -> Query:
        """The request in adashield's words, where the settings have it so."""
        return AdaShield().rewrite(query) if self.settings.shielded else query

    def fit_tensors(
        self, subject: Subject, anchors: Anchors, progress: bool
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        settings = self.settings
        if settings.image is not None:
            return {}, {}
        if settings.mode != "border":
            raise ValueError("mode is 'patch', and only a border is trained; give the patch's file with image=...")
        model = local_model(subject)
        layer = max(0, model.num_layers // 2 - 1) if settings.layer is None else settings.layer
        if layer >= model.num_layers:
            raise ValueError(f"layer is {layer}, beyond the model's {model.num_layers} decoder layers")
        label = f"fit {self.name}: " if progress else None
        with torch.inference_mode(False), torch.enable_grad():  # whoever calls, and what hosts have set
            places = pixel_places(model, settings.canvas)
            start = meaningless("mean", places.size, getattr(model.processor, "image_processor", None))
            mask = border_mask(places.size, settings.margin)
            examples, direction = examples_of(model, anchors, settings.conditions, self.worded, layer, label)
            origin, unit = gap_of(examples, direction) if settings.scale == "gap" else (0.0, 1.0)
            aim = Aim(direction, origin, unit, settings.top, settings.bottom, settings.hold)
            training = BorderTraining(places, layer, examples, aim, start, self.framed, mask)
            border = training.border(settings.steps, settings.step, settings.batch, settings.seed, label)
        return {"border": border, "direction": direction}, {"layer": layer, **training.gained(border)}

    def tensor_shapes(self, num_layers: int, hidden_size: int, pairs: int) -> dict[str, tuple[int, ...]] | None:
        return {} if self.settings.image is not None else None

    def check_loaded(self) -> None:
        if self.settings.image is None:
            border = self.tensors.get("border")
            if border is None or border.dim() != 3 or border.shape[2] != 3 or not is_levels(border):
                raise ValueError("border is no picture: it must be [height, width, 3] of whole numbers from 0 to 255")

    @property
    def prompt(self) -> Image.Image:
        """The prompt's pixels: the file's, RGBA, read once, or the trained border's, RGB; GuardNotFitted without."""
        return picture_of(self.tensors["border"]) if self.settings.image is None else self._file

    @cached_property
    def _file(self) -> Image.Image:
        return read_image(str(self.settings.image), "RGBA")

    def framed(self, query: Query, border: Image.Image) -> Query:
        """The query with the border around each of its images."""
        return query.with_each_image(lambda image: self.prompted(image, border))

    def prompted(self, image: ImageLike, prompt: Image.Image) -> ImageLike:
        """An input image with the prompt; a BlankImage has no pixels yet and is left as it is."""
        if isinstance(image, BlankImage):
            return image
        pixels = read_image(image)
        if self.settings.mode == "patch":
            return self.patched(pixels, prompt)
        return bordered(on_white(pixels) if self.settings.square else pixels, prompt, self.settings.margin)

    def patched(self, image: Image.Image, patch: Image.Image) -> Image.Image:
        """The image with the patch lying on it."""
        if self.settings.size is not None:
            width = max(1, round(self.settings.size * image.width))
            patch = patch.resize((width, max(1, round(patch.height * width / patch.width))))
        free = image.width - patch.width, image.height - patch.height
        corner = {
            "top left": (0, 0),
            "top right": (free[0], 0),
            "bottom left": (0, free[1]),
            "bottom right": free,
            "centre": (free[0] // 2, free[1] // 2),
        }[self.settings.place]
        result = image.copy()
        result.paste(patch, corner, patch)
        return result
