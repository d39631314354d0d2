"""Words and digits, as drawn pictures show them."""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import cast

from PIL import Image, ImageDraw, ImageFont

from vlmguard_plugin.pictures.shapes import shade

SYSTEM_FONTS = Path("/usr/share/fonts/truetype/dejavu")
"""Used for training pictures where it exists."""
SYSTEM_FONT_FILES = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono-Bold.ttf")


def write(image: Image.Image, text: str, colour: str, split: str, rng: random.Random) -> None:
    """Write a word or a digit near the middle, as large as the picture's width lets it be, or a little smaller."""
    side = image.width
    face = rng.choice(typefaces(split))
    stroke = rng.choice((0, 0, 1))  # a stroke makes the bundled font bold
    high = 0.6 if len(text) == 1 else 0.34
    widest = side * rng.uniform(0.84, 0.94)
    size = int(side * high * rng.uniform(0.85, 1.0))
    length = typeface(face, 100).getlength(text) / 100
    size = max(8, min(size, int((widest - 4 * stroke) / length)))
    place = (side * rng.uniform(0.49, 0.51), side * rng.uniform(0.44, 0.56))
    ImageDraw.Draw(image).text(
        place, text, fill=shade(colour, rng), font=typeface(face, size), anchor="mm", stroke_width=stroke
    )


@functools.cache
def typefaces(split: str) -> tuple[Path | None, ...]:
    """Fonts a split's texts are set in; None is the one inside Pillow, the only one held-out pictures use."""
    if split == "held_out":
        return (None,)
    installed = [SYSTEM_FONTS / name for name in SYSTEM_FONT_FILES if (SYSTEM_FONTS / name).is_file()]
    return (None,) * max(1, len(installed)) + tuple(installed)


@functools.cache
def typeface(face: Path | None, size: int) -> ImageFont.FreeTypeFont:
    """A font at a size in pixels."""
    if face is None:
        return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=size))  # of a size: never the bitmap font
    return ImageFont.truetype(str(face), size)
