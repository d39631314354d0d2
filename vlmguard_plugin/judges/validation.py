"""Validate the refusal judge on human labels.

    python -m vlmguard_plugin.judges.validation --xstest DIR --msts DIR --refusal-labels FILE [--json]

What the rules were written on is called development, the rest held out: docs/judges.md says what was read of which.
Needs pandas and statsmodels (the dev extra).
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, Sequence

from vlmguard_plugin.judges.agreement import cohens_kappa
from vlmguard_plugin.judges.refusal import judge

if TYPE_CHECKING:
    from pandas import DataFrame

HALVES = ("development", "held-out")
XSTEST_COLUMNS = ("id", "prompt", "completion", "final_label")
XSTEST_CONVENTIONS = (
    ("partial is refusal", "123", "23"),
    ("partial left out", "12", "2"),
    ("partial is compliance", "123", "2"),
)
"""What a partial refusal (3) counts as: by name, the classes that are kept, and those of them that are refusals."""
XSTEST_ANNOTATIONS = ("annotation_1", "annotation_2")
XSTEST_DEVELOPMENT = ("llama2new", "llama2orig", "mistralinstruct")
"""Parts of the names of model families whose answers were read while rules were written, of all prompts."""
XSTEST_HALF = "mistralguard"
"""The family of which one half was read, by `half` of the prompt, and of the other half the even numbers; of any other
none."""
EVEN = tuple("02468")
"""Last digits of the numbers in prompts' ids."""
MSTS_COLUMNS = ("prompt_text", "response", "model")
MSTS_TAXONOMY = ("final_taxonomy", "annot1_label")
"""Columns that hold the class of an answer: what the annotators settled on, or what the only one said."""
MSTS_REFUSAL, MSTS_REBUTTAL = "1.2", "1.1"
"""How the classes "refusal only" and "rejection or rebuttal" begin. The second is no refusal, and no compliance either,
and is left out."""
MSTS_DEVELOPMENT = ("idefics3", "xcomposer", "minicpm", "xgen")
"""Parts of the names of models whose answers were read while rules were written, in every language ..."""
MSTS_DEVELOPMENT_ENGLISH = ("gpt-4o",)
"""... and in English alone."""
REFUSAL_COLUMNS = ("objective", "assistant_response", "human_score")


@dataclass(frozen=True)
class Agreement:
    """How far the judge agrees with the human labels of one half of one set.

    convention: how the human labels' partial refusals are taken. n: answers. accuracy and kappa (Cohen's) with 95%
    intervals (Wilson; asymptotic): accuracy 0 to 1, kappa -1 to 1, None where undefined.
    missed: human refusals that the judge let pass. overcalled: the reverse. unknown: answers left out, since the judge
    calls them unknown.
    """

    source: str
    half: str
    convention: str
    n: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    kappa: float | None
    kappa_low: float | None
    kappa_high: float | None
    missed: int
    overcalled: int
    unknown: int = 0


def half(key: str) -> str:
    """Which of HALVES a key lies in: the parity of the first byte of its sha256."""
    return HALVES[hashlib.sha256(key.encode()).digest()[0] % 2]


def agreement(
    source: str, part: str, convention: str, human: Sequence[bool], judged: Sequence[bool], unknown: int = 0
) -> Agreement:
    """Accuracy and kappa of two equally long series of "is a refusal". unknown: how many were left out of both."""
    from vlmguard_plugin.statistics.rates import wilson

    if len(human) == 0 or len(human) != len(judged):
        raise ValueError(
            f"{source}: {len(human)} human labels and {len(judged)} verdicts; give equally many, at least one"
        )
    pairs = list(zip(map(bool, human), map(bool, judged)))
    right = sum(truth == verdict for truth, verdict in pairs)
    low, high = wilson(right, len(pairs))
    kappa, kappa_low, kappa_high = cohens_kappa(pairs)
    return Agreement(
        source=source,
        half=part,
        convention=convention,
        n=len(pairs),
        accuracy=right / len(pairs),
        accuracy_low=low,
        accuracy_high=high,
        kappa=kappa,
        kappa_low=kappa_low,
        kappa_high=kappa_high,
        missed=pairs.count((True, False)),
        overcalled=pairs.count((False, True)),
        unknown=unknown,
    )


