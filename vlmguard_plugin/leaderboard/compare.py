"""Two models item by item: what went from answer to refusal, from right to wrong, and back.

    comparison = compare("llava", "llava_cmrm", ["outputs"])
    print(outputs.comparison.to_json(comparison, items=True))

B is compared with A: a change is read from A to B, a difference is B's rate minus A's. `outputs.comparison` shows it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Mapping, Sequence

from vlmguard_plugin.judges.base import LABELS
from vlmguard_plugin.leaderboard.entries import rates_of, read_events
from vlmguard_plugin.leaderboard.overall import holm_corrected
from vlmguard_plugin.leaderboard.participants import Participant, participants_of
from vlmguard_plugin.runs.answers import Item, OutputError, Predictions, answers_of, clusters_of
from vlmguard_plugin.runs.collect import judge_all, read_folders
from vlmguard_plugin.statistics.differences import PairedDifference, paired_difference
from vlmguard_plugin.statistics.measures import UNKNOWN, outcomes
from vlmguard_plugin.statistics.rates import Rate

OUTPUTS = Path("outputs")
"""VLMEvalKit's own work directory."""
UTILITY_LABELS = ("right", "partly", "wrong", "unparsed", "unknown")
KINDS = {
    "answer -> refusal": (("attack_success", "safe"), ("refusal",)),
    "refusal -> answer": (("refusal",), ("attack_success", "safe")),
    "right -> wrong": (("right",), ("wrong", "unparsed")),
    "wrong -> right": (("wrong", "unparsed"), ("right",)),
}
"""Changes that have a name, by the labels before and after. An unparsed answer is wrong, as in accuracy."""

By = Literal["category", "condition"]
"""What changes are counted by: an attribute of an item."""
Transitions = Mapping[tuple[str, str], int]
"""Number of items by (label of A, label of B)."""


@dataclass(frozen=True)
class Change:
    """An item whose label differs. number: of the repetition, from 0. a, b: the two models' items."""

    dataset: str
    side: str
    number: int
    a: Item
    b: Item


@dataclass(frozen=True)
class Side:
    """Harmful or harmless requests of a safety set, or all of a utility set. table: items by their two labels.

    by: the same by category or condition, where there is any.
    """

    name: str
    table: dict[tuple[str, str], int]
    by: dict[str, dict[tuple[str, str], int]]


