"""Judge hosts' predictions with several judges, and say how far they agree.

    report = judge_outputs("outputs", [build_judge("rules"), build_judge("llama_guard_3", path="DIR")])

Judgements are kept in the work directory (judges.judgements): a run that is stopped goes on, and the leaderboard
reads them (`leaderboard(..., judge="llama_guard_3")`). Needs pandas, python-calamine and statsmodels.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Mapping, Sequence

from vlmguard_plugin.judges.agreement import HUMAN_LABELS, Kappa, agreements
from vlmguard_plugin.judges.base import LABELS, Case, Judge, Judgement
from vlmguard_plugin.judges.judgements import Judgements
from vlmguard_plugin.leaderboard.participants import labels_by_file
from vlmguard_plugin.runs.answers import Item, OutputError, Predictions, Skipped, answers_of, clusters_of
from vlmguard_plugin.runs.collect import judged, read_folders
from vlmguard_plugin.runs.readers.tables import read_table
from vlmguard_plugin.runs.rows import text
from vlmguard_plugin.statistics.levels import MAX_UNKNOWN
from vlmguard_plugin.statistics.measures import UNKNOWN, outcomes
from vlmguard_plugin.statistics.rates import Rate, rate

PEOPLE = "people"
LABEL_COLUMNS = ("label", "final_label", "human_label")


@dataclass(frozen=True)
class Judged:
    """What one judge makes of one model on one data set. counts: answers by label. rates: by measure.

    failed: answers that the judge failed on, among the unknown ones.
    """

    model: str
    dataset: str
    judge: str
    version: str
    counts: dict[str, int]
    failed: int
    rates: dict[str, Rate]


@dataclass(frozen=True)
class Report:
    """judged: by model, data set and judge. kappas: agreement of every two judges (and people) on all answers.

    by_model: the same, by model. skipped: files that were left out.
    """

    judged: tuple[Judged, ...]
    kappas: tuple[Kappa, ...]
    by_model: dict[str, tuple[Kappa, ...]]
    skipped: tuple[Skipped, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "judged": [
                {
                    **asdict(result),
                    "rates": {name: rate.to_dict() for name, rate in result.rates.items()},
                }
                for result in self.judged
            ],
            "agreement": [asdict(kappa) for kappa in self.kappas],
            "agreement_by_model": {
                model: [asdict(kappa) for kappa in kappas] for model, kappas in self.by_model.items()
            },
            "skipped": [{"file": str(skip.file), "reason": skip.reason} for skip in self.skipped],
        }


def judge_outputs(
    output_dir: str | Path,
    judges: Sequence[Judge],
    labels: Path | None = None,
    datasets: Sequence[str] = (),
    max_unknown: float = MAX_UNKNOWN,
    progress: bool = False,
) -> Report:
    """Judge all safety sets in an output folder of any host.

    labels: people's, as `read_labels` takes them. datasets: these alone; empty for all. max_unknown: share of unknown
    answers above which a rate is withheld. OutputError where there is nothing to judge.
    """
    store = Judgements(output_dir)
    contents = read_folders(output_dir)
    chosen = [
        predictions
        for predictions in contents.predictions
        if predictions.kind == "safety" and (not datasets or predictions.dataset in datasets)
    ]
    if not chosen:
        wanted = f"of {', '.join(datasets)} " if datasets else ""
        there = ", ".join(sorted({f"{each.dataset} ({each.kind})" for each in contents.predictions}))
        raise OutputError(f"no safety predictions {wanted}in {output_dir}; there are {there}")
    named = labels_by_file(contents.predictions)
    people = read_labels(labels) if labels else None
    results: list[Judged] = []
    by_model: dict[str, dict[str, list[str]]] = {}  # model -> judge -> labels of its answers
    harmful: dict[str, list[bool]] = {}
    for predictions in chosen:
        of_model = by_model.setdefault(named[predictions.file], {})
        for judge in judges:
            result, said = judge_one(predictions, judge, store, max_unknown, progress)
            results.append(replace(result, model=named[predictions.file]))
            of_model.setdefault(judge.name, []).extend(said)
        if people is not None:
            of_model.setdefault(PEOPLE, []).extend(people.of(predictions))
        harmful.setdefault(named[predictions.file], []).extend(bool(item.harmful) for item in predictions.items)
    if people is not None and all(label == UNKNOWN for of_model in by_model.values() for label in of_model[PEOPLE]):
        raise OutputError(
            f"no label of {labels} belongs to an answer in {output_dir}; check its columns index, model and dataset"
        )
    together: dict[str, list[str]] = {}
    for of_model in by_model.values():
        for name, said in of_model.items():
            together.setdefault(name, []).extend(said)
    all_harmful = [mark for marks in harmful.values() for mark in marks]
    return Report(
        judged=tuple(results),
        kappas=tuple(agreements(together, all_harmful)),
        by_model={model: tuple(agreements(of_model, harmful[model])) for model, of_model in by_model.items()},
        skipped=contents.skipped,
    )


def judge_one(
    predictions: Predictions, judge: Judge, store: Judgements, max_unknown: float, progress: bool
) -> tuple[Judged, list[str]]:
    """What a judge makes of one model on one data set, and the labels of the answers in order."""
    judgements: list[Judgement] = []

    def judging(cases: Sequence[Case]) -> list[Judgement]:
        judgements.extend(store.judged(judge, cases, progress))
        return judgements

    answers = answers_of([judged(predictions, judging)])
    counts = Counter(item.label for item in answers.values())
    clusters = clusters_of(answers)
    result = Judged(
        model=predictions.model,
        dataset=predictions.dataset,
        judge=judge.name,
        version=judge.version,
        counts={label: counts[label] for label in LABELS},
        failed=sum(judgement.failed for judgement in judgements),
        rates={name: rate(events, max_unknown, clusters) for name, events in outcomes(answers).items()},
    )
    return result, [item.label for item in answers.values()]


@dataclass(frozen=True)
class Labels:
    """People's labels. rows: by (model or "", data set or "", index or id), the label."""

    rows: Mapping[tuple[str, str, str], str]

    def of(self, predictions: Predictions) -> list[str]:
        """Labels of its answers in order; "unknown" where people gave none."""
        return [self.of_item(item, predictions) for item in predictions.items]

    def of_item(self, item: Item, predictions: Predictions) -> str:
        """The label of one answer: the one for its model and data set before one that is for all alike."""
        for name in (item.key[0], item.id):
            for model in (predictions.model, ""):
                for dataset in (predictions.dataset, ""):
                    if (model, dataset, name) in self.rows:
                        return self.rows[model, dataset, name]
        return UNKNOWN


