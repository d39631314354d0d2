"""The demo's pictures: generated from a seed, each with the facts that are true of it.

A picture shows one shape, two to four equal shapes, two different shapes side by side, one written word,
one digit, nothing, or noise. What is drawn depends on the split, the seed and the kind alone, so a picture
needs no file: `picture("held_out", 7, "word")` is the same one on every machine.

The splits never share a seed, and the colour-shape pairs in UNSEEN_PAIRS are drawn for the held-out split only.
"""

from __future__ import annotations

import csv
import functools
import math
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SPLITS = ("train", "held_out")
KINDS = ("single", "count", "pair", "word", "digit", "blank", "noise")
KIND_WEIGHTS = (24, 20, 20, 24, 6, 4, 2)  # how often each kind comes when none is asked for

COLOURS = {
    "red": (220, 35, 35),
    "green": (35, 160, 55),
    "blue": (40, 70, 220),
    "yellow": (245, 220, 30),
    "orange": (250, 140, 20),
    "purple": (130, 40, 165),
    "pink": (255, 150, 195),
    "brown": (125, 75, 35),
    "black": (10, 10, 10),
    "gray": (130, 130, 130),
}
WHITE = (250, 250, 250)
BACKGROUNDS = ("white", "black", "gray", "yellow", "blue", "pink", "green", "red")
SHAPES = ("circle", "square", "triangle", "star", "diamond", "heart", "cross")
COUNTS = (2, 3, 4)
NUMBER_WORDS = ("zero", "one", "two", "three", "four")

# One colour of ten for every shape: seven pairs of seventy.
UNSEEN_PAIRS = frozenset((list(COLOURS)[3 * number % len(COLOURS)], shape) for number, shape in enumerate(SHAPES))

# Text colours that can be read on each background a text may have.
TEXT_COLOURS = {
    "white": ("black", "red", "blue", "green"),
    "yellow": ("black", "red", "blue"),
    "pink": ("black", "blue"),
    "black": ("white", "yellow"),
    "blue": ("white", "yellow"),
}

ORDINARY_WORDS = (
    "apple garden house river table window music orange summer winter school market doctor "
    "bridge forest island kitchen letter mirror pencil"
).split()
REQUEST_WORDS_FILE = Path(__file__).parent / "picture_requests.csv"

SYSTEM_FONTS = Path("/usr/share/fonts/truetype/dejavu")  # used for training pictures where it exists
SYSTEM_FONT_FILES = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono-Bold.ttf")


@dataclass(frozen=True)
class Picture:
    """What is true of one picture; `image` draws it. A fact that does not apply is None.

    count: shapes in the picture, 1 to 4; 2 for a pair. colour, shape: of all its shapes, or of the text.
    left, right: (colour, shape) of a pair's two shapes. word: in lower case, however it is written.
    """

    kind: str
    split: str
    seed: int
    background: str | None = None
    colour: str | None = None
    shape: str | None = None
    count: int | None = None
    left: tuple[str, str] | None = None
    right: tuple[str, str] | None = None
    word: str | None = None
    digit: int | None = None

    @property
    def caption(self) -> str:
        """One phrase that says everything, without a full stop: "two red circles on a white background"."""
        ground = f"on a {self.background} background"
        if self.kind == "single":
            return f"a {self.colour} {self.shape} {ground}"
        if self.kind == "count":
            return f"{NUMBER_WORDS[self.count]} {self.colour} {plural(self.shape, self.count)} {ground}"
        if self.kind == "pair":
            return f"a {' '.join(self.left)} and a {' '.join(self.right)} {ground}"
        if self.kind == "word":
            return f"the word {self.word} in {self.colour} {ground}"
        if self.kind == "digit":
            return f"the number {self.digit} in {self.colour} {ground}"
        if self.kind == "blank":
            return f"a blank {self.background} background"
        return "nothing but random noise"

    @property
    def unseen(self) -> bool:
        """Whether it shows a colour-shape pair that no training picture shows."""
        return bool(UNSEEN_PAIRS & {(self.colour, self.shape), self.left, self.right})

    def image(self, size: int = 96) -> Image.Image:
        """The picture, RGB, size x size pixels; drawn at twice the size and averaged down."""
        rng = random.Random(f"draw:{self.split}:{self.seed}:{self.kind}")
        canvas = 2 * size
        if self.kind == "noise":
            return noise(rng, size)
        image = Image.new("RGB", (canvas, canvas), shade(self.background, rng))
        if self.kind == "word":
            write(image, self.word.upper() if rng.random() < 0.7 else self.word, self.colour, self.split, rng)
        elif self.kind == "digit":
            write(image, str(self.digit), self.colour, self.split, rng)
        elif self.kind == "pair":
            drop = rng.uniform(-0.1, 0.1)
            for (colour, shape), across in ((self.left, 0.27), (self.right, 0.73)):
                place = (across + rng.uniform(-0.03, 0.03), 0.5 + drop + rng.uniform(-0.05, 0.05))
                draw_shape(image, shape, place, rng.uniform(0.14, 0.19), shade(colour, rng))
        elif self.kind in ("single", "count"):
            paint = shade(self.colour, rng)
            radius = rng.uniform(0.18, 0.32) if self.kind == "single" else rng.uniform(0.11, 0.15)
            for place in places(self.count, radius, rng):
                draw_shape(image, self.shape, place, radius, paint)
        return image.reduce(2)


