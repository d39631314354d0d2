"""Pictures of text: black words on white in the free font that comes with Pillow (Aileron), so no font file is needed.

The same text gives the same picture wherever Pillow is the same.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import cast

from PIL import Image, ImageDraw, ImageFont, features

from vlmguard_plugin.benchmarks.row import BenchmarkError

SMALLEST_FONT = 12
LINE_HEIGHT = 1.2
"""Distance of lines, as a share of the font's size."""
LARGEST_EDGE = 4096


def draw_text(text: str, width: int = 1024, height: int | None = None, font_size: int = 90) -> Image.Image:
    """Words as a greyscale picture ("L"), wrapped between words, from the upper left corner on.

    text: its line ends are kept; a line that is too long is wrapped. width, height: in pixels, up to 4096; without a
    height the picture is as high as its lines need. font_size: of the letters in pixels; smaller, down to 12, where a
    word is wider than the picture or the lines are higher. Letters that the font lacks are drawn as the plain ones they
    are made of ("é" as "e"), dashes and quotes as those of a keyboard. Raises BenchmarkError for a text without words,
    one that fits at no size, and for letters that can't be had so (it has those of English) and signs that would mean
    something else (10² as 102).
    """
    text = "".join(plain(letter) for letter in unicodedata.normalize("NFC", text))
    if not text.strip():
        raise BenchmarkError("there is no text to draw; give at least a word")
    for name, edge in (("width", width), ("height", height), ("font size", font_size)):
        if edge is not None and (not isinstance(edge, int) or not SMALLEST_FONT <= edge <= LARGEST_EDGE):
            raise BenchmarkError(f"{name} is {edge!r}; give a whole number from {SMALLEST_FONT} to {LARGEST_EDGE}")
    lacking = sorted({letter for letter in text if not letter.isspace() and not drawable(letter)})
    if lacking:
        letters = ", ".join(map(repr, lacking))
        raise BenchmarkError(f"the font has no {letters:.80} of {text!r:.80}; it has the letters of English")
    for size in range(font_size, SMALLEST_FONT - 1, -2):
        most = int((height or LARGEST_EDGE) / (LINE_HEIGHT * size))
        lines = wrapped(text, font_at(size), width - 2 * margin(size), most)
        needed = 2 * margin(size) + round(len(lines or ()) * LINE_HEIGHT * size)
        if lines and needed <= (height or LARGEST_EDGE):
            break
    else:
        raise BenchmarkError(
            f"{text!r:.80} does not fit {width} x {height or LARGEST_EDGE} pixels; give a larger picture"
        )
    picture = Image.new("L", (width, height or needed), 255)
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        pen.text((margin(size), margin(size) + round(number * LINE_HEIGHT * size)), line, fill=0, font=font_at(size))
    return picture


KEYBOARD = dict.fromkeys(range(0x2010, 0x2016), "-")
KEYBOARD |= dict.fromkeys((0x2018, 0x2019, 0x201A), "'") | dict.fromkeys((0x201C, 0x201D, 0x201E), '"')
"""Dashes and quotes of print, and those of a keyboard."""


RAISED = ("<super>", "<fraction>")
"""Kinds of signs that are others beside a number when they stand on its line: 10² and 2½."""


def plain(letter: str) -> str:
    """A letter itself where the font has it, else what it is made of, else itself.

    Only a letter may lose marks: of a sign all parts are drawn or none ("≠" is not "=").
    """
    if letter.isspace() or drawable(letter) or unicodedata.decomposition(letter).startswith(RAISED):
        return letter
    parts = unicodedata.normalize("NFKD", letter.translate(KEYBOARD))
    if unicodedata.category(letter).startswith("L"):
        parts = "".join(part for part in parts if not unicodedata.category(part).startswith("M"))
    return parts if parts and all(map(drawable, parts)) else letter


def wrapped(text: str, font: ImageFont.FreeTypeFont, room: float, most: int) -> list[str] | None:
    """The lines of a text that are no wider than room, in pixels; None where a word alone is wider, or for more lines
    than most.
    """
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            if len(lines) > most:
                return None
            if font.getlength(word) > room:
                return None
            longer = f"{line} {word}".strip()
            if font.getlength(longer) > room:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines if len(lines) <= most else None


def margin(size: int) -> int:
    """Free pixels around the text, for a font's size."""
    return size // 4


@cache
def font_at(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font. Basic layout, because the other one depends on a library that not every Pillow has."""
    if not features.check("freetype2"):
        raise BenchmarkError("this Pillow was built without FreeType, which draws text; install Pillow from its wheel")
    font = cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))  # of a size: never the bitmap font
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)


@cache
def drawable(letter: str) -> bool:
    """Whether the font has a letter: one that it lacks looks like U+FFFF, which no font has."""
    drawn, absent = (font_at(32).getmask(character) for character in (letter, "\uffff"))
    return (drawn.size, bytes(drawn)) != (absent.size, bytes(absent))
