"""A visual prompt (the inference side of DAVSP and its like): a given picture around or on every input image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from PIL import Image

from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.preset import Preset
from vlmguard_plugin.guards.core.settings import GuardSettings
from vlmguard_plugin.query import BlankImage, ImageLike, Query, read_image

MODES = ("border", "patch")
PLACES = ("top left", "top right", "bottom left", "bottom right", "centre")


@dataclass(frozen=True)
class VisualPromptSettings(GuardSettings):
    """Settings of a visual prompt.

    image: file of the prompt (PNG or JPEG; its transparency is used). Required before it is used.
    mode: "border" (the input image is shown in the middle of the prompt) or "patch" (the prompt lies on the image).
    margin: width of the border as a share of the prompt's width and height, each side, in 0..0.45. Border only.
    place: corner or centre that the patch lies at. Patch only.
    size: the patch's width as a share of the image's, in 0..1; None keeps its pixels (cut off at the edge). Patch only.
    """

    image: str | None = None
    mode: str = "border"
    margin: float = 0.1
    place: str = "bottom right"
    size: float | None = None

    def __post_init__(self) -> None:
        self.check_choice("mode", MODES)
        self.check_choice("place", PLACES)
        self.check_number("margin", 0, 0.45)  # beyond, nothing of the image is left
        if self.size is not None:
            self.check_number("size", 0)
            if not 0 < self.size <= 1:
                raise ValueError(
                    f"size is {self.size!r}; it must be above 0 and at most 1, or None for the patch's own pixels"
                )
        if self.image is not None:
            object.__setattr__(self, "image", str(self.image))
            read_image(self.image, "RGBA")


class VisualPrompt(Guard):
    """A visual prompt: a given border or patch image is put around or onto every input image.

    border: the prompt is the canvas, at its own size; the input image, resized, fills all but a margin.
    patch: the input image keeps its size; the prompt lies on it at `place`.
    Training such a prompt is not part of this package. Text-only queries are left alone. Nothing is fitted.
    """

    name = "visual_prompt"
    Settings = VisualPromptSettings
    settings: VisualPromptSettings
    needs_fit = False
    files = ("image",)
    paper = Preset(
        {}, ours=("margin", "place", "size"), note="DAVSP's border; image is the user's, none comes with the package"
    )

    def rewrite(self, query: Query) -> Query:
        if not query.all_images:
            return query
        if self.settings.image is None:
            raise ValueError("visual_prompt has no image; give the prompt's file with image=...")
        return query.with_each_image(lambda image: self.prompted(image, self.prompt))

    def check_loaded(self) -> None:
        if self.settings.image is None:
            raise ValueError("visual_prompt has no image")

    @cached_property
    def prompt(self) -> Image.Image:
        """The prompt's pixels, RGBA, read once."""
        return read_image(str(self.settings.image), "RGBA")

    def prompted(self, image: ImageLike, prompt: Image.Image) -> ImageLike:
        """An input image with the prompt; a BlankImage has no pixels yet and is left as it is."""
        if isinstance(image, BlankImage):
            return image
        pixels = read_image(image)
        around = self.settings.mode == "border"
        return bordered(pixels, prompt, self.settings.margin) if around else self.patched(pixels, prompt)

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


def bordered(image: Image.Image, border: Image.Image, margin: float) -> Image.Image:
    """The image, resized, in the middle of the border picture, which keeps its size."""
    edge = round(margin * border.width), round(margin * border.height)
    inside = image.resize((border.width - 2 * edge[0], border.height - 2 * edge[1]))
    result = border.convert("RGB")
    result.paste(inside, edge)
    return result
