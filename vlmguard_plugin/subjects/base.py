"""What a guard can be put on, and the requests it answers: host-neutral."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterable, Protocol, Sequence, Union

from PIL import Image

BLANK_KINDS = ("mean", "white", "black", "noise")


@dataclass(frozen=True)
class BlankImage:
    """A meaningless image, drawn by the subject that reads it.

    kind: "mean" (every pixel the image processor's mean colour, the default; "blank" is another name for it),
        "white", "black", or "noise" (Gaussian around mid grey, fixed seed).
    size: (width, height) in pixels; None is the size the subject's image processor resizes to.
    """

    kind: str = "mean"
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.kind == "blank":
            object.__setattr__(self, "kind", "mean")
        if self.kind not in BLANK_KINDS:
            raise ValueError(f"blank image kind is {self.kind!r}; choose one of {', '.join(BLANK_KINDS)}")


ImageLike = Union[str, Path, Image.Image, BlankImage]


@dataclass(frozen=True)
class Query:
    """One request as a user would put it: text, and images shown before it or between its parts.

    text: the request. images: files (str or Path), PIL images or BlankImage, in the order shown.
    layout: the request's parts in order, None where an image stands; empty is all images, then the text.
    """

    text: str
    images: tuple[ImageLike, ...] = ()
    layout: tuple[str | None, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise TypeError(f"query text is {type(self.text).__name__} ({self.text!r}); it must be a string")
        if isinstance(self.images, (str, Path, Image.Image, BlankImage)):
            raise TypeError("query images is a single image; write images=(image,)")
        object.__setattr__(self, "images", tuple(self.images))
        object.__setattr__(self, "layout", tuple(self.layout))
        if self.layout and self.layout.count(None) != len(self.images):
            raise ValueError(f"query layout has {self.layout.count(None)} places for {len(self.images)} images; give one None an image")

    @classmethod
    def from_parts(cls, parts: Sequence[tuple[str, ImageLike]]) -> "Query":
        """A query from ("text", words) and ("image", image) parts in the order shown.

        `text` is the texts joined by line breaks.
        """
        for kind, _ in parts:
            if kind not in ("text", "image"):
                raise ValueError(f"a part of kind {kind!r} can't be put to a guarded model; it takes text and images")
        layout = tuple(value if kind == "text" else None for kind, value in parts)
        images = tuple(value for kind, value in parts if kind == "image")
        text = "\n".join(part for part in layout if part is not None)
        return cls(text, images, () if layout == (None,) * len(images) + (text,) else layout)

    def parts(self) -> list[tuple[str, ImageLike]]:
        """("text", words) and ("image", image) parts in the order shown."""
        images = iter(self.images)
        layout = self.layout or (None,) * len(self.images) + (self.text,)
        return [("image", next(images)) if part is None else ("text", part) for part in layout]

    def without_images(self) -> "Query":
        """The same request as text alone."""
        return Query(self.text)

    def with_blank_images(self, kind: str = "mean") -> "Query":
        """The same request with every image replaced by a meaningless one of the same size.

        A query without images gets one blank image of the subject's own input size.
        """
        if not self.images:
            return Query(self.text, (BlankImage(kind),))
        return self.with_images(BlankImage(kind, image_size(image)) for image in self.images)

    def with_images(self, images: Iterable[ImageLike]) -> "Query":
        """The same request with other images in the places of its own."""
        return replace(self, images=tuple(images))

    def with_text(self, text: str) -> "Query":
        """Other words beside the same images, which stand before them."""
        return Query(text, self.images)

    def wrapped(self, before: str, after: str) -> "Query":
        """The same request with words put before its first and after its last word."""
        texts = [index for index, part in enumerate(self.layout) if part is not None]
        layout = list(self.layout)
        if texts:
            layout[texts[0]] = before + layout[texts[0]]
            layout[texts[-1]] += after
        elif layout:
            layout.append(before + after)
        return Query(before + self.text + after, self.images, tuple(layout))


def image_size(image: ImageLike) -> tuple[int, int] | None:
    """(width, height) in pixels of an image, without decoding it; None for a BlankImage of default size."""
    if isinstance(image, (BlankImage, Image.Image)):
        return image.size
    with open_image(image) as opened:
        return opened.size


def open_image(path: str | Path) -> Image.Image:
    """Open an image file; ValueError names the file and why it can't be read."""
    try:
        return Image.open(path)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"image {str(path)!r} can't be read ({error}); give a readable PNG or JPEG file") from error


class Subject(Protocol):
    """Something that can run a VLM with edits in place.

    num_layers: L, decoder layers of the language model. hidden_size: d, width of its residual stream.
    fingerprint: identifies the weights; equal for the same checkpoint whatever its dtype or device.
    prompt_form: identifies how prompts are built.
    """

    num_layers: int
    hidden_size: int
    fingerprint: str
    prompt_form: str

    def record(self, queries: Sequence[Query], *, progress: str | None = None):
        """float32 tensor [N, L, d] on the CPU: last prompt token, after each decoder layer."""

    def generate(self, queries: Sequence[Query], edits=None, **generation) -> list[str]:
        """One answer per query, in order. edits: a sequence of Edits, or a function from a batch to one."""

    def editing(self, edits):
        """A context in which the model runs with these Edits."""
