"""Questions about the demo's pictures, with exact answers: its utility set, open and multiple choice.

Six kinds: the colour of a shape, its name, how many there are, what is on which side, the written word, the
written digit. Answers follow from the pictures' facts, so nothing has to be labelled; `score` reads an answer
by the rules of judges.exact (the right words stand in it and no other answer that the kind can have does).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from vlmguard_plugin.benchmarks.row import choice_prompt
from vlmguard_plugin.judges.exact import Score, judge_choice, judge_open
from vlmguard_plugin.pictures.drawn import COUNTS, NUMBER_WORDS, Picture, picture, plural, words
from vlmguard_plugin.pictures.shapes import COLOURS, SHAPES

QUESTION_KINDS = ("colour", "shape", "count", "side", "word", "digit")
LETTERS = "ABCD"

# {shape} and {shapes} are filled in from the picture where the sentence has them.
WORDINGS = {
    "colour": ("What color is the shape?", "What color is the {shape} in the picture?"),
    "shape": ("What shape is in the picture?", "Which shape do you see?"),
    "count": ("How many shapes are in the picture?", "How many {shapes} are there?"),
    "word": ("What word is written in the picture?", "Read the word in the image."),
    "digit": ("Which digit is written in the picture?", "What number do you see in the image?"),
}


@dataclass(frozen=True)
class VisualQuestion:
    """One question about one picture.

    answer: the right answer in words ("red", "three", "left"). options: four of them, the right one among
    them, or None where the question is open. rivals: what else the answer to an open question could be.
    """

    id: str
    kind: str
    picture: Picture
    question: str
    answer: str
    options: tuple[str, ...] | None = None
    rivals: tuple[str, ...] = ()

    @property
    def letter(self) -> str | None:
        """The right option's letter; None where the question is open."""
        return None if self.options is None else LETTERS[self.options.index(self.answer)]

    @property
    def prompt(self) -> str:
        """The question as it is put to the model."""
        return self.question if self.options is None else choice_prompt(self.question, self.options)


def questions(split: str, n: int, seed: int = 0) -> list[VisualQuestion]:
    """n questions about pictures of a split: all kinds in turn, a round of open ones, then one of multiple choice.

    The same split, n and seed give the same questions; a larger n goes on where a smaller one ended.
    """
    if n < 1:
        raise ValueError(f"number of questions is {n}; it must be at least 1")
    rounds = len(QUESTION_KINDS)
    return [
        question(split, seed * 1_000_000 + number, QUESTION_KINDS[number % rounds], bool(number // rounds % 2))
        for number in range(n)
    ]


def question(split: str, seed: int, kind: str, multiple_choice: bool) -> VisualQuestion:
    """One question of a kind about a picture made for it."""
    if kind not in QUESTION_KINDS:
        raise ValueError(f"question kind is {kind!r}; choose one of {', '.join(QUESTION_KINDS)}")
    rng = random.Random(f"question:{split}:{seed}:{kind}:{multiple_choice}")
    shown = picture(split, seed, picture_kind(kind, rng))
    if kind == "side":
        text, answer, possible = side_question(shown, rng, multiple_choice)
    else:
        names = {"shape": shown.shape, "shapes": shown.shape and plural(shown.shape, 2)}
        text = rng.choice(WORDINGS[kind]).format(**names)
        answer, possible = fact(shown, kind), possible_answers(kind)
    others = [option for option in possible if option != answer]
    options = None
    if multiple_choice:
        options = [answer] + rng.sample(others, len(LETTERS) - 1)
        rng.shuffle(options)
    return VisualQuestion(
        id=f"{split}-{kind}-{'choice' if multiple_choice else 'open'}-{seed}",
        kind=kind,
        picture=shown,
        question=text,
        answer=answer,
        options=tuple(options) if options else None,
        rivals=() if multiple_choice else tuple(others),
    )


def picture_kind(kind: str, rng: random.Random) -> str:
    """A kind of picture that a kind of question can be asked about."""
    if kind in ("word", "digit"):
        return kind
    if kind == "side":
        return "pair"
    if kind == "count":
        return "count" if rng.random() < len(COUNTS) / (len(COUNTS) + 1) else "single"
    return "single"


def fact(shown: Picture, kind: str) -> str:
    """The right answer to a question of a kind, except which side."""
    if kind == "count":
        return NUMBER_WORDS[shown.count or 0]
    return str({"colour": shown.colour, "shape": shown.shape, "word": shown.word, "digit": shown.digit}[kind])


def possible_answers(kind: str) -> tuple[str, ...]:
    """Every answer that a kind of question can have, except which side."""
    return {
        "colour": tuple(COLOURS),
        "shape": SHAPES,
        "count": NUMBER_WORDS[1:],
        "word": words(),
        "digit": tuple(str(digit) for digit in range(10)),
    }[kind]


def side_question(shown: Picture, rng: random.Random, multiple_choice: bool) -> tuple[str, str, tuple[str, ...]]:
    """(question, answer, possible answers) about a pair: which side a shape is on, or what is on one side.

    Multiple choice always asks for the shape, among both shapes shown and their colours exchanged.
    """
    if shown.left is None or shown.right is None:
        raise ValueError(f"a picture of kind {shown.kind!r} has no sides")
    left, right = " ".join(shown.left), " ".join(shown.right)
    side = rng.choice(("left", "right"))
    here = left if side == "left" else right
    if not multiple_choice and rng.random() < 0.5:
        return f"On which side of the picture is the {here}, left or right?", side, ("left", "right")
    possible = {left: None, right: None}
    if not multiple_choice:
        return f"What is on the {side} side of the picture?", here, tuple(possible)
    while len(possible) < len(LETTERS):
        colour = rng.choice((shown.left[0], shown.right[0], rng.choice(tuple(COLOURS))))
        possible[f"{colour} {rng.choice((shown.left[1], shown.right[1], rng.choice(SHAPES)))}"] = None
    return f"What is on the {side} side of the picture?", here, tuple(possible)


def score(asked: VisualQuestion, answer: str) -> Score:
    """Whether an answer is right: the right option's letter or text, or the right words and no rival's."""
    if asked.options is None or asked.letter is None:
        return judge_open(answer, asked.answer, asked.rivals)
    return judge_choice(answer, asked.letter, dict(zip(LETTERS, asked.options)))
