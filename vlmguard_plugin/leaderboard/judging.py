"""Judge hosts' predictions with several judges, and say how far they agree.

    report = judge_outputs("outputs", [build_judge("rules"), build_judge("llama_guard_3", path="DIR")])

Judgements are kept in the work directory (judges.judgements): a run that is stopped goes on, and the leaderboard
reads them (`leaderboard(..., judge="llama_guard_3")`). Needs pandas, python-calamine and statsmodels.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Mapping, Sequence

from vlmguard_plugin.judges.agreement import HUMAN_LABELS, Kappa, agreements
from vlmguard_plugin.judges.base import LABELS, Case, Judge, Judgement
from vlmguard_plugin.judges.judgements import Judgements
from vlmguard_plugin.leaderboard.board import answers_of, clusters_of, measure
from vlmguard_plugin.runs.collect import Item, OutputError, Skipped, judged, read_folders, text
from vlmguard_plugin.runs.readers.vlmevalkit import read_table
from vlmguard_plugin.statistics.rates import MAX_UNKNOWN, Rate, rate

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

    def to_dict(self) -> dict:
        """Everything as plain values."""
        return {
            "judged": [
                {
                    **asdict(one),
                    "rates": {name: asdict(found) | {"value": found.value} for name, found in one.rates.items()},
                }
                for one in self.judged
            ],
            "agreement": [asdict(one) for one in self.kappas],
            "agreement_by_model": {model: [asdict(one) for one in found] for model, found in self.by_model.items()},
            "skipped": [{"file": str(one.file), "reason": one.reason} for one in self.skipped],
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
    found = read_folders(output_dir)
    predictions, skipped = found.predictions, found.skipped
    chosen = [one for one in predictions if one.kind == "safety" and (not datasets or one.dataset in datasets)]
    if not chosen:
        wanted = f"of {', '.join(datasets)} " if datasets else ""
        there = ", ".join(sorted({f"{one.dataset} ({one.kind})" for one in predictions}))
        raise OutputError(f"no safety predictions {wanted}in {output_dir}; there are {there}")
    people = read_labels(labels) if labels else None
    everything: list[Judged] = []
    said: dict[str, dict[str, list[str]]] = {}  # model -> judge -> labels of its answers
    harm: dict[str, list[bool]] = {}
    for one in chosen:
        for judge in judges:
            heard: list[Judgement] = []

            def verdicts(asked: Sequence[Case]) -> list[Judgement]:
                heard.extend(store.judged(judge, asked, progress))
                return heard

            mine = answers_of([judged(one, verdicts)])
            failed = sum(judgement.failed for judgement in heard)
            counts = Counter(item.label for item in mine.values())
            clusters = clusters_of(mine)
            rates = {name: rate(events, max_unknown, clusters) for name, events in measure("safety", mine).items()}
            everything.append(
                Judged(
                    one.model, one.dataset, judge.name, judge.version,
                    {label: counts[label] for label in LABELS}, failed, rates,
                )
            )  # fmt: skip
            said.setdefault(one.model, {}).setdefault(judge.name, []).extend(item.label for item in mine.values())
        if people is not None:
            said[one.model].setdefault(PEOPLE, []).extend(people.of(one.items, one.model, one.dataset))
        harm.setdefault(one.model, []).extend(item.harmful for item in one.items)
    if people is not None and not any(label != "unknown" for mine in said.values() for label in mine[PEOPLE]):
        raise OutputError(
            f"no label of {labels} belongs to an answer in {output_dir}; check its columns index, model and dataset"
        )
    together: dict[str, list[str]] = {}
    for mine in said.values():
        for name, found in mine.items():
            together.setdefault(name, []).extend(found)
    everyone = [flag for mine in harm.values() for flag in mine]
    by_model = {model: tuple(agreements(mine, harm[model])) for model, mine in said.items()}
    return Report(tuple(everything), tuple(agreements(together, everyone)), by_model, tuple(skipped))


@dataclass(frozen=True)
class Labels:
    """People's labels. rows: by (model or "", data set or "", index or id), the label."""

    rows: Mapping[tuple[str, str, str], str]

    def of(self, items: Sequence[Item], model: str, dataset: str) -> list[str]:
        """Labels of answers in order; "unknown" where people gave none."""
        found = []
        for item in items:
            names = [item.key[0], item.id]
            keys = [(one, other, name) for name in names for one in (model, "") for other in (dataset, "")]
            found.append(next((self.rows[key] for key in keys if key in self.rows), "unknown"))
        return found


def read_labels(path: Path) -> Labels:
    """People's labels from a csv: index (or id), label, and, where they are not for all alike, model and dataset.

    label: one of HUMAN_LABELS. OutputError names the row of one that is not.
    """
    frame = read_table(Path(path))
    columns = {column.lower(): column for column in frame.columns}
    name = next((columns[one] for one in ("index", "id") if one in columns), None)
    label = next((columns[one] for one in LABEL_COLUMNS if one in columns), None)
    if name is None or label is None:
        raise OutputError(
            f"{path} needs the columns index (or id) and {' or '.join(LABEL_COLUMNS)}; it has {', '.join(frame.columns)}"
        )
    rows = {}
    for number, row in enumerate(frame.to_dict("records"), start=2):
        given = text(row[label]).strip().lower()
        if given not in HUMAN_LABELS:
            raise OutputError(
                f"{path}, row {number} has the label {given!r}; it must be one of {', '.join(filter(None, HUMAN_LABELS))}"
            )
        place = (text(row[columns[one]]) if one in columns else "" for one in ("model", "dataset"))
        rows[(*place, text(row[name]))] = HUMAN_LABELS[given]
    return Labels(rows)
