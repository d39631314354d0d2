"""What a guard can be put on, and the requests it answers: host-neutral."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Sequence, Union

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
    """One request as a user would put it: text, and images shown before it.

    text: the request. images: files (str or Path), PIL images or BlankImage, in the order shown.
    """

    text: str
    images: tuple[ImageLike, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise TypeError(f"query text is {type(self.text).__name__} ({self.text!r}); it must be a string")
        if isinstance(self.images, (str, Path, Image.Image, BlankImage)):
            raise TypeError("query images is a single image; write images=(image,)")
        object.__setattr__(self, "images", tuple(self.images))

    def without_images(self) -> "Query":
        """The same request as text alone."""
        return replace(self, images=())

    def with_blank_images(self, kind: str = "mean") -> "Query":
        """The same request with every image replaced by a meaningless one of the same size.

        A query without images gets one blank image of the subject's own input size.
        """
        if not self.images:
            return replace(self, images=(BlankImage(kind),))
        return replace(self, images=tuple(BlankImage(kind, image_size(image)) for image in self.images))


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
    """

    num_layers: int
    hidden_size: int
    fingerprint: str

    def record(self, queries: Sequence[Query]):
        """float32 tensor [N, L, d] on the CPU: last prompt token, after each decoder layer."""

    def generate(self, queries: Sequence[Query], edits=None, **generation) -> list[str]:
        """One answer per query, in order."""
