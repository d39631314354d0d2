"""The answers that a page holds where they are asked for: those whose label a guard has changed."""

from __future__ import annotations

from dataclasses import dataclass

from vlmguard_plugin.leaderboard.board import Board
from vlmguard_plugin.leaderboard.participants import participants_of
from vlmguard_plugin.runs.answers import Item, answers_of

ANSWERS = 200
"""At most this many answers a model and data set."""


@dataclass(frozen=True)
class Asked:
    """One request with the answers of the base (None for a model without one) and the model."""

    item: Item
    base: Item | None


@dataclass(frozen=True)
class Changed:
    """Answers of one model to one data set. left_out: how many more there are."""

    model: str
    base: str | None
    dataset: str
    shown: list[Asked]
    left_out: int


def changed_answers(board: Board) -> list[Changed]:
    """Answers whose label differs from the base's; of a model without a base its first ones."""
    participants = {participant.label: participant for participant in participants_of(board.predictions)}
    changed = []
    for label in board.models:
        base = board.bases.get(label)
        if label not in participants or base is None and label in board.bases.values():
            continue
        base_sets = participants[base].sets if base in participants else {}
        for dataset, repetitions in participants[label].sets.items():
            base_answers = answers_of(base_sets.get(dataset, ()))
            asked = [Asked(item, base_answers.get(key)) for key, item in answers_of(repetitions).items()]
            if base is not None:
                asked = [each for each in asked if each.base is not None and each.base.label != each.item.label]
            changed.append(Changed(label, base, dataset, asked[:ANSWERS], max(len(asked) - ANSWERS, 0)))
    return sorted(changed, key=lambda answers: answers.dataset)