def read_labels(path: Path) -> Labels:
    """People's labels from a csv: index (or id), label, and, where they are not for all alike, model and dataset.

    label: one of HUMAN_LABELS. OutputError names the row of one that is not, or that gives an answer a second label.
    """
    try:
        frame = read_table(Path(path))
    except OutputError as error:
        raise OutputError(f"{path}: {error}") from error
    columns = {column.strip().lower(): column for column in frame.columns}
    name = next((columns[column] for column in ("index", "id") if column in columns), None)
    label = next((columns[column] for column in LABEL_COLUMNS if column in columns), None)
    if name is None or label is None:
        needed = f"the columns index (or id) and {' or '.join(LABEL_COLUMNS)}"
        raise OutputError(f"{path} needs {needed}; it has {', '.join(frame.columns)}")
    rows: dict[tuple[str, str, str], str] = {}
    for number, row in enumerate(frame.to_dict("records"), start=2):
        given = text(row[label]).strip().lower()
        if given not in HUMAN_LABELS:
            allowed = ", ".join(filter(None, HUMAN_LABELS))
            raise OutputError(f"{path}, row {number} has the label {given!r}; it must be one of {allowed}")
        model, dataset = (text(row[columns[column]]) if column in columns else "" for column in ("model", "dataset"))
        key = (model.strip(), dataset.strip(), text(row[name]).strip())
        if rows.setdefault(key, HUMAN_LABELS[given]) != HUMAN_LABELS[given]:
            raise OutputError(
                f"{path}, row {number} gives the answer {key[2]!r} the label {given!r}, and a row before it "
                f"{rows[key]!r}; keep one label an answer"
            )
    return Labels(rows)