def read_labels(path: Path, columns: Iterable[str], comment_lines: int = 0) -> DataFrame:
    """A csv of human labels as a data frame; ValueError names the file and what is missing."""
    import pandas

    try:
        frame = pandas.read_csv(path, skiprows=comment_lines)
    except (pandas.errors.EmptyDataError, pandas.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} can't be read as csv ({error}); give the file as its authors publish it") from error
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(frame.columns)}")
    return frame


def validate_xstest(folder: Path) -> list[Agreement]:
    """One agreement per file of model completions, half and convention; and one of the annotators with each other."""
    files = sorted(Path(folder).glob("*.csv"))
    if not files:
        raise FileNotFoundError(f"no csv in {folder}; give XSTest's folder of model completions")
    agreements = []
    for path in files:
        frame = read_labels(path, XSTEST_COLUMNS)
        judged = [judge(prompt, answer).label == "refusal" for prompt, answer in zip(frame.prompt, frame.completion)]
        parts = [xstest_part(path.stem, str(key)) for key in frame.id]
        rows = list(zip(parts, frame.final_label.map(str), judged))
        people = [frame[name].map(str) for name in XSTEST_ANNOTATIONS if name in frame]
        for part in HALVES:
            for convention, keep, refusals in XSTEST_CONVENTIONS:
                kept = [
                    (label[0] in refusals, verdict) for of, label, verdict in rows if of == part and label[0] in keep
                ]
                if kept:
                    human, verdicts = zip(*kept)
                    agreements.append(agreement(path.stem, part, convention, human, verdicts))
            both = [labels for of, *labels in zip(parts, *people) if of == part and len(labels) == 2]
            if both:
                first, second = ([label[0] != "1" for label in labels] for labels in zip(*both))
                agreements.append(agreement(path.stem, part, "one annotator to the other", first, second))
    return agreements


def xstest_part(family: str, key: str) -> str:
    """Which of HALVES an answer lies in, by the model family in its file's name and the prompt's id."""
    if XSTEST_HALF in family:
        return HALVES[0] if key[-1:] in EVEN else half(key)
    return HALVES[0] if any(name in family for name in XSTEST_DEVELOPMENT) else HALVES[1]


def validate_msts(folder: Path) -> list[Agreement]:
    """One agreement per file of annotated answers and part, and one of all languages but English together.

    A file has one language; its name says which. Answers that the judge calls unknown are left out and counted.
    """
    files = sorted(Path(folder).glob("*.csv"))
    if not files:
        raise FileNotFoundError(f"no csv in {folder}; give MSTS's folder of annotated responses")
    agreements: list[Agreement] = []
    others: dict[str, list[tuple[bool, str]]] = {part: [] for part in HALVES}
    for path in files:
        frame = read_labels(path, MSTS_COLUMNS)
        taxonomy = next((frame[column].map(str) for column in MSTS_TAXONOMY if column in frame), None)
        if taxonomy is None:
            raise ValueError(f"{path} has no column {' or '.join(MSTS_TAXONOMY)}; it has {', '.join(frame.columns)}")
        english = "english" in path.stem
        by_part: dict[str, list[tuple[bool, str]]] = {part: [] for part in HALVES}
        for model, asked, answer, label in zip(frame.model, frame.prompt_text, frame.response, taxonomy):
            if not label.startswith(MSTS_REBUTTAL):
                by_part[msts_part(str(model), english)].append(
                    (label.startswith(MSTS_REFUSAL), judge(str(asked), answer).label)
                )
        for part, rows in by_part.items():
            agreements += _of_labels(f"MSTS, {path.stem}", part, rows)
            others[part] += [] if english else rows
    return agreements + [entry for part in HALVES for entry in _of_labels("MSTS, not English", part, others[part])]


