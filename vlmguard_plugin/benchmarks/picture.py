"""Pictures of benchmark rows: what goes with a text request, and files as bytes."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from vlmguard_plugin.benchmarks.row import BenchmarkError
from vlmguard_plugin.benchmarks.table import not_led_out
from vlmguard_plugin.pictures.meaningless import PLAIN_COLOURS, meaningless
from vlmguard_plugin.pictures.photos import photos_in
from vlmguard_plugin.query import ORIENTATION, reduced_size, upright
from vlmguard_plugin.reading import read_bytes

CONDITIONS = ("blank", *PLAIN_COLOURS, "noise")
"""Names of the meaningless pictures."""
EVERY_CONDITION = ("text", *CONDITIONS, "picture")
"""What can stand beside a text request: nothing, a meaningless picture, or pictures of the user's."""
LARGEST_SIZE = 4096


def beside(
    condition: str, count: int, size: int = 336, images: str | Path | None = None
) -> list[tuple[Path | Image.Image, ...]]:
    """What stands beside each of `count` text requests, in their order.

    condition: "text" (nothing), one of CONDITIONS (the same meaningless picture everywhere), or "picture": the
    pictures of the folder `images` in the order of their names, from the start again when they are used up.
    size: edge of a meaningless picture in pixels, 1 to 4096.
    Every picture that is used is decoded once; BenchmarkError names one that can't be, because leaving it out would
    give all later requests other pictures.
    """
    if condition == "text":
        return [()] * count
    if condition != "picture":
        if condition not in CONDITIONS:
            raise BenchmarkError(f"condition is {condition!r}; choose one of {', '.join(EVERY_CONDITION)}")
        if not isinstance(size, int) or not 1 <= size <= LARGEST_SIZE:
            raise BenchmarkError(f"image size is {size!r}; give a whole number from 1 to {LARGEST_SIZE}")
        return [(meaningless(condition, (size, size)),)] * count
    if images is None:
        raise BenchmarkError("condition picture needs the option images: a folder of pictures, as images=my_pictures")
    files = pictures_in(Path(str(images)))[:count]
    for file in files:
        check_picture(file)
    return [(files[number % len(files)],) for number in range(count)]


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, in the order of their names; at least one, or BenchmarkError."""
    try:
        pictures = photos_in(folder, "images")
    except ValueError as error:
        raise BenchmarkError(str(error)) from error
    return [not_led_out(folder, path) for path in pictures]


def check_picture(path: Path) -> None:
    """Raise BenchmarkError, naming the file, where it is no whole picture."""
    encoded(path)


def encoded(picture: Path | Image.Image | bytes) -> bytes:
    """A picture as bytes of a PNG or JPEG file: the file's own where it is one, else a new PNG.

    Raises BenchmarkError, naming the file, where it can't be decoded.
    """
    if isinstance(picture, Image.Image):
        return as_png(picture)
    named = "its image" if isinstance(picture, bytes) else f"image {picture}"
    try:
        content = picture if isinstance(picture, bytes) else read_bytes(Path(picture))
        with Image.open(io.BytesIO(content)) as opened:
            opened.load()
            as_shown = opened.getexif().get(ORIENTATION, 1) == 1 and reduced_size(opened.size) == opened.size
            if opened.format in ("PNG", "JPEG") and opened.mode in ("RGB", "RGBA", "L", "P", "1") and as_shown:
                return content
            return as_png(opened)
    except FileNotFoundError as error:
        raise BenchmarkError(f"{named} is not there; put it beside the questions") from error
    except UnidentifiedImageError as error:
        raise BenchmarkError(f"{named} is no picture; replace it by a whole PNG or JPEG") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BenchmarkError(f"{named} can't be read ({error}); replace it by a whole PNG or JPEG") from error


def as_png(picture: Image.Image) -> bytes:
    """A picture as bytes of a PNG file, in RGB and upright; a very large one reduced, as it will be read."""
    buffer = io.BytesIO()
    try:
        upright(picture, "RGB").save(buffer, format="PNG")
    except ValueError as error:
        raise BenchmarkError(f"a picture can't be used: {error}") from error
    return buffer.getvalue()