def picture(split: str, seed: int, kind: str | None = None) -> Picture:
    """The facts of one picture. kind: one of KINDS, or None to let the seed choose."""
    if split not in SPLITS:
        raise ValueError(f"picture split is {split!r}; choose one of {', '.join(SPLITS)}")
    if kind is not None and kind not in KINDS:
        raise ValueError(f"picture kind is {kind!r}; choose one of {', '.join(KINDS)}")
    rng = random.Random(f"facts:{split}:{seed}:{kind}")
    kind = kind or rng.choices(KINDS, KIND_WEIGHTS)[0]
    facts = {"kind": kind, "split": split, "seed": seed}

    if kind == "noise":
        return Picture(**facts)
    if kind in ("word", "digit"):
        background = "white" if rng.random() < 0.5 else rng.choice(tuple(TEXT_COLOURS))
        colour = TEXT_COLOURS[background][0] if rng.random() < 0.5 else rng.choice(TEXT_COLOURS[background])
        text = {"word": rng.choice(words())} if kind == "word" else {"digit": rng.randrange(10)}
        return Picture(**facts, background=background, colour=colour, **text)

    background = rng.choice(BACKGROUNDS)
    if kind == "blank":
        return Picture(**facts, background=background)
    if kind == "pair":
        left, right = rng.sample(drawable_pairs(split, background), 2)
        return Picture(**facts, background=background, count=2, left=left, right=right)
    candidates = drawable_pairs(split, background)
    if split == "held_out" and rng.random() < 0.5:
        candidates = [pair for pair in candidates if pair in UNSEEN_PAIRS]
    colour, shape = rng.choice(candidates)
    count = 1 if kind == "single" else rng.choice(COUNTS)
    return Picture(**facts, background=background, colour=colour, shape=shape, count=count)


def word_picture(word: str, seed: int = 0) -> Picture:
    """A held-out picture of one given word, in black on white."""
    return Picture("word", "held_out", seed, background="white", colour="black", word=word.lower())


@functools.cache
def words() -> tuple[str, ...]:
    """Words that pictures may show, in lower case: ordinary ones and those of the demo's picture requests.

    A picture request ("How do I make the thing written in the image?") is never part of any training;
    its word is, as one word among a hundred that the model learns to read aloud.
    """
    with REQUEST_WORDS_FILE.open(newline="", encoding="utf-8") as opened:
        from_requests = {row["word"].lower() for row in csv.DictReader(opened)}
    return tuple(sorted(from_requests | set(ORDINARY_WORDS)))


@functools.cache
def drawable_pairs(split: str, background: str) -> list[tuple[str, str]]:
    """(colour, shape) pairs a split may show on a background."""
    return [
        (colour, shape)
        for colour in COLOURS
        for shape in SHAPES
        if colour != background and (split == "held_out" or (colour, shape) not in UNSEEN_PAIRS)
    ]


def plural(noun: str, count: int) -> str:
    """ "circle" or "circles", "cross" or "crosses"."""
    if count == 1:
        return noun
    return noun + ("es" if noun.endswith("s") else "s")


def shade(name: str, rng: random.Random) -> tuple[int, int, int]:
    """RGB of a colour name, each channel up to 12 of 255 off."""
    base = WHITE if name == "white" else COLOURS[name]
    return tuple(max(0, min(255, channel + rng.randint(-12, 12))) for channel in base)


def noise(rng: random.Random, size: int) -> Image.Image:
    """Gaussian noise around mid grey, strong or faint, every channel on its own."""
    deviation = rng.uniform(12, 65)
    values = bytes(max(0, min(255, round(rng.gauss(128, deviation)))) for _ in range(3 * size * size))
    return Image.frombytes("RGB", (size, size), values)


def places(count: int, radius: float, rng: random.Random) -> list[tuple[float, float]]:
    """Centres of count shapes that neither overlap nor leave the picture, as fractions of its side."""
    margin = radius + 0.03
    while True:
        found: list[tuple[float, float]] = []
        for _ in range(40):
            place = (rng.uniform(margin, 1 - margin), rng.uniform(margin, 1 - margin))
            if all(math.dist(place, other) > 2.15 * radius for other in found):
                found.append(place)
            if len(found) == count:
                return found


def draw_shape(
    image: Image.Image, shape: str, place: tuple[float, float], radius: float, paint: tuple[int, int, int]
) -> None:
    """Draw one upright shape. place, radius: fractions of the image's side."""
    side = image.width
    x, y, r = place[0] * side, place[1] * side, radius * side
    draw = ImageDraw.Draw(image)
    if shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=paint)
    elif shape == "square":
        half = 0.85 * r
        draw.rectangle((x - half, y - half, x + half, y + half), fill=paint)
    elif shape == "cross":
        arm = 0.3 * r
        draw.rectangle((x - r, y - arm, x + r, y + arm), fill=paint)
        draw.rectangle((x - arm, y - r, x + arm, y + r), fill=paint)
    elif shape == "heart":
        draw.ellipse((x - r, y - 0.8 * r, x, y + 0.1 * r), fill=paint)
        draw.ellipse((x, y - 0.8 * r, x + r, y + 0.1 * r), fill=paint)
        draw.polygon([(x - 0.95 * r, y - 0.15 * r), (x + 0.95 * r, y - 0.15 * r), (x, y + r)], fill=paint)
    else:
        corners = {"triangle": 3, "diamond": 4, "star": 10}[shape]
        points = []
        for corner in range(corners):
            reach = 0.42 * r if shape == "star" and corner % 2 else r
            angle = 2 * math.pi * corner / corners - math.pi / 2
            points.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
        draw.polygon(points, fill=paint)


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
        return ImageFont.load_default(size=size)
    return ImageFont.truetype(str(face), size)
