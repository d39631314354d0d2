"""The requests that a model answers, host-neutral: words, images, and what was said before."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Sequence, Union, cast

from PIL import Image, ImageOps

BLANK_KINDS = ("white", "black", "gray", "mean", "noise")


@dataclass(frozen=True)
class BlankImage:
    """A meaningless image, drawn by the subject that reads it (`pictures.meaningless`).

    kind: "white" (the default; "blank" is another name for it), "black", "gray", "mean" (every pixel the image
        processor's mean colour), or "noise" (Gaussian around mid grey, fixed seed).
    size: (width, height) in pixels; None is the size the subject's image processor resizes to.
    """

    kind: str = "white"
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.kind == "blank":
            object.__setattr__(self, "kind", "white")
        if self.kind not in BLANK_KINDS:
            raise ValueError(f"blank image kind is {self.kind!r}; choose one of {', '.join(BLANK_KINDS)}")


ImageLike = Union[str, Path, Image.Image, BlankImage]
Parts = Sequence[tuple[str, ImageLike]]
ROLES = ("user", "assistant", "system")


@dataclass(frozen=True)
class Turn:
    """What was said earlier in a conversation. role: ROLES. parts: ("text", words) and ("image", image) in order."""

    role: str
    parts: tuple[tuple[str, ImageLike], ...]

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"the role of a turn is {self.role!r}; choose one of {', '.join(ROLES)}")
        if isinstance(self.parts, str):
            raise TypeError(f'the parts of a turn are a string ({self.parts!r}); write (("text", ...),)')
        object.__setattr__(self, "parts", tuple((kind, value) for kind, value in self.parts))
        check_kinds(self.parts)
        check_images(self.images)

    @property
    def images(self) -> tuple[ImageLike, ...]:
        """Its images in the order shown."""
        return tuple(value for kind, value in self.parts if kind == "image")


@dataclass(frozen=True)
class Query:
    """One request as a user would put it: text, images shown before it or between its parts, and what was said before.

    text: the request. images: files (str or Path), PIL images or BlankImage, in the order shown.
    layout: the request's parts in order, None where an image stands; empty is all images, then the text.
    history: the conversation before the request, the oldest turn first; empty for a request of its own.
    begun: words that the answer already begins with, put before the model as its own.
    raw: the request is the prompt as it stands, without the model's chat template; it has no history then.

    The request at hand is `text`, `images` and `layout`: words that a guard adds go there. What a guard does to images
    it does to those of earlier turns too (`all_images`, `with_each_image`): the model sees them beside the request's.
    """

    text: str
    images: tuple[ImageLike, ...] = ()
    layout: tuple[str | None, ...] = ()
    history: tuple[Turn, ...] = ()
    begun: str = ""
    raw: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise TypeError(f"query text is {type(self.text).__name__} ({self.text!r}); it must be a string")
        if isinstance(self.images, (str, Path, Image.Image, BlankImage)):
            raise TypeError("query images is a single image; write images=(image,)")
        for field in ("images", "layout", "history"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        check_images(self.images)
        if self.layout and self.layout.count(None) != len(self.images):
            raise ValueError(
                f"query layout has {self.layout.count(None)} places for {len(self.images)} images; give one None an "
                "image"
            )
        for turn in self.history:
            if not isinstance(turn, Turn):
                raise TypeError(f"query history holds {turn!r}; give Turn(role, parts)")
        if self.raw and (self.history or self.begun):
            raise ValueError("a raw query has no history and no begun answer; write all of its words into text")

    @classmethod
    def from_parts(cls, parts: Parts, history: Sequence[Turn] = (), *, begun: str = "", raw: bool = False) -> Query:
        """A query from ("text", words) and ("image", image) parts in the order shown.

        `text` is the texts joined by line breaks.
        """
        check_kinds(parts)
        layout = tuple(str(value) if kind == "text" else None for kind, value in parts)
        images = tuple(value for kind, value in parts if kind == "image")
        text = "\n".join(part for part in layout if part is not None)
        return cls(
            text, images, () if layout == (None,) * len(images) + (text,) else layout, tuple(history), begun, raw
        )

    def parts(self) -> list[tuple[str, ImageLike]]:
        """("text", words) and ("image", image) parts of the request in the order shown."""
        images = iter(self.images)
        layout = self.layout or (None,) * len(self.images) + (self.text,)
        return [("image", next(images)) if part is None else ("text", part) for part in layout]

    def turns(self) -> list[Turn]:
        """The whole conversation, the request at hand last."""
        return [*self.history, Turn("user", tuple(self.parts()))]

    @property
    def all_images(self) -> tuple[ImageLike, ...]:
        """The images of the whole conversation in the order shown."""
        return tuple(image for turn in self.history for image in turn.images) + self.images

    def without_images(self) -> Query:
        """The same conversation as text alone; a turn of images alone stays as an empty one."""
        texts = [tuple(part for part in turn.parts if part[0] == "text") or (("text", ""),) for turn in self.history]
        history = tuple(Turn(turn.role, parts) for turn, parts in zip(self.history, texts))
        return replace(self, images=(), layout=(), history=history)

    def with_blank_images(self, kind: str = "white") -> Query:
        """The same conversation with every image replaced by a meaningless one of the same size.

        One without images gets a blank image of the subject's own input size in the request.
        """
        if not self.all_images:
            return replace(self, images=(BlankImage(kind),), layout=())
        return self.with_each_image(lambda image: BlankImage(kind, image_size(image)))

    def with_each_image(self, change: Callable[[ImageLike], ImageLike]) -> Query:
        """The same conversation with `change(image)` in every image's place."""
        history = tuple(
            Turn(turn.role, tuple((kind, change(value) if kind == "image" else value) for kind, value in turn.parts))
            for turn in self.history
        )
        return replace(self, images=tuple(change(image) for image in self.images), history=history)

    def with_text(self, text: str) -> Query:
        """Another request beside the same images, which stand before it, after the same conversation."""
        return replace(self, text=text, layout=())

    def wrapped(self, before: str, after: str) -> Query:
        """The same request with words put before its first and after its last word."""
        layout = list(self.layout)
        texts = [index for index, part in enumerate(layout) if part is not None]
        if texts:
            layout[texts[0]] = f"{before}{layout[texts[0]]}"
            layout[texts[-1]] = f"{layout[texts[-1]]}{after}"
        elif layout:
            layout.append(before + after)
        return replace(self, text=before + self.text + after, layout=tuple(layout))


def check_kinds(parts: Parts) -> None:
    """ValueError for a part that is neither text nor an image."""
    for kind, _ in parts:
        if kind not in ("text", "image"):
            raise ValueError(f"a part of kind {kind!r} can't be put to a guarded model; it takes text and images")


def check_images(images: Sequence[object]) -> None:
    """TypeError for what is neither the path of an image nor one of Pillow's, or a BlankImage."""
    for image in images:
        if not isinstance(image, (str, Path, Image.Image, BlankImage)):
            remedy = "Image.fromarray(array)" if hasattr(image, "shape") else "a path or an image of Pillow's"
            raise TypeError(f"an image of a query is a {type(image).__name__}; give {remedy}")


def image_size(image: ImageLike) -> tuple[int, int] | None:
    """(width, height) in pixels of an image as it is shown, not decoded; None for a BlankImage of default size."""
    if isinstance(image, BlankImage):
        return image.size
    if isinstance(image, Image.Image):
        return shown_size(image)
    with open_image(image) as opened:
        return shown_size(opened)


def shown_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of an image that is turned as its camera has noted (EXIF), and reduced where it is very large."""
    if image.format == "TIFF":
        image = ImageOps.exif_transpose(image)  # some versions of Pillow give its size as shown, some as stored
    width, height = reduced_size(image.size)
    return (height, width) if image.getexif().get(ORIENTATION) in (5, 6, 7, 8) else (width, height)


ORIENTATION = 0x0112
"""EXIF's tag of how a camera was held: 1 is upright, 5 to 8 lie on their side."""
LARGEST = 1 << 26
"""Pixels of an image that is read as it is (8192 x 8192); of a larger one REDUCED are kept. Above twice Pillow's own
bound (179 million) an image is refused as a decompression bomb."""
REDUCED = 1 << 24
"""More than any image processor here keeps: of those that take an image by its area, Qwen2-VL's takes the most, 12.8
million."""
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises on an image that is missing, damaged (SyntaxError: a broken chunk of a PNG) or far too large."""


def open_image(path: str | Path) -> Image.Image:
    """Open an image file; ValueError names the file and why it can't be read."""
    try:
        check_ordinary(path)
        return Image.open(path)
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def read_image(image: str | Path | Image.Image, mode: str = "RGB") -> Image.Image:
    """An image's pixels, decoded and upright, in one of Pillow's modes; one of more than LARGEST pixels reduced.

    ValueError as in `open_image`, damaged pixels included.
    """
    try:
        if isinstance(image, Image.Image):
            return upright(image, mode)
        check_ordinary(image)
        with Image.open(image) as opened:
            return upright(opened, mode, ours=True)
    except UNREADABLE as error:
        raise unreadable(image, error) from error


def upright(image: Image.Image, mode: str, ours: bool = False) -> Image.Image:
    """An image in one of Pillow's modes, turned as its camera has noted, and reduced where it is very large.

    ours: nobody else sees the image, so a JPEG need not be decoded whole. Raises as `in_mode`.
    """
    size = reduced_size(image.size)
    if size == image.size:
        return in_mode(ImageOps.exif_transpose(image), mode)
    if ours:
        image.draft(None, size)
    image.load()  # which turns a TIFF by itself
    orientation = image.getexif().get(ORIENTATION, 1)
    plain = image if image.mode in ("RGB", "L") else in_mode(image, mode)
    small = in_mode(plain.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0), mode)
    small.getexif()[ORIENTATION] = orientation
    return ImageOps.exif_transpose(small)


