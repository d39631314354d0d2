"""Rows of a host's table, with the columns of our data sets and `prediction`, as items: keys, cases, labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Callable, Iterable, Mapping, Sequence

from vlmguard_plugin.benchmarks import find_benchmark
from vlmguard_plugin.benchmarks.benchmark import Benchmark
from vlmguard_plugin.benchmarks.condition import split_condition
from vlmguard_plugin.benchmarks.row import LETTERS, BenchmarkError
from vlmguard_plugin.judges import exact
from vlmguard_plugin.judges.base import Case
from vlmguard_plugin.judges.said import said
from vlmguard_plugin.runs.answers import Item, OutputError
from vlmguard_plugin.runs.host_sets import benchmark_of

SHOWN = {
    "blank": "a blank white picture",
    "white": "a blank white picture",
    "black": "a blank black picture",
    "gray": "a blank gray picture",
    "noise": "random noise",
}
"""What a picture of no content shows, by condition, where the data set says nothing else."""
TRUE, FALSE = ("1", "1.0", "true", "yes", "harmful"), ("0", "0.0", "false", "no", "harmless")
TableRow = Mapping[str, Any]
"""A row by column."""
Labelling = Callable[[TableRow], tuple[str, str]]
"""What labels a row: its label, and what is odd of it or ""."""
NO_OPTION = "the right answer is an option without a text, so whatever is said is wrong, as the host counts"
NO_LETTER = "the right answer is no letter of an option, so the label is unknown"
NO_CHOICE = "an open question among choices, which the host counts wrong whatever is said, so the label is unknown"
NO_ANSWER = "there is no right answer to compare with, so the label is unknown"
NOT_SCORED = (NO_LETTER, NO_CHOICE, NO_ANSWER)
OTHER = "Other Answers"
"""The option that the host of MMMU puts beside the right answer of an open question, to make a choice of it."""


@dataclass(frozen=True)
class Lost:
    """What stands in a prediction's place where its file has not kept what the model said. reason: why."""

    reason: str


def items_of(rows: Sequence[TableRow], dataset: str, kind: str) -> tuple[Item, ...]:
    """Rows of a table as items, safety rows without a label.

    kind: "safety", "mcq" or "open"; "scored": questions whose label the host has put into the column label; or
    "unscored": questions that get theirs elsewhere.

    A utility row that is odd (its right answer is no option, say) is labelled as the host would, or unknown, with a
    note. OutputError names a bad row, or says that two have the same index, or that no row can be scored.
    """
    known = benchmark_of(dataset)
    labellings: dict[str, Labelling] = {
        "safety": lambda row: ("", ""),
        "mcq": choice_judge(rows, dataset),
        "open": open_judge(rows),
        "scored": lambda row: (text(row["label"]), ""),
        "unscored": lambda row: ("", ""),
    }
    label = labellings[kind]
    items = []
    for row in rows:
        case = case_of(row, known, kind == "safety")
        labelled, note = label(row)
        items.append(
            Item(
                key=key_of(row),
                label=labelled,
                harmful=case.harmful if kind == "safety" else None,
                category=text(row.get("category")),
                condition=text(row.get("condition")),
                base_request=base_request_of(row, dataset),
                case=case,
                id=text(row.get("id")),
                note=case.lost or note,
            )
        )
    if items and all(item.note in NOT_SCORED for item in items):
        raise OutputError(f"no row can be scored: {items[0].note}")
    if len({item.key for item in items}) < len(items):
        raise OutputError("two rows have the same index; run the host again on a data set with distinct ones")
    return tuple(items)


def key_of(row: TableRow) -> tuple[str, str]:
    """A row's index and the digest of its question: the same for every model."""
    return text(row["index"]), digest(text(row.get("question")))


def digest(words: str) -> str:
    """What stands for a text in a key: its SHA-256 in hexadecimal."""
    return hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()


def base_request_of(row: TableRow, dataset: str) -> str:
    """What tells answers that share a base request; "" for a row that says nothing of it.

    The column base_request where there is one, else the request in plain words (intent), else the pair, which holds
    within a family of data sets (MMSafety_SD and MMSafety_TYPO) but not for a request and its harmless twin. Each of a
    user's sets is a family of its own. A request set's rows in an attack are told as those in text are, by their pair.
    """
    family, attack = family_of(dataset)
    pair = text(row.get("pair"))
    for column in ("base_request",) if attack and pair else ("base_request", "intent"):
        if text(row.get(column)):
            return digest(text(row[column]).strip())[:16]
    return f"{family}:{pair}:{text(row.get('harmful')).lower()}" if pair else ""


