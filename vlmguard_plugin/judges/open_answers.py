"""How right an open answer is, by the rules that visual question answering is published with: 0 to 1, no model.

Each rule takes the words of an answer and the accepted ones, as a data set lists them. They follow the definitions as
VLMEvalKit applies them, its departures from the papers included, so that a figure is the host's own.
"""

from __future__ import annotations

import re
from typing import Callable, Sequence

Rule = Callable[[str, Sequence[str]], "float | None"]
"""(words of the answer, accepted answers) -> 0 to 1; None where the answer can't be read."""

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
FULL_STOP = re.compile(r"(?<!\d)\.(?!\d)")
STOPS = 32
"""So many full stops are taken out: the original rule hands a flag where the number belongs, and its figures stand."""
DIGITS = dict(
    zip("none zero one two three four five six seven eight nine ten".split(), "0 0 1 2 3 4 5 6 7 8 9 10".split())
)
ARTICLES = ("a", "an", "the")
CONTRACTIONS = {
    short.replace("'", ""): short
    for short in (
        "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't how'd how'll how's isn't it'd "
        "it'll ma'am might've mightn't must've mustn't needn't not've o'clock oughtn't shan't should've shouldn't "
        "someone'd someone'll someone's something'd something'll that's there'd there're there's they'd they'll "
        "they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's where've "
        "who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've he'd "
        "he's"
    ).split()
}
MOST_RELATIVE = 0.05
"""A number is right within this share of the true one."""
LEAST_SIMILAR = 0.5
"""Less similarity than this is none."""
FORMULAS = "Handwritten Mathematical Expression Recognition"
"""The category of OCRBench in which case counts and spaces don't."""


def vqa_accuracy(answer: str, accepted: Sequence[str]) -> float:
    """VQA accuracy: the mean, over the people asked, of min(1, how many of the others said the same / 3).

    S. Antol et al., ICCV 2015, arXiv 1505.00468, with its normalisation of words.
    """
    given = normalised(answer)
    people = [normalised(one) for one in accepted]
    agreeing = people.count(given)
    shares = [min(1.0, (agreeing - (one == given)) / 3) for one in people]
    return sum(shares) / len(shares)


def normalised(words: str) -> str:
    """Words as VQA compares them: lower case, digits for number words, no articles, hardly any punctuation."""
    text = without_punctuation(words.replace("\n", " ").replace("\t", " ").strip())
    kept = [DIGITS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in kept if word not in ARTICLES)


def without_punctuation(text: str) -> str:
    """Text in which a mark beside a space (all, where a comma parts digits) is nothing, any other one a space."""
    parts_digits = re.search(r"\d,\d", text) is not None
    table: dict[str, str | int | None] = {
        mark: "" if parts_digits or f"{mark} " in text or f" {mark}" in text else " "
        for mark in PUNCTUATION
        if mark in text
    }
    return FULL_STOP.sub("", text.translate(str.maketrans(table)), count=STOPS)


def anls(answer: str, accepted: Sequence[str]) -> float:
    """Average normalised Levenshtein similarity to the nearest accepted answer; none below LEAST_SIMILAR.

    A. F. Biten et al., ICCV 2019, arXiv 1905.13648.
    """
    best = max(similarity(answer, one) for one in accepted)
    return best if best >= LEAST_SIMILAR else 0.0


def similarity(one: str, other: str) -> float:
    """1 less the edits between two texts, without case and outer spaces, over the longer one's length in capitals."""
    longest = max(len(one.upper()), len(other.upper()))  # a letter may have several as its capital
    first, second = (" ".join(text.lower().split()) for text in (one, other))
    if not longest or abs(len(first) - len(second)) > longest * LEAST_SIMILAR:
        return 0.0 if longest else 1.0
    return 1 - edits(first, second) / longest


def edits(one: str, other: str) -> int:
    """Levenshtein's distance."""
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, start=1):
        above, row = row, [place]
        for column, other_letter in enumerate(other):
            row.append(min(above[column] + (letter != other_letter), above[column + 1] + 1, row[-1] + 1))
    return row[-1]


def relaxed(answer: str, accepted: Sequence[str]) -> float:
    """Relaxed accuracy: numbers within MOST_RELATIVE of the true one, anything else to the letter but for case.

    A. Masry et al., Findings of ACL 2022, arXiv 2203.10244.
    """
    return float(any(nearly(answer.strip(), one) for one in accepted))


def nearly(given: str, wanted: str) -> bool:
    """Whether one answer is right under relaxed accuracy."""
    number, true_number = as_number(given), as_number(wanted)
    if number is None or not true_number:
        return given.lower() == wanted.lower()
    return abs(number - true_number) / abs(true_number) <= MOST_RELATIVE  # nothing is near what is not finite


def as_number(text: str) -> float | None:
    """A number or a percentage; None where the text is neither."""
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def same(answer: str, accepted: Sequence[str]) -> float:
    """Exact match but for case and outer spaces, of any accepted answer."""
    return float(answer.strip().lower() in [one.strip().lower() for one in accepted])


def contained(answer: str, accepted: Sequence[str]) -> float:
    """OCRBench: any accepted answer stands in the answer. Y. Liu et al., arXiv 2305.07895."""
    said = answer.lower().strip().replace("\n", " ")
    return float(any(one.lower().strip().replace("\n", " ") in said for one in accepted))


def contained_formula(answer: str, accepted: Sequence[str]) -> float:
    """The same for OCRBench's category FORMULAS."""
    said = re.sub(r"[ \n]", "", answer.strip())
    return float(any(re.sub(r"[ \n]", "", one.strip()) in said for one in accepted))


def contained_as_written(answer: str, accepted: Sequence[str]) -> float:
    """CountBenchQA: the accepted answer stands in the answer, letter by letter."""
    return float(any(one in answer for one in accepted))


def yes_or_no(answer: str, accepted: Sequence[str]) -> float | None:
    """Whether yes or no was said, just one of them, and rightly; None where neither or both were."""
    said = set(without_punctuation(answer.lower()).split()) & {"yes", "no"}
    return float(accepted[0].strip().lower() in said) if len(said) == 1 else None
