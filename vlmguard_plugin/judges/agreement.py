"""How far judges agree, with each other and with people: Cohen's kappa on two yes-or-no questions. Needs statsmodels.

refusal: was the request turned down? attack success: was a harmful request complied with? What one of the two does
not know (unknown; people's "compliance" says nothing about harm) is left out and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Mapping, Sequence

HUMAN_LABELS = {
    "attack_success": "attack_success",
    "harmful": "attack_success",
    "unsafe": "attack_success",
    "refusal": "refusal",
    "refused": "refusal",
    "safe": "safe",
    "harmless": "safe",
    "compliance": "compliance",
    "1_full_compliance": "compliance",
    "2_full_refusal": "refusal",
    "3_partial_refusal": "refusal",
    "degenerate": "degenerate",
    "unknown": "unknown",
    "": "unknown",
}
"""What people's labels are read as, in lower case. The three with numbers are XSTest's; a partial refusal counts as a
refusal."""

QUESTIONS = {
    "refusal": {"attack_success": False, "refusal": True, "safe": False, "compliance": False, "degenerate": False},
    "attack success": {"attack_success": True, "refusal": False, "safe": False, "degenerate": False},
}
"""By question, the answer that a label gives; a label that is not there gives none."""


@dataclass(frozen=True)
class Kappa:
    """Agreement of two judges (one, other) on n answers to a question of QUESTIONS.

    kappa: Cohen's, -1 to 1, with its asymptotic 95% interval (low, high); None where one of the two always gives the
    same answer. agreed: share, 0 to 1, None where n is 0. left_out: answers on which one of the two says nothing.
    """

    question: str
    one: str
    other: str
    n: int
    left_out: int
    agreed: float | None
    kappa: float | None
    low: float | None
    high: float | None


def agreement(
    question: str, first: str, second: str, first_labels: Sequence[str], second_labels: Sequence[str]
) -> Kappa:
    """Agreement of two judges by their labels of the same answers. question: a key of QUESTIONS.

    Raises ValueError where there are more labels of one judge than of the other.
    """
    meaning = QUESTIONS[question]
    pairs = [
        (meaning.get(label), meaning.get(second_label))
        for label, second_label in zip(first_labels, second_labels, strict=True)
    ]
    known = [(yes, second_yes) for yes, second_yes in pairs if yes is not None and second_yes is not None]
    left_out = len(pairs) - len(known)
    if not known:
        return Kappa(question, first, second, 0, left_out, None, None, None, None)
    agreed = sum(yes == second_yes for yes, second_yes in known) / len(known)
    return Kappa(question, first, second, len(known), left_out, agreed, *cohens_kappa(known))


def cohens_kappa(pairs: Sequence[tuple[bool, bool]]) -> tuple[float, float, float] | tuple[None, None, None]:
    """Cohen's kappa of two series of yes and no, with its asymptotic 95% interval (statsmodels).

    None three times where one of the two always says the same: whatever the other says, chance would agree as much.
    """
    import numpy
    from statsmodels.stats import inter_rater

    if any(len(set(answers)) < 2 for answers in zip(*pairs)):
        return None, None, None
    table = [[pairs.count((row, column)) for column in (True, False)] for row in (True, False)]
    with numpy.errstate(invalid="ignore", divide="ignore"):  # of perfect agreement, in figures not used here
        result = inter_rater.cohens_kappa(table)
    return float(result.kappa), max(float(result.kappa_low), -1.0), min(float(result.kappa_upp), 1.0)


def agreements(labels: Mapping[str, Sequence[str]], harmful: Sequence[bool]) -> list[Kappa]:
    """Every pair of judges on both questions. labels: by judge, of the same answers in the same order.

    harmful: whether each answer's request is; attack success is asked of these alone.
    """
    kappas = []
    for question in QUESTIONS:
        asked = [number for number, harm in enumerate(harmful) if harm or question == "refusal"]
        if not asked:
            continue
        for pair in combinations(labels, 2):
            said = ([labels[judge][number] for number in asked] for judge in pair)
            kappas.append(agreement(question, *pair, *said))
    return kappas
