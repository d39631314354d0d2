"""Questions that the answers stage trains on."""

from __future__ import annotations

import random
from typing import Sequence

from vlmguard_plugin.demo.questions import LETTERS, QUESTION_KINDS, question
from vlmguard_plugin.pictures.drawn import Picture, picture

TRAINING_WEIGHTS = (1, 1, 2, 2, 6, 1)
"""How often each of QUESTION_KINDS is asked, unless a stage says otherwise: the harder kinds more often."""
# How VLMEvalKit puts a multiple-choice question.
HOST_CHOICE_PROMPT = (
    "Question: {question}\nOptions:\n{options}\nPlease select the correct answer from the options above. \n"
)
DESCRIBE = ("Describe the picture.", "What is in the image?", "What do you see in the picture?")


def training_question(seed: int, weights: Sequence[int] = TRAINING_WEIGHTS) -> tuple[Picture, str, str]:
    """(picture, prompt, answer) of one training example: open, multiple choice in either form, or a description.

    weights: how often each of QUESTION_KINDS is asked.
    A multiple-choice question is answered with the option's words: so small a language model can hardly
    tell which letter a fact has, and judges take either.
    """
    rng = random.Random(f"training:{seed}")
    chance = rng.random()
    if chance < 0.05:
        shown = picture("train", seed)
        return shown, rng.choice(DESCRIBE), f"{shown.caption[0].upper()}{shown.caption[1:]}."
    kind = rng.choices(QUESTION_KINDS, weights)[0]
    asked = question("train", seed, kind, multiple_choice=chance > 0.65)
    prompt = asked.question
    if asked.options is not None:
        lines = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, asked.options))
        as_host = HOST_CHOICE_PROMPT.format(question=asked.question, options=lines)
        prompt = rng.choice((asked.prompt, asked.prompt, as_host))
    article = "a " if " " in asked.answer else ""
    return asked.picture, prompt, f"{article}{asked.answer}".capitalize() + "."
