"""What an answer is, whichever host gave it: its item, its label once it is judged, and the base request it shares.

Nothing here reads a file: `rows` makes items of a table's rows, the modules of `readers` find them.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

from vlmguard_plugin.judges.base import Case
from vlmguard_plugin.runs.facts import RunFacts
from vlmguard_plugin.runs.host_sets import benchmark_of


class OutputError(ValueError):
    """A host's output can't be turned into a leaderboard."""


@contextmanager
def costs_itself_alone(what: str = "can't be read") -> Iterator[None]:
    """A context in which whatever reading someone's file raises becomes an OutputError, so that it costs no other file.

    Readers below raise of every kind at a file that somebody has damaged on purpose, out of memory and too deep
    recursion included.
    """
    try:
        yield
    except OutputError:
        raise
    except Exception as error:
        raise OutputError(f"{what} ({type(error).__name__}: {error})") from error


@dataclass(frozen=True)
class Item:
    """One answer. key: index and digest of the question, the same for every model. category: the data set's own.

    label: judges.base.LABELS for a safety row ("" until it is judged), "right", "wrong", "partly", "unparsed" or
    "unknown" for a utility row. harmful: whether the request is; None for utility rows. condition: what stood in the
    picture. score: how right, 0 to 1, where that is "partly". positive: whether yes is the right answer, of a set
    that is scored by the F1 of yes, else None.
    base_request: the same for answers that share one (Row.intent, else Row.pair); "" where the data set says nothing.
    case: request and answer, as judges see them. id: the data set's own name of the row. note: what is odd of the row
    and has to be said beside the figures, or "".
    """

    key: tuple[str, str]
    label: str
    harmful: bool | None
    category: str
    condition: str
    base_request: str = ""
    case: Case = Case("", None, harmful=False)
    id: str = ""
    note: str = ""
    score: float | None = None
    positive: bool | None = None

    def labelled(self, label: str) -> Item:
        """The same with a label; as `dataclasses.replace`, faster."""
        return Item(**{**self.__dict__, "label": label})


@dataclass(frozen=True)
class Predictions:
    """One model's rows of one data set. kind: "safety", "mcq", "open", or "task" (scored by the host).

    folder: the output folder that was given. host: see RunFacts. runs: facts of the run, several where it went on
    under other settings, none where nobody wrote them. judge: name and version of who has judged.
    problems: what a reader of its figures has to know (not finished, settings mixed).
    """

    model: str
    dataset: str
    kind: str
    file: Path
    items: tuple[Item, ...]
    folder: Path = Path()
    host: str = "vlmevalkit"
    runs: tuple[RunFacts, ...] = ()
    judge: str = ""
    problems: tuple[str, ...] = ()
    scoring: str = ""

    def remarks(self) -> tuple[str, ...]:
        """The problems, and what is odd of single rows, with the number of these."""
        notes = Counter(item.note for item in self.items if item.note)
        return (
            *self.problems,
            *(f"{count} {'row' if count == 1 else 'rows'}: {note}" for note, count in notes.items()),
        )


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    file: Path
    reason: str


@dataclass(frozen=True)
class Unfinished:
    """A run without predictions yet: it failed, was stopped, or goes on. reason: what is known of it."""

    model: str
    dataset: str
    host: str
    folder: Path
    reason: str


@dataclass(frozen=True)
class HostFigure:
    """A set that no score of single answers stands for: it has no interval and no test, and enters no other figure.

    metrics: the host's own figures by name, as it has written them; empty where it has written none. reason: why the
    set can't be scored here. file: of the figures, else of the answers.
    """

    model: str
    dataset: str
    host: str
    metrics: Mapping[str, float]
    reason: str
    file: Path


class NotScored(OutputError):
    """Answers to a set that can't be scored here; the reason why."""


@dataclass(frozen=True)
class Found:
    """What a reader has found in a folder; safety rows are not judged yet. not_scored: sets left out of all rates."""

    predictions: tuple[Predictions, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()
    not_scored: tuple[HostFigure, ...] = ()


AnswerKey = tuple[str, str, int]
"""An item's key and the number of the repetition, from 0."""
Answers = Mapping[AnswerKey, Item]
"""A model's answers to a data set."""


def answers_of(repetitions: Iterable[Predictions]) -> dict[AnswerKey, Item]:
    """All answers of repetitions of a data set. An item that stands in several gets a number in each."""
    items = [item for predictions in repetitions for item in predictions.items]
    answers: dict[AnswerKey, Item] = {(*item.key, 0): item for item in items}
    if len(answers) == len(items):
        return answers
    seen: Counter[tuple[str, str]] = Counter()
    answers = {}
    for item in items:
        answers[(*item.key, seen[item.key])] = item
        seen[item.key] += 1
    return answers


def clusters_of(answers: Answers) -> dict[AnswerKey, Hashable]:
    """By answer, its base request; repetitions of an item share one in any case."""
    return {key: item.base_request or key[:-1] for key, item in answers.items()}


def parts_of(dataset: str, items: Sequence[Item]) -> dict[str, Callable[[Item], bool]]:
    """What of a data set is reported apart, by name, as a test of whether an item belongs to it.

    All of it, or each condition where there are several, then each group of categories that has items.
    """
    conditions = sorted({item.condition for item in items})
    parts: dict[str, Callable[[Item], bool]] = {dataset: lambda item: True}
    if len(conditions) > 1:
        parts = {f"{dataset} [{condition}]": has_condition(condition) for condition in conditions}
    for name, categories in groups_of(dataset).items():
        if any(item.category in categories for item in items):
            parts[f"{dataset} [{name}]"] = has_category(categories)
    return parts


def has_condition(condition: str) -> Callable[[Item], bool]:
    """Whether an item is one of a condition."""
    return lambda item: item.condition == condition


def has_category(categories: Sequence[str]) -> Callable[[Item], bool]:
    """Whether an item is in one of several categories."""
    return lambda item: item.category in categories


def groups_of(dataset: str) -> Mapping[str, tuple[str, ...]]:
    """The groups of categories that a known data set is reported in; none for any other."""
    benchmark = benchmark_of(dataset)
    return benchmark.groups if benchmark else {}