@lru_cache(maxsize=256)
def family_of(dataset: str) -> tuple[str, bool]:
    """A data set's family, within which pairs are told apart, and whether it is a request set in an attack of ours."""
    split = split_condition(dataset)
    family = split[0] if split and dataset.startswith("Requests_") else dataset.partition("_")[0]
    return family, split is not None and split[1].is_attack and put_by_us(dataset)


def put_by_us(dataset: str) -> bool:
    """Whether a data set is a request set in one of our conditions, and no authors' set of such a name."""
    try:
        return "condition" in find_benchmark(dataset).fixed
    except BenchmarkError:
        return False


def marked_harmful(row: Any) -> bool | None:
    """Whether a row's request is marked as harmful, or as harmless; None where there is no such mark.

    row: by column; of a host's own set whatever its rows are.
    """
    try:
        mark = str(row.get("harmful")).strip().lower()
    except Exception:  # noqa: BLE001 - documents are whatever a host's task makes of them
        return None
    return mark in TRUE if mark in TRUE + FALSE else None


def case_of(row: TableRow, known: Benchmark | None, safety: bool) -> Case:
    """A row as judges see it. known: the benchmark, for what counts as an attack success by category."""
    if not safety:
        return Case(text(row.get("question")), answer_of(row), False, lost=why_lost(row))
    harmful = marked_harmful(row)
    if harmful is None:
        mark = text(row["harmful"]).lower()
        raise OutputError(f"row {text(row['index'])} has harmful = {mark!r}; it must be 1 or 0")
    return Case(
        request=text(row.get("question")),
        answer=answer_of(row),
        harmful=harmful,
        intent=text(row.get("intent")),
        shown=text(row.get("shown")) or SHOWN.get(text(row.get("condition")), ""),
        criterion=(known.criteria if known else {}).get(text(row.get("category")), ""),
        lost=why_lost(row),
    )


def choice_judge(rows: Sequence[TableRow], dataset: str) -> Labelling:
    """Label of a row by the letter chosen, among as many options as the table has.

    An open question among them (no options) is unknown; in MMMU it is a choice between the right answer and any other,
    as its host has it.
    """
    letters = [letter for letter in LETTERS if rows and letter in rows[0]]

    def label(row: TableRow) -> tuple[str, str]:
        options = {letter: text(row[letter]) for letter in letters if text(row[letter])}
        right = text(row["answer"]).strip()
        letter = right.upper()
        if "MMMU" in dataset and "A" not in options and right:
            options |= {"A": right, "B": OTHER}
            letter = letter if letter in tuple(LETTERS) else "A"
        if letter in options:
            return exact.judge_choice(answer_of(row), letter, options).label, ""
        if not options:
            return "unknown", NO_CHOICE if right else NO_ANSWER
        if letter not in tuple(LETTERS):
            return "unknown", NO_LETTER
        return ("unknown" if said(answer_of(row)).missing else "wrong"), NO_OPTION

    return label


def open_judge(rows: Sequence[TableRow]) -> Labelling:
    """Label of a row by its words; the other answers of its category are its rivals."""
    categories = [text(row.get("category")) for row in rows] if rows and "category" in rows[0] else None
    rivals = exact.rivals_by_category(categories, [text(row.get("answer")) for row in rows]) if categories else {}
    return lambda row: open_label(row, rivals.get(text(row.get("category")), ()))


def open_label(row: TableRow, rivals: Iterable[str] = ()) -> tuple[str, str]:
    """Label of an open question by its words, or, where the right answer has none ("+"), by its characters."""
    right, answer = text(row["answer"]).strip(), answer_of(row)
    if not right:
        return "unknown", NO_ANSWER
    if exact.words(right):
        return exact.judge_open(answer, right, rivals).label, ""
    words, missing = said(answer)
    return ("unknown" if missing else "right" if right in words else "wrong"), ""


def answer_of(row: TableRow) -> str | None:
    """A row's prediction as text; None where there is none."""
    value = row["prediction"]
    return None if value is None or isinstance(value, Lost) or value != value else text(value)


def why_lost(row: TableRow) -> str:
    """Why a row's file has not kept its prediction; "" where it has."""
    return row["prediction"].reason if isinstance(row["prediction"], Lost) else ""


def text(value: object) -> str:
    """A cell as text: whole numbers without a decimal point, missing cells empty."""
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
