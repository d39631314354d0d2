"""Two models item by item: what went from answer to refusal, from right to wrong, and back.

    found = compare("llava", "llava_cmrm", ["outputs"])
    found.to_terminal(items=True); print(found.to_json())

B is compared with A: a change is read from A to B, a difference is B's rate minus A's. Answers are shown only where
they are asked for.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Mapping, Sequence

from vlmguard_plugin.judges.base import LABELS
from vlmguard_plugin.leaderboard.board import (
    MEASURES,
    Participant,
    answers_of,
    clusters_of,
    holm_corrected,
    measure,
    participants,
)
from vlmguard_plugin.leaderboard.outputs.data import cell
from vlmguard_plugin.leaderboard.outputs.tables import WIDTH, escaped, p_text, rate_text, visible
from vlmguard_plugin.runs.collect import Item, OutputError, Predictions, judged, read_folders, stored_verdicts
from vlmguard_plugin.statistics.rates import PairedDifference, Rate, paired_difference, rate

if TYPE_CHECKING:
    from rich.console import Console

OUTPUTS = Path("outputs")
"""VLMEvalKit's own work directory."""
UTILITY_LABELS = ("right", "wrong", "unparsed", "unknown")
KINDS = {
    "answer -> refusal": (("attack_success", "safe"), ("refusal",)),
    "refusal -> answer": (("refusal",), ("attack_success", "safe")),
    "right -> wrong": (("right",), ("wrong", "unparsed")),
    "wrong -> right": (("wrong", "unparsed"), ("right",)),
}
"""Changes that have a name, by the labels before and after. An unparsed answer is wrong, as in accuracy."""


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
    """Harmful or harmless requests of a safety set, or all of a utility set. table: items by (label of A, label of B).

    by: the same by category or condition, where there is any.
    """

    name: str
    table: dict[tuple[str, str], int]
    by: dict[str, dict[tuple[str, str], int]]