def reduced_size(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of an image of this size as it is read."""
    width, height = size
    if width * height <= LARGEST:
        return size
    share = (REDUCED / (width * height)) ** 0.5
    return max(1, round(width * share)), max(1, round(height * share))


def check_ordinary(path: str | Path) -> None:
    """ValueError for a pipe or a device, which may never come to its end."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError("it is no ordinary file")


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """An image in one of Pillow's modes of 8 bits a channel; of 16 bits the upper 8 count.

    Pillow itself would cut off everything above 255. ValueError for floating-point pixels, whose range nobody knows.
    """
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits a channel")
    if image.mode == "I" or image.mode.startswith("I;16"):
        low, high = cast("tuple[int, int]", image.getextrema())
        if low < 0 or high > 65535:
            raise ValueError("its pixels lie outside of 16 bits; save it with 8 or 16 bits a channel")
        if image.mode != "I" or high > 255:
            image = image.convert("I").point(lambda level: level * (1 / 257))
        image = image.convert("L")
    return image.convert(mode)


def unreadable(image: str | Path | Image.Image, error: BaseException) -> ValueError:
    """The error that tells which image could not be read, and why."""
    named = "in memory" if isinstance(image, Image.Image) else repr(str(image))
    return ValueError(f"image {named} can't be read ({error}); give a readable PNG or JPEG file")
