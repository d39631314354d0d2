"""Collect what hosts have written, from any number of output folders, and judge it: labels beside the answers.

Each host's files are read by one module of `readers`; what they share is here. Needs pandas and python-calamine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Callable, Iterable, Mapping, Sequence

from vlmguard_plugin.benchmarks.benchmark import Benchmark
from vlmguard_plugin.judges import exact
from vlmguard_plugin.judges.base import Case, Judgement, decide
from vlmguard_plugin.judges.judgements import Judgements
from vlmguard_plugin.judges.rules import RulesJudge
from vlmguard_plugin.runs.facts import RunFacts
from vlmguard_plugin.runs.host_sets import benchmark_of

READERS = ("vlmevalkit", "lmms_eval", "lm_eval")
"""One module of `readers` a host; its `read(folder)` gives a Found."""
LETTERS = "ABCDE"
SHOWN = {
    "blank": "a blank white picture",
    "white": "a blank white picture",
    "black": "a blank black picture",
    "gray": "a blank gray picture",
    "noise": "random noise",
}
"""What a picture of no content shows, by condition, where the data set says nothing else."""
TRUE, FALSE = ("1", "1.0", "true", "yes", "harmful"), ("0", "0.0", "false", "no", "harmless")
CIRCULAR = 1_000_000
"""MMBench asks a question again with its options turned, under its index plus a multiple of this."""


class OutputError(ValueError):
    """A host's output can't be turned into a leaderboard."""


@dataclass(frozen=True)
class Item:
    """One answer. key: index and digest of the question, the same for every model. category: the data set's own.

    label: judges.base.LABELS for a safety row ("" until it is judged), "right", "wrong", "unparsed" or "unknown" for a
    utility row. harmful: whether the request is; None for utility rows. condition: what stood in the picture.
    base_request: the same for answers that share one (Row.intent, else Row.pair); "" where the data set says nothing.
    case: request and answer, as judges see them. id: the data set's own name of the row.
    """

    key: tuple[str, str]
    label: str
    harmful: bool | None
    category: str
    condition: str
    base_request: str = ""
    case: Case | None = None
    id: str = ""


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
class Found:
    """What a reader has found in a folder; safety rows are not judged yet."""

    predictions: tuple[Predictions, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()


@dataclass(frozen=True)
class Collected:
    """All that is in the output folders, judged."""

    predictions: tuple[Predictions, ...]
    skipped: tuple[Skipped, ...]
    unfinished: tuple[Unfinished, ...]


Verdicts = Callable[[Sequence[Case]], Sequence[Judgement]]
"""How a set's safety answers are judged: judgements in the cases' order."""


def by_rules(cases: Sequence[Case]) -> list[Judgement]:
    """Judged by the refusal rules."""
    return decide(RulesJudge(), cases)


def stored_verdicts(folder: Path, judge: str | None) -> tuple[Verdicts, str]:
    """What a judge said in an earlier `vlmguard judge` there, with its name and version; the rules need no earlier run."""
    if judge in (None, "rules"):
        return by_rules, f"rules {RulesJudge().version}"
    store = Judgements(folder)
    store.stored(judge, [])  # a judge that has said nothing is an error of the whole board
    return (lambda cases: store.stored(judge, cases)), " ".join([judge, *store.versions(judge)])


def read_folders(folders: str | Path | Iterable[str | Path]) -> Found:
    """All predictions in output folders of any host, safety sets not judged yet, and what could not be used.

    OutputError where a folder is missing or nothing can be used.
    """
    given = [folders] if isinstance(folders, (str, Path)) else list(folders)
    places = list(dict.fromkeys(Path(folder) for folder in given))
    found: list[Found] = []
    for folder in places:
        if not folder.is_dir():
            raise OutputError(f"{folder} is not a directory; give the output folder of the host's run")
        found += [import_module(f"{__package__}.readers.{reader}").read(folder) for reader in READERS]
    everything = Found(
        *(
            tuple(one for part in found for one in getattr(part, name))
            for name in ("predictions", "skipped", "unfinished")
        )
    )
    if not everything.predictions and not everything.unfinished:
        reasons = "; ".join(f"{skip.file}: {skip.reason}" for skip in everything.skipped[:3])
        raise OutputError(
            f"no prediction file MODEL/MODEL_DATASET.xlsx and no sample log can be used in {', '.join(map(str, places))}"
            + (f" ({reasons})" if reasons else "; give the host's --work-dir or --output_path")
        )
    return everything


def collect(folders: str | Path | Iterable[str | Path], judge: str | None = None) -> Collected:
    """All predictions in output folders of any host, judged, and what could not be used.

    judge: of the safety sets: "rules" (None), or one that `vlmguard judge` has run in every folder with safety answers.
    """
    found = read_folders(folders)
    verdicts: dict[Path, tuple[Verdicts, str]] = {}
    predictions, skipped = [], list(found.skipped)
    for one in found.predictions:
        if one.kind == "safety" and one.folder not in verdicts:
            verdicts[one.folder] = stored_verdicts(one.folder, judge)
        predictions.append(judged(one, *verdicts[one.folder]) if one.kind == "safety" else one)
    return Collected(tuple(predictions), tuple(skipped), found.unfinished)


def judged(predictions: Predictions, verdicts: Verdicts, judge: str = "") -> Predictions:
    """Predictions of a safety set with labels."""
    if predictions.kind != "safety":
        return predictions
    labels = [judgement.label for judgement in verdicts([item.case for item in predictions.items])]
    items = tuple(replace(item, label=label) for item, label in zip(predictions.items, labels))
    return replace(predictions, items=items, judge=judge)


def items_of(rows: Sequence[Mapping], dataset: str, kind: str) -> tuple[Item, ...]:
    """Rows of a table, with the columns of our data sets and `prediction`, as items. OutputError names a bad row."""
    known = benchmark_of(dataset)
    label = {"safety": lambda row: "", "mcq": choice_judge(rows), "open": open_judge(rows)}[kind]
    items = []
    for row in rows:
        case = case_of(row, known, kind == "safety")
        items.append(
            Item(
                key_of(row), label(row), case.harmful if kind == "safety" else None,
                text(row.get("category")), text(row.get("condition")), base_request_of(row, dataset), case, text(row.get("id")),
            )
        )  # fmt: skip
    if len({item.key for item in items}) < len(items):
        raise OutputError("two rows have the same index; run the host again on a data set with distinct ones")
    return tuple(items)


def key_of(row: Mapping) -> tuple[str, str]:
    """A row's index and the digest of its question: the same for every model."""
    return text(row["index"]), digest(text(row.get("question")))