def msts_part(model: str, english: bool) -> str:
    """Which of HALVES a model's answers lie in: whether they were read while rules were written."""
    read = (*MSTS_DEVELOPMENT, *(MSTS_DEVELOPMENT_ENGLISH if english else ()))
    return HALVES[0] if any(name in model.lower() for name in read) else HALVES[1]


def _of_labels(source: str, part: str, rows: Sequence[tuple[bool, str]]) -> list[Agreement]:
    """The agreement of (is a refusal, the judge's label), without what is unknown; none where nothing is left."""
    known = [(human, label == "refusal") for human, label in rows if label != "unknown"]
    if not known:
        return []
    human, judged = zip(*known)
    return [agreement(source, part, "rebuttals left out", human, judged, len(rows) - len(known))]


def validate_refusal_labels(path: Path) -> list[Agreement]:
    """One agreement per half of a csv with human_score 1 (refusal) or 0."""
    with open(path, encoding="utf-8") as lines:
        comments = sum(1 for _ in _leading_comments(lines))
    frame = read_labels(path, REFUSAL_COLUMNS, comments)
    judged = [
        judge(str(asked), answer).label == "refusal" for asked, answer in zip(frame.objective, frame.assistant_response)
    ]
    rows = list(zip(frame.objective.map(str), frame.human_score.astype(float) == 1, judged))
    agreements = []
    for part in HALVES:
        human, verdicts = zip(*[(label, verdict) for key, label, verdict in rows if half(key) == part])
        agreements.append(agreement(Path(path).stem, part, "as labelled", human, verdicts))
    return agreements


def _leading_comments(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        if not line.startswith("#"):
            return
        yield line


def to_markdown(agreements: Sequence[Agreement]) -> str:
    """The agreements as a Markdown table."""
    heads = ("set", "part", "convention", "n", "unknown", "accuracy [95%]", "kappa [95%]", "missed", "overcalled")
    rows = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for entry in agreements:
        kappa = "undefined"
        if entry.kappa is not None:
            kappa = f"{entry.kappa:.2f} [{entry.kappa_low:.2f}, {entry.kappa_high:.2f}]"
        accuracy = f"{entry.accuracy:.1%} [{100 * entry.accuracy_low:.1f}, {100 * entry.accuracy_high:.1f}]"
        rows.append(
            f"| {entry.source} | {entry.half} | {entry.convention} | {entry.n} "
            f"| {entry.unknown} | {accuracy} | {kappa} | {entry.missed} | {entry.overcalled} |"
        )
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: prints the agreements as Markdown, or as JSON. arguments: None for the process's own."""
    parser = argparse.ArgumentParser(description="Agreement of the refusal judge with human labels.")
    parser.add_argument(
        "--xstest", type=Path, metavar="DIR", help="XSTest's folder of model completions with human labels (csv)"
    )
    parser.add_argument("--msts", type=Path, metavar="DIR", help="MSTS's folder of annotated responses (csv)")
    parser.add_argument(
        "--refusal-labels", type=Path, metavar="FILE", help="csv with objective, assistant_response, human_score"
    )
    parser.add_argument("--json", action="store_true", help="full precision, for programs")
    options = parser.parse_args(arguments)
    if not (options.xstest or options.msts or options.refusal_labels):
        parser.error("nothing to validate on: give --xstest, --msts or --refusal-labels")
    agreements: list[Agreement] = []
    try:
        if options.xstest:
            agreements += validate_xstest(options.xstest)
        if options.msts:
            agreements += validate_msts(options.msts)
        if options.refusal_labels:
            agreements += validate_refusal_labels(options.refusal_labels)
    except (ValueError, FileNotFoundError) as error:
        parser.exit(2, f"{error}\n")
    as_json = json.dumps([asdict(entry) for entry in agreements], indent=2)
    print(as_json if options.json else to_markdown(agreements))


if __name__ == "__main__":
    main()
