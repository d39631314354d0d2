"""Pictures of benchmark rows: meaningless ones to go with a text request, and files as bytes."""

from __future__ import annotations

import io
import random
from pathlib import Path

from PIL import Image

from .row import BenchmarkError

BLANKS = {"blank": (255, 255, 255), "white": (255, 255, 255), "black": (0, 0, 0), "gray": (128, 128, 128)}
"""RGB of the plain pictures; "blank" is white, because a data set knows no model's mean colour."""
CONDITIONS = (*BLANKS, "noise")
NOISE_SEED = 0
NOISE_MEAN, NOISE_DEVIATION = 128, 64
LARGEST_SIZE = 4096


def meaningless(condition: str, size: int = 336) -> Image.Image:
    """A square RGB picture without content.

    condition: one of CONDITIONS; "noise" is Gaussian, mean 128 and deviation 64 of 255, the same every time.
    size: edge in pixels, 1 to 4096; 336 is LLaVA-1.5's input.
    """
    if not isinstance(size, int) or not 1 <= size <= LARGEST_SIZE:
        raise BenchmarkError(f"image size is {size!r}; give a whole number from 1 to {LARGEST_SIZE}")
    if condition in BLANKS:
        return Image.new("RGB", (size, size), BLANKS[condition])
    if condition != "noise":
        raise BenchmarkError(f"picture condition is {condition!r}; choose one of {', '.join(CONDITIONS)}")
    draw = random.Random(NOISE_SEED)
    values = (round(draw.gauss(NOISE_MEAN, NOISE_DEVIATION)) for _ in range(3 * size * size))
    return Image.frombytes("RGB", (size, size), bytes(min(max(value, 0), 255) for value in values))


def check_picture(path: Path) -> None:
    """Raise BenchmarkError, naming the file, where it is no whole picture."""
    encoded(path)


def encoded(picture: Path | Image.Image) -> bytes:
    """A picture as bytes of a PNG or JPEG file: the file's own where it is one, else a new PNG.

    Raises BenchmarkError, naming the file, where it can't be decoded.
    """
    if isinstance(picture, Image.Image):
        return as_png(picture)
    try:
        content = Path(picture).read_bytes()
        with Image.open(io.BytesIO(content)) as opened:
            opened.load()
            if opened.format in ("PNG", "JPEG") and opened.mode in ("RGB", "RGBA", "L", "P", "1"):
                return content
            return as_png(opened)
    except FileNotFoundError as error:
        raise BenchmarkError(f"image {picture} is not there; put it beside the questions") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BenchmarkError(f"image {picture} can't be read ({error}); replace it by a whole PNG or JPEG") from error


def as_png(picture: Image.Image) -> bytes:
    """A picture as bytes of a PNG file, in RGB."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="PNG")
    return buffer.getvalue()