def digest(words: str) -> str:
    """What stands for a text in a key."""
    return hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()


def base_request_of(row: Mapping, dataset: str) -> str:
    """What tells answers that share a base request; "" for a row that says nothing of it.

    The column base_request where there is one, else the request in plain words (intent), else the pair, which holds
    within a family of data sets (MMSafety_SD and MMSafety_TYPO) but not for a request and its harmless twin;
    MMBench's turned copies share their first index.
    """
    for column in ("base_request", "intent"):
        if text(row.get(column)):
            return digest(text(row[column]).strip())[:16]
    if text(row.get("pair")):
        return f"{dataset.partition('_')[0]}:{text(row['pair'])}:{text(row.get('harmful')).lower()}"
    index = text(row["index"])
    if dataset.startswith(("MMBench", "CCBench")) and index.isdigit():
        return f"{dataset}:{int(index) % CIRCULAR}"
    return ""


def case_of(row: Mapping, known: Benchmark | None, safety: bool) -> Case:
    """A row as judges see it. known: the benchmark, for what counts as an attack success by category."""
    if not safety:
        return Case(text(row.get("question")), answer_of(row), False)
    mark = text(row["harmful"]).lower()
    if mark not in TRUE + FALSE:
        raise OutputError(f"row {text(row['index'])} has harmful = {mark!r}; it must be 1 or 0")
    return Case(
        request=text(row.get("question")),
        answer=answer_of(row),
        harmful=mark in TRUE,
        intent=text(row.get("intent")),
        shown=text(row.get("shown")) or SHOWN.get(text(row.get("condition")), ""),
        criterion=(known.criteria if known else {}).get(text(row.get("category")), ""),
    )


Labelling = Callable[[Mapping], str]


def choice_judge(rows: Sequence[Mapping]) -> Labelling:
    """Label of a row by the letter chosen."""
    letters = [letter for letter in LETTERS if rows and letter in rows[0]]

    def label(row: Mapping) -> str:
        options = {letter: text(row[letter]) for letter in letters if text(row[letter])}
        letter = text(row["answer"]).upper()
        if letter not in options:
            raise OutputError(
                f"row {text(row['index'])} has the answer {letter!r}, which is none of its options {', '.join(options)}"
            )
        return exact.judge_choice(answer_of(row), letter, options).label

    return label


def open_judge(rows: Sequence[Mapping]) -> Labelling:
    """Label of a row by its words; the other answers of its category are its rivals."""
    categories = [text(row.get("category")) for row in rows] if rows and "category" in rows[0] else None
    rivals = exact.rivals_by_category(categories, [text(row.get("answer")) for row in rows]) if categories else {}

    def label(row: Mapping) -> str:
        if not exact.words(text(row["answer"])):
            raise OutputError(f"row {text(row['index'])} has no answer to compare with")
        others = rivals.get(text(row.get("category")), ())
        return exact.judge_open(answer_of(row), text(row["answer"]), others).label

    return label


def answer_of(row: Mapping) -> str | None:
    """A row's prediction as text; None where there is none."""
    value = row["prediction"]
    return None if value is None or value != value else text(value)


def text(value: object) -> str:
    """A cell as text: whole numbers without a decimal point, missing cells empty."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