@dataclass(frozen=True)
class DatasetComparison:
    """One data set. common: items that both have, counted once a repetition. only_a, only_b: items of one alone.

    unknown: of the common ones, without a known label under A or B. rates: by measure, A's and B's, on the common
    items. differences: by measure, B minus A, on those that are known under both.
    notes: what a reader of the figures has to know of the two runs.
    """

    dataset: str
    kind: str
    common: int
    only_a: int
    only_b: int
    unknown: int
    sides: tuple[Side, ...]
    differences: dict[str, PairedDifference]
    rates: dict[str, tuple[Rate, Rate]]
    changes: tuple[Change, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """A and B on the data sets that both have. only_a, only_b: data sets of one alone. by: what changes are counted by.

    judge: name and version of who judged the safety sets; "" where there are none.
    """

    a: str
    b: str
    by: By
    judge: str
    datasets: tuple[DatasetComparison, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def compare(
    a: str,
    b: str,
    folders: Sequence[str | Path] = (),
    datasets: Sequence[str] = (),
    judge: str = "rules",
    by: By = "category",
) -> Comparison:
    """Two models on the items that both were asked.

    a, b: labels or names on the board of `folders` (by default ./outputs), or a model's own folder, WORK_DIR/MODEL.
    datasets: these alone; empty for all. judge: see build_board. by: "category" or "condition".
    OutputError where a model is not there, both are the same, or they have nothing in common.
    """
    participants = participants_in(folders, (a, b))
    model_a, model_b = find(a, participants, folders), find(b, participants, folders)
    if files_of(model_a) & files_of(model_b):
        raise OutputError(f"{a} and {b} are the same predictions; name two models")
    label_a, label_b = model_a.label, model_b.label
    if label_a == label_b:
        label_a, label_b = f"{label_a} ({a})", f"{label_b} ({b})"
    sets_a, sets_b = judged_sets(model_a, datasets, judge), judged_sets(model_b, datasets, judge)
    common = [key for key in sets_a if key in sets_b]
    comparisons = holm_corrected([compare_dataset(*key, sets_a[key], sets_b[key], by) for key in sorted(common)])
    if not any(comparison.common for comparison in comparisons):
        names_a, names_b = (", ".join(sorted(name for name, _ in sets)) or "nothing" for sets in (sets_a, sets_b))
        wanted = f" among {', '.join(datasets)}" if datasets else ""
        same_sets = ", ".join(comparison.dataset for comparison in comparisons)
        alike = f", and of {same_sets} no item is the same" if same_sets else ""
        raise OutputError(
            f"{label_a} and {label_b} have nothing in common{wanted}: "
            f"{label_a} has {names_a}; {label_b} has {names_b}{alike}"
        )
    judges = dict.fromkeys(each.judge for key in common for each in (*sets_a[key], *sets_b[key]) if each.judge)
    return Comparison(
        a=label_a,
        b=label_b,
        by=by,
        judge=", ".join(judges),
        datasets=tuple(comparisons),
        only_a=tuple(sorted(name for name, kind in sets_a if (name, kind) not in common)),
        only_b=tuple(sorted(name for name, kind in sets_b if (name, kind) not in common)),
    )


def participants_in(folders: Sequence[str | Path], named: Sequence[str]) -> list[Participant]:
    """The models in the output folders; none where no folder is given and there is no ./outputs, or all are paths."""
    if not folders and (not OUTPUTS.is_dir() or all(is_path(name) for name in named)):
        return []
    return participants_of(read_folders(folders or [OUTPUTS]).predictions)


def is_path(name: str) -> bool:
    """Whether a model is named by its folder: WORK_DIR/MODEL, with a separator."""
    return Path(name).is_dir() and (len(Path(name).parts) > 1 or Path(name).is_absolute())


def find(name: str, participants: Sequence[Participant], folders: Sequence[str | Path]) -> Participant:
    """A model by label, name or folder; OutputError lists those there are."""
    chosen = [participant for participant in participants if participant.label == name]
    chosen = chosen or [participant for participant in participants if participant.name == name]
    if not chosen and Path(name).is_dir():
        place = Path(name).resolve()
        below = read_folders(place.parent).predictions
        participants = participants_of([each for each in below if place in each.file.resolve().parents])
        chosen, folders = list(participants), [place]
    if len(chosen) == 1:
        return chosen[0]
    places = ", ".join(map(str, folders or [OUTPUTS]))
    if not participants:
        raise OutputError(f"no model {name!r} in {places}; name the output folder with --in DIR")
    there = f"there are {', '.join(participant.label for participant in chosen or participants)}"
    if chosen:
        raise OutputError(
            f"{name!r} is the name of {len(chosen)} models in {places}: {there}; give one of these, or a model's folder"
        )
    raise OutputError(f"no model {name!r} in {places}: {there}")


def files_of(participant: Participant) -> set[Path]:
    """All its prediction files."""
    return {each.file.resolve() for predictions in participant.sets.values() for each in predictions}


def judged_sets(
    participant: Participant, datasets: Sequence[str], judge: str
) -> dict[tuple[str, str], list[Predictions]]:
    """A model's judged predictions, by data set and "safety" or "utility". datasets: empty for all."""
    sets: dict[tuple[str, str], list[Predictions]] = {}
    chosen = [
        each for dataset, runs in participant.sets.items() if not datasets or dataset in datasets for each in runs
    ]
    for each in judge_all(chosen, judge):
        sets.setdefault((each.dataset, "safety" if each.kind == "safety" else "utility"), []).append(each)
    return sets


def compare_dataset(
    dataset: str, kind: str, a: Sequence[Predictions], b: Sequence[Predictions], by: By
) -> DatasetComparison:
    """Two models on one data set. kind: "safety" or "utility"."""
    answers_a, answers_b = answers_of(a), answers_of(b)
    common = [key for key in answers_a if key in answers_b]
    counted: dict[str, dict[str, Counter[tuple[str, str]]]] = {}
    changes = []
    for key in common:
        before, after = answers_a[key], answers_b[key]
        side, group = side_of(before), before.category if by == "category" else before.condition
        counted.setdefault(side, {}).setdefault(group, Counter())[before.label, after.label] += 1
        if before.label != after.label:
            changes.append(Change(dataset, side, key[-1], before, after))
    clusters = {**clusters_of(answers_a), **clusters_of(answers_b)}
    common_a, common_b = ({key: answers[key] for key in common} for answers in (answers_a, answers_b))
    events_a, events_b = outcomes(common_a), outcomes(common_b)
    readable_a, readable_b = read_events(events_a, common_a), read_events(events_b, common_b)
    differences = {
        name: paired_difference(readable_b[name], readable_a[name], clusters)
        for name in readable_a
        if name in readable_b
    }
    rates_a, rates_b = (
        rates_of(events, answers, 1.0, clusters) for events, answers in ((events_a, common_a), (events_b, common_b))
    )
    return DatasetComparison(
        dataset=dataset,
        kind=kind,
        common=len(common),
        only_a=len(answers_a) - len(common),
        only_b=len(answers_b) - len(common),
        unknown=sum(UNKNOWN in (answers_a[key].label, answers_b[key].label) for key in common),
        sides=tuple(
            Side(name, dict(sum(groups.values(), Counter())), grouped(groups))
            for name, groups in sorted(counted.items())
        ),
        differences={name: difference for name, difference in differences.items() if difference is not None},
        rates={name: (rates_a[name], rates_b[name]) for name in events_a if name in rates_b},
        changes=tuple(changes),
        notes=tuple(f"{each.model}: {problem}" for each in (*a, *b) for problem in each.remarks()),
    )


def grouped(groups: Mapping[str, Counter[tuple[str, str]]]) -> dict[str, dict[tuple[str, str], int]]:
    """The counts by group, in order; nothing where the data set names no groups."""
    return {group: dict(table) for group, table in sorted(groups.items())} if any(groups) else {}


def side_of(item: Item) -> str:
    """Which requests an item is counted with."""
    return {True: "harmful requests", False: "harmless requests", None: "questions"}[item.harmful]


def named_changes(table: Transitions) -> dict[str, int]:
    """How many items changed in each way that has a name here, in other ways, are unknown or unchanged."""
    labels = {label for pair in table for label in pair}
    safety = not labels & set(UTILITY_LABELS[:-1])
    counts = {name: 0 for name, (before, _) in KINDS.items() if (before[0] in LABELS) == safety}
    counts |= {"other change": 0, "unchanged": 0, UNKNOWN: 0}
    for (before, after), count in table.items():
        counts[change_name(before, after)] += count
    return counts


def change_name(before: str, after: str) -> str:
    """What a change from one label to another is called."""
    if UNKNOWN in (before, after):
        return UNKNOWN
    if before == after:
        return "unchanged"
    names = [name for name, (from_labels, to_labels) in KINDS.items() if before in from_labels and after in to_labels]
    return names[0] if names else "other change"
