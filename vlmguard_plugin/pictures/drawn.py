"""Pictures of the demo and of calibration: generated from a seed, each with the facts that are true of it.

A picture shows one shape, two to four equal shapes, two different shapes side by side, one written word,
one digit, nothing, or noise. What is drawn depends on the split, the seed and the kind alone, so a picture
needs no file: `picture("held_out", 7, "word")` is the same one on every machine.

The splits never share a seed, and the colour-shape pairs in UNSEEN_PAIRS are drawn for the held-out split only.
"""

from __future__ import annotations

import csv
import functools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

from vlmguard_plugin.pictures.lettering import write
from vlmguard_plugin.pictures.shapes import COLOURS, SHAPES, draw_shape, noise, places, shade

SPLITS = ("train", "held_out")
KINDS = ("single", "count", "pair", "word", "digit", "blank", "noise")
KIND_WEIGHTS = (24, 20, 20, 24, 6, 4, 2)
"""How often each kind comes, of 100, when none is asked for."""

BACKGROUNDS = ("white", "black", "gray", "yellow", "blue", "pink", "green", "red")
COUNTS = (2, 3, 4)
NUMBER_WORDS = ("zero", "one", "two", "three", "four")

UNSEEN_PAIRS = frozenset((list(COLOURS)[3 * number % len(COLOURS)], shape) for number, shape in enumerate(SHAPES))
"""(colour, shape): one colour of ten for every shape, seven pairs of seventy."""

TEXT_COLOURS = {
    "white": ("black", "red", "blue", "green"),
    "yellow": ("black", "red", "blue"),
    "pink": ("black", "blue"),
    "black": ("white", "yellow"),
    "blue": ("white", "yellow"),
}
"""By background that a text may have, the text colours that can be read on it."""

ORDINARY_WORDS = (
    "apple garden house river table window music orange summer winter school market doctor "
    "bridge forest island kitchen letter mirror pencil"
).split()
REQUEST_WORDS_FILE = Path(__file__).parent / "picture_requests.csv"

Fact = TypeVar("Fact")


def stated(fact: Fact | None) -> Fact:
    """A fact that pictures of a kind have. Raises ValueError for a Picture that was made without it."""
    if fact is None:
        raise ValueError("a picture lacks a fact of its kind; make pictures with `picture` or `word_picture`")
    return fact


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
            count = stated(self.count)
            return f"{NUMBER_WORDS[count]} {self.colour} {plural(stated(self.shape), count)} {ground}"
        if self.kind == "pair":
            return f"a {' '.join(stated(self.left))} and a {' '.join(stated(self.right))} {ground}"
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
        image = Image.new("RGB", (canvas, canvas), shade(stated(self.background), rng))
        if self.kind == "word":
            word = stated(self.word)
            write(image, word.upper() if rng.random() < 0.7 else word, stated(self.colour), self.split, rng)
        elif self.kind == "digit":
            write(image, str(self.digit), stated(self.colour), self.split, rng)
        elif self.kind == "pair":
            drop = rng.uniform(-0.1, 0.1)
            for (colour, shape), across in ((stated(self.left), 0.27), (stated(self.right), 0.73)):
                place = (across + rng.uniform(-0.03, 0.03), 0.5 + drop + rng.uniform(-0.05, 0.05))
                draw_shape(image, shape, place, rng.uniform(0.14, 0.19), shade(colour, rng))
        elif self.kind in ("single", "count"):
            paint = shade(stated(self.colour), rng)
            radius = rng.uniform(0.18, 0.32) if self.kind == "single" else rng.uniform(0.11, 0.15)
            for place in places(stated(self.count), radius, rng):
                draw_shape(image, stated(self.shape), place, radius, paint)
        return image.reduce(2)


def picture(split: str, seed: int, kind: str | None = None) -> Picture:
    """The facts of one picture. split: one of SPLITS. kind: one of KINDS, or None to let the seed choose.

    Raises ValueError for another split or kind.
    """
    if split not in SPLITS:
        raise ValueError(f"picture split is {split!r}; choose one of {', '.join(SPLITS)}")
    if kind is not None and kind not in KINDS:
        raise ValueError(f"picture kind is {kind!r}; choose one of {', '.join(KINDS)}")
    rng = random.Random(f"facts:{split}:{seed}:{kind}")
    kind = kind or rng.choices(KINDS, KIND_WEIGHTS)[0]

    if kind == "noise":
        return Picture(kind, split, seed)
    if kind in ("word", "digit"):
        background = "white" if rng.random() < 0.5 else rng.choice(tuple(TEXT_COLOURS))
        colour = TEXT_COLOURS[background][0] if rng.random() < 0.5 else rng.choice(TEXT_COLOURS[background])
        if kind == "word":
            return Picture(kind, split, seed, background=background, colour=colour, word=rng.choice(words()))
        return Picture(kind, split, seed, background=background, colour=colour, digit=rng.randrange(10))

    background = rng.choice(BACKGROUNDS)
    if kind == "blank":
        return Picture(kind, split, seed, background=background)
    if kind == "pair":
        left, right = rng.sample(drawable_pairs(split, background), 2)
        return Picture(kind, split, seed, background=background, count=2, left=left, right=right)
    candidates = drawable_pairs(split, background)
    if split == "held_out" and rng.random() < 0.5:
        candidates = [pair for pair in candidates if pair in UNSEEN_PAIRS]
    colour, shape = rng.choice(candidates)
    count = 1 if kind == "single" else rng.choice(COUNTS)
    return Picture(kind, split, seed, background=background, colour=colour, shape=shape, count=count)


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