@dataclass(frozen=True)
class Compared:
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
    """A and B on the data sets that both have. only_a, only_b: data sets of one alone. by: "category" or "condition"."""

    a: str
    b: str
    by: str
    judge: str
    datasets: tuple[Compared, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    def warnings(self) -> list[str]:
        """What is not compared, and what else is wrong with the runs."""
        said = [
            f"{dataset}: only {name} has it, so it is not compared"
            for name, sets in ((self.a, self.only_a), (self.b, self.only_b))
            for dataset in sets
        ]
        for one in self.datasets:
            for name, alone in ((self.a, one.only_a), (self.b, one.only_b)):
                if alone:
                    said.append(f"{one.dataset}: {alone} item{'s' * (alone > 1)} only {name} has, left out")
            said += [f"{one.dataset}: {note}" for note in one.notes]
        return said

    def tables(self, items: bool, answers: bool) -> list[tuple[str, list[str], list[list[str]]]]:
        """Title, header and rows of each table."""
        found = []
        for one in self.datasets:
            found.append(
                (
                    f"{one.dataset} ({one.kind}): {one.common} items in common, {one.unknown} unknown",
                    *difference_rows(one),
                )
            )
            for side in one.sides:
                found.append((f"{one.dataset}, {side.name}: A (rows) to B (columns)", *transition_rows(side.table)))
                if side.by:
                    found.append((f"{one.dataset}, {side.name}: by {self.by}", *by_rows(side, self.by)))
            if (items or answers) and one.changes:
                found.append((f"{one.dataset}: items that changed", *change_rows(one.changes, self.by, answers)))
        return found

    def to_terminal(self, console: Console | None = None, items: bool = False, answers: bool = False) -> None:
        """Print the tables; made for 120 columns."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = console or Console(width=WIDTH)
        console.print(Text(f"A: {visible(self.a)}\nB: {visible(self.b)}", style="bold"))
        for line in self.warnings():
            console.print(Text(f"! {visible(line)}", style="bold yellow"))
        for title, header, rows in self.tables(items, answers):
            console.print(Text(f"\n{visible(title)}", style="italic"))
            table = Table(show_lines=answers)
            for column in header:
                table.add_column(Text(visible(column)), overflow="fold")
            for row in rows:
                table.add_row(*(Text(visible(one)) for one in row))
            console.print(table)
        console.print(Text(NOTES + self.judged_by()), style="dim")

    def to_markdown(self, items: bool = False, answers: bool = False) -> str:
        """The same tables."""
        lines = [f"### {escaped(self.a)} (A) and {escaped(self.b)} (B)", ""]
        lines += [f"- **{escaped(line)}**" for line in self.warnings()]
        for title, header, rows in self.tables(items, answers):
            lines += [
                "",
                f"#### {escaped(title)}",
                "",
                f"| {' | '.join(map(escaped, header))} |",
                "|" + "---|" * len(header),
            ]
            lines += [f"| {' | '.join(map(escaped, row))} |" for row in rows]
        return "\n".join([*lines, "", NOTES + self.judged_by()]) + "\n"

    def to_csv(self, items: bool = False, answers: bool = False) -> str:
        """How many items went from which label to which, by data set, side and category (or condition); or the items."""
        if items or answers:
            header = ["dataset", "side", "index", "id", "repetition", "category", "condition", "label_a", "label_b"]
            rows = [
                [
                    one.dataset,
                    one.side,
                    one.a.key[0],
                    one.a.id,
                    one.number,
                    one.a.category,
                    one.a.condition,
                    one.a.label,
                    one.b.label,
                ]
                + ([one.a.case.request, one.a.case.answer, one.b.case.answer] if answers else [])
                for compared in self.datasets
                for one in compared.changes
            ]
            header += ["request", "answer_a", "answer_b"] if answers else []
        else:
            header = ["dataset", "side", self.by, "label_a", "label_b", "items"]
            rows = [
                [one.dataset, side.name, group, before, after, count]
                for one in self.datasets
                for side in one.sides
                for group, table in (side.by or {"": side.table}).items()
                for (before, after), count in sorted(table.items())
            ]
        stream = io.StringIO()
        shown = ([cell(visible(one) if isinstance(one, str) else one) for one in row] for row in rows)
        csv.writer(stream, lineterminator="\n").writerows([header, *shown])
        return stream.getvalue()

    def to_json(self, items: bool = False, answers: bool = False) -> str:
        """Everything, at full precision."""
        datasets = []
        for one in self.datasets:
            facts = {
                "dataset": one.dataset,
                "kind": one.kind,
                "common": one.common,
                "only_a": one.only_a,
                "only_b": one.only_b,
                "unknown": one.unknown,
                "notes": list(one.notes),
                "rates": {name: {"a": rate_facts(a), "b": rate_facts(b)} for name, (a, b) in one.rates.items()},
                "differences": {name: asdict(found) for name, found in one.differences.items()},
                "sides": {
                    side.name: {
                        "from_to": from_to(side.table),
                        "changes": named(side.table),
                        f"by_{self.by}": {
                            group: {"from_to": from_to(table), "changes": named(table)}
                            for group, table in side.by.items()
                        },
                    }
                    for side in one.sides
                },
            }
            if items or answers:
                facts["items"] = [change_facts(change, answers) for change in one.changes]
            datasets.append(facts)
        names = {
            "a": self.a,
            "b": self.b,
            "judge": self.judge,
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
        }
        return json.dumps({**names, "datasets": datasets}, indent=2, allow_nan=False)

    def judged_by(self) -> str:
        return f"Judged by {self.judge}." if self.judge else ""


NOTES = (
    "Rates in %, of the items that both have, with 95% intervals. B minus A in points, on the items that are known under both; p: exact "
    "McNemar test (sign-flip test over base requests where items share one), then corrected (Holm) over the data sets. Counts by "
    "category or condition are not tested. "
)


def compare(
    a: str,
    b: str,
    folders: Sequence[str | Path] = (),
    datasets: Sequence[str] = (),
    judge: str = "rules",
    by: str = "category",
) -> Comparison:
    """Two models on the items that both were asked.

    a, b: labels or names on the board of `folders` (by default ./outputs), or a model's own folder, WORK_DIR/MODEL.
    datasets: these alone; empty for all. judge: see build_board. by: "category" or "condition".
    OutputError where a model is not there, both are the same, or they have nothing in common.
    """
    people = people_in(folders, (a, b))
    one, other = find(a, people, folders), find(b, people, folders)
    if files_of(one) & files_of(other):
        raise OutputError(f"{a} and {b} are the same predictions; name two models")
    labels = [one.label, other.label] if one.label != other.label else [f"{one.label} ({a})", f"{other.label} ({b})"]
    mine, others = sets_of(one, datasets, judge), sets_of(other, datasets, judge)
    common = [key for key in mine if key in others]
    found = holm_corrected([compared(*key, mine[key], others[key], by) for key in sorted(common)])
    if not any(each.common for each in found):
        names = [", ".join(sorted(name for name, _ in sets)) or "nothing" for sets in (mine, others)]
        there = f"{labels[0]} has {names[0]}; {labels[1]} has {names[1]}"
        wanted = f" among {', '.join(datasets)}" if datasets else ""
        alike = f", and of {', '.join(each.dataset for each in found)} no item is the same" if found else ""
        raise OutputError(f"{labels[0]} and {labels[1]} have nothing in common{wanted}: {there}{alike}")
    judges = dict.fromkeys(part.judge for key in common for part in (*mine[key], *others[key]) if part.judge)
    alone = [tuple(sorted(name for name, kind in sets if (name, kind) not in common)) for sets in (mine, others)]
    return Comparison(*labels, by, ", ".join(judges), tuple(found), *alone)


def people_in(folders: Sequence[str | Path], named: Sequence[str]) -> list[Participant]:
    """The models in the output folders; none where no folder is given and there is no ./outputs, as with paths alone."""
    if not folders and (not OUTPUTS.is_dir() or all(is_path(one) for one in named)):
        return []
    return participants(read_folders(folders or [OUTPUTS]).predictions)


def is_path(name: str) -> bool:
    """Whether a model is named by its folder: WORK_DIR/MODEL, with a separator."""
    return Path(name).is_dir() and (len(Path(name).parts) > 1 or Path(name).is_absolute())


def find(name: str, people: Sequence[Participant], folders: Sequence[str | Path]) -> Participant:
    """A model by label, name or folder; OutputError lists those there are."""
    chosen = [one for one in people if one.label == name] or [one for one in people if one.name == name]
    if not chosen and Path(name).is_dir():
        place = Path(name).resolve()
        people = participants(
            [one for one in read_folders(place.parent).predictions if place in one.file.resolve().parents]
        )
        chosen, folders = people, [place]
    if len(chosen) == 1:
        return chosen[0]
    places = ", ".join(map(str, folders or [OUTPUTS]))
    if not people:
        raise OutputError(f"no model {name!r} in {places}; name the output folder with --in DIR")
    there = f"there are {', '.join(one.label for one in chosen or people)}"
    if chosen:
        raise OutputError(
            f"{name!r} is the name of {len(chosen)} models in {places}: {there}; give one of these, or a model's folder"
        )
    raise OutputError(f"no model {name!r} in {places}: {there}")


def files_of(one: Participant) -> set[Path]:
    """All its prediction files."""
    return {part.file.resolve() for parts in one.parts.values() for part in parts}


def sets_of(one: Participant, datasets: Sequence[str], judge: str) -> dict[tuple[str, str], list[Predictions]]:
    """A model's judged predictions, by data set and whether it is one of safety or of utility. datasets: empty for all."""
    found: dict[tuple[str, str], list[Predictions]] = {}
    for dataset, parts in one.parts.items():
        for part in parts if not datasets or dataset in datasets else ():
            safety = part.kind == "safety"
            whole = judged(part, *stored_verdicts(part.folder, judge)) if safety else part
            found.setdefault((dataset, "safety" if safety else "utility"), []).append(whole)
    return found


def compared(dataset: str, kind: str, a: Sequence[Predictions], b: Sequence[Predictions], by: str) -> Compared:
    """Two models on one data set."""
    mine, others = answers_of(a), answers_of(b)
    common = [key for key in mine if key in others]
    counted: dict[str, dict[str, Counter]] = {}
    changes = []
    for key in common:
        before, after = mine[key], others[key]
        side = side_of(before)
        counted.setdefault(side, {}).setdefault(getattr(before, by), Counter())[before.label, after.label] += 1
        if before.label != after.label:
            changes.append(Change(dataset, side, key[-1], before, after))
    clusters = {**clusters_of(mine), **clusters_of(others)}
    events_a, events_b = (measure(kind, {key: answers[key] for key in common}) for answers in (mine, others))
    differences = {name: paired_difference(events_b[name], events_a[name], clusters) for name in events_a}
    return Compared(
        dataset=dataset,
        kind=kind,
        common=len(common),
        only_a=len(mine) - len(common),
        only_b=len(others) - len(common),
        unknown=sum("unknown" in (mine[key].label, others[key].label) for key in common),
        sides=tuple(
            Side(name, dict(sum(groups.values(), Counter())), grouped(groups))
            for name, groups in sorted(counted.items())
        ),
        differences={name: one for name, one in differences.items() if one},
        rates={
            name: (rate(events_a[name], clusters=clusters), rate(events_b[name], clusters=clusters))
            for name in events_a
        },
        changes=tuple(changes),
        notes=tuple(f"{part.model}: {problem}" for part in (*a, *b) for problem in part.problems),
    )


def grouped(groups: Mapping[str, Counter]) -> dict[str, dict[tuple[str, str], int]]:
    """The counts by group, in order; nothing where the data set names no groups."""
    return {group: dict(table) for group, table in sorted(groups.items())} if any(groups) else {}


def side_of(item: Item) -> str:
    """Which requests an item is counted with."""
    return {True: "harmful requests", False: "harmless requests", None: "questions"}[item.harmful]


def named(table: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """How many items changed in each way that has a name here, in other ways, are unknown under either, or unchanged."""
    labels = {label for pair in table for label in pair}
    safety = not labels & set(UTILITY_LABELS[:3])
    counts = {name: 0 for name, (before, _) in KINDS.items() if (before[0] in LABELS) == safety}
    counts |= {"other change": 0, "unchanged": 0, "unknown": 0}
    for (before, after), count in table.items():
        if "unknown" in (before, after):
            name = "unknown"
        elif before == after:
            name = "unchanged"
        else:
            name = next(
                (name for name in counts if name in KINDS and before in KINDS[name][0] and after in KINDS[name][1]),
                "other change",
            )
        counts[name] += count
    return counts


def from_to(table: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """The transition table as nested plain values: by label of A, by label of B."""
    found: dict[str, dict[str, int]] = {}
    for (before, after), count in sorted(table.items()):
        found.setdefault(before, {})[after] = count
    return found


def rate_facts(one: Rate) -> dict:
    return asdict(one) | {"value": one.value}


def change_facts(one: Change, answers: bool) -> dict:
    """One changed item as plain values; with its texts only where they are wanted."""
    facts = {
        "index": one.a.key[0], "id": one.a.id, "repetition": one.number, "side": one.side, "category": one.a.category,
        "condition": one.a.condition, "label_a": one.a.label, "label_b": one.b.label,
    }  # fmt: skip
    texts = (
        {"request": one.a.case.request, "answer_a": one.a.case.answer, "answer_b": one.b.case.answer} if answers else {}
    )
    return facts | texts


def difference_rows(one: Compared) -> tuple[list[str], list[list[str]]]:
    """Each measure under A and B, on the common items, and what sets them apart."""
    rows = []
    for name, (a, b) in one.rates.items():
        found = one.differences.get(name)
        cells = [MEASURES[name], rate_text(a), rate_text(b)]
        if found:
            interval = f"{100 * found.difference:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
            cells += [
                interval,
                f"+{found.only_model} / -{found.only_base} of {found.n}",
                p_text(found.p),
                p_text(found.p_corrected),
            ]
        rows.append(cells + ["-"] * (7 - len(cells)))
    return ["measure", "A", "B", "B minus A", "only B / only A", "p", "p (Holm)"], rows


def transition_rows(table: Mapping[tuple[str, str], int]) -> tuple[list[str], list[list[str]]]:
    """Label under A by label under B, in the usual order."""
    known = dict.fromkeys([*LABELS[:-1], *UTILITY_LABELS])
    labels = [label for label in known if any(label in pair for pair in table)]
    had = [before for before in labels if any(pair[0] == before for pair in table)]
    rows = [[before, *(str(table.get((before, after), 0)) for after in labels)] for before in had]
    return ["A \\ B", *labels], rows


def by_rows(side: Side, by: str) -> tuple[list[str], list[list[str]]]:
    """Changes by category or condition, those with most changes first."""
    counted = {group: named(table) for group, table in side.by.items()}
    names = list(named(side.table))
    counted = {group: {name: counts.get(name, 0) for name in names} for group, counts in counted.items()}
    changed = {
        group: sum(counts.values()) - counts["unchanged"] - counts["unknown"] for group, counts in counted.items()
    }
    order = sorted(counted, key=lambda group: (-changed[group], group))
    rows = [
        [group or "-", str(sum(side.by[group].values())), *(str(counted[group][name]) for name in names)]
        for group in order
    ]
    return [by, "items", *names], rows


def change_rows(changes: Sequence[Change], by: str, answers: bool) -> tuple[list[str], list[list[str]]]:
    """The items that changed, each in a line; with the request and both answers only where they are wanted."""
    header = ["index", "id", by, "side", "A -> B", *(["request", "answer of A", "answer of B"] if answers else [])]
    several, rows = any(one.number for one in changes), []
    for one in changes:
        index = f"{one.a.key[0]} ({one.number + 1})" if several else one.a.key[0]
        row = [index, one.a.id, getattr(one.a, by), one.side, f"{one.a.label} -> {one.b.label}"]
        rows.append(row + ([one.a.case.request, one.a.case.answer or "", one.b.case.answer or ""] if answers else []))
    return header, rows
