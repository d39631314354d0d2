"""Two models item by item: in a terminal, as Markdown, CSV and JSON.

items: whether the items that changed are listed. answers: whether they are, with the request and both answers;
without it no output holds any text of a request or an answer.
"""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Sequence

from vlmguard_plugin.judges.base import LABELS
from vlmguard_plugin.leaderboard.compare import (
    UTILITY_LABELS,
    By,
    Change,
    Comparison,
    DatasetComparison,
    Side,
    Transitions,
    named_changes,
)
from vlmguard_plugin.leaderboard.outputs.escaping import csv_cell, escaped, json_text
from vlmguard_plugin.leaderboard.outputs.tables import WIDTH
from vlmguard_plugin.leaderboard.outputs.wording import NONE, difference_text, p_number, plural, rate_text
from vlmguard_plugin.reading import visible
from vlmguard_plugin.statistics.measures import MEASURES, UNKNOWN

if TYPE_CHECKING:
    from rich.console import Console

NOTES = (
    "Rates are in %, of the items that both have, with 95% intervals. B minus A is in points, on the items whose label "
    "is known under both; p: exact McNemar test (sign-flip test over base requests where items share one), then "
    "corrected (Holm) over the data sets. Counts by category or condition are not tested. "
)


@dataclass(frozen=True)
class Table:
    """A title, one header a column, and rows of cells."""

    title: str
    header: list[str]
    rows: list[list[str]]


def show(comparison: Comparison, console: Console | None = None, items: bool = False, answers: bool = False) -> None:
    """Print the tables; made for 120 columns."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = console or Console(width=WIDTH)
    console.print(Text(f"A: {visible(comparison.a)}\nB: {visible(comparison.b)}", style="bold"))
    for line in warnings(comparison):
        console.print(Text(f"! {visible(line)}", style="bold yellow"))
    for table in tables(comparison, items, answers):
        console.print(Text(f"\n{visible(table.title)}", style="italic"))
        grid = RichTable(show_lines=answers)
        for column in table.header:
            grid.add_column(Text(visible(column)), overflow="fold")
        for row in table.rows:
            grid.add_row(*(Text(visible(cell)) for cell in row))
        console.print(grid)
    console.print(Text(NOTES + judged_by(comparison)), style="dim")


def to_markdown(comparison: Comparison, items: bool = False, answers: bool = False) -> str:
    """The same tables."""
    lines = [f"### {escaped(comparison.a)} (A) and {escaped(comparison.b)} (B)", ""]
    lines += [f"- **{escaped(line)}**" for line in warnings(comparison)]
    for table in tables(comparison, items, answers):
        lines += [
            "",
            f"#### {escaped(table.title)}",
            "",
            f"| {' | '.join(map(escaped, table.header))} |",
            "|" + "---|" * len(table.header),
        ]
        lines += [f"| {' | '.join(map(escaped, row))} |" for row in table.rows]
    return "\n".join([*lines, "", NOTES + judged_by(comparison)]) + "\n"


def to_csv(comparison: Comparison, items: bool = False, answers: bool = False) -> str:
    """How many items went from which label to which, by data set, side and category (or condition); or the items."""
    header, rows = item_lines(comparison, answers) if items or answers else count_lines(comparison)
    text = io.StringIO()
    shown = ([csv_cell(visible(cell) if isinstance(cell, str) else cell) for cell in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows([header, *shown])
    return text.getvalue()


def count_lines(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    """Header and lines of the CSV of counts."""
    header = ["dataset", "side", comparison.by, "label_a", "label_b", "items"]
    rows: list[list[Any]] = [
        [dataset.dataset, side.name, group, before, after, count]
        for dataset in comparison.datasets
        for side in dataset.sides
        for group, table in (side.by or {"": side.table}).items()
        for (before, after), count in sorted(table.items())
    ]
    return header, rows


def item_lines(comparison: Comparison, answers: bool) -> tuple[list[str], list[list[Any]]]:
    """Header and lines of the CSV of items."""
    header = ["dataset", "side", "index", "id", "repetition", "category", "condition", "label_a", "label_b"]
    rows: list[list[Any]] = []
    for dataset in comparison.datasets:
        for change in dataset.changes:
            a, b = change.a, change.b
            place = [change.dataset, change.side, a.key[0], a.id, change.number, a.category, a.condition]
            texts = [a.case.request, a.case.answer, b.case.answer] if answers else []
            rows.append([*place, a.label, b.label, *texts])
    return [*header, *(["request", "answer_a", "answer_b"] if answers else [])], rows


def to_json(comparison: Comparison, items: bool = False, answers: bool = False) -> str:
    """Everything, at full precision."""
    values = {
        "a": comparison.a,
        "b": comparison.b,
        "judge": comparison.judge,
        "only_a": list(comparison.only_a),
        "only_b": list(comparison.only_b),
        "datasets": [dataset_json(dataset, comparison.by, items, answers) for dataset in comparison.datasets],
    }
    return json_text(values)


def dataset_json(dataset: DatasetComparison, by: By, items: bool, answers: bool) -> dict[str, Any]:
    """One data set as plain values."""
    values: dict[str, Any] = {
        "dataset": dataset.dataset,
        "kind": dataset.kind,
        "common": dataset.common,
        "only_a": dataset.only_a,
        "only_b": dataset.only_b,
        "unknown": dataset.unknown,
        "notes": list(dataset.notes),
        "rates": {name: {"a": a.to_dict(), "b": b.to_dict()} for name, (a, b) in dataset.rates.items()},
        "differences": {name: asdict(difference) for name, difference in dataset.differences.items()},
        "sides": {
            side.name: {
                **table_json(side.table),
                f"by_{by}": {group: table_json(table) for group, table in side.by.items()},
            }
            for side in dataset.sides
        },
    }
    if items or answers:
        values["items"] = [change_json(change, answers) for change in dataset.changes]
    return values


def table_json(table: Transitions) -> dict[str, Any]:
    """A transition table: number of items by label of A and label of B, and the changes that have a name."""
    from_to: dict[str, dict[str, int]] = {}
    for (before, after), count in sorted(table.items()):
        from_to.setdefault(before, {})[after] = count
    return {"from_to": from_to, "changes": named_changes(table)}


def change_json(change: Change, answers: bool) -> dict[str, Any]:
    """One changed item as plain values; with its texts only where they are wanted."""
    a, b = change.a, change.b
    values: dict[str, Any] = {
        "index": a.key[0],
        "id": a.id,
        "repetition": change.number,
        "side": change.side,
        "category": a.category,
        "condition": a.condition,
        "label_a": a.label,
        "label_b": b.label,
    }
    texts = {"request": a.case.request, "answer_a": a.case.answer, "answer_b": b.case.answer} if answers else {}
    return values | texts


def warnings(comparison: Comparison) -> list[str]:
    """What is not compared, and what else is wrong with the runs."""
    alone = ((comparison.a, comparison.only_a), (comparison.b, comparison.only_b))
    lines = [f"{dataset}: only {name} has it, so it is not compared" for name, sets in alone for dataset in sets]
    for dataset in comparison.datasets:
        for name, count in ((comparison.a, dataset.only_a), (comparison.b, dataset.only_b)):
            if count:
                lines.append(f"{dataset.dataset}: {plural(count, 'item')} only {name} has, left out")
        lines += [f"{dataset.dataset}: {note}" for note in dataset.notes]
    return lines


def judged_by(comparison: Comparison) -> str:
    """Who judged, in a sentence; "" where nobody had to."""
    return f"Judged by {comparison.judge}." if comparison.judge else ""


def tables(comparison: Comparison, items: bool, answers: bool) -> list[Table]:
    """All tables, by data set."""
    all_tables = []
    for dataset in comparison.datasets:
        name = dataset.dataset
        title = f"{name} ({dataset.kind}): {plural(dataset.common, 'item')} in common, {dataset.unknown} unknown"
        all_tables.append(Table(title, *difference_rows(dataset)))
        for side in dataset.sides:
            all_tables.append(Table(f"{name}, {side.name}: A (rows) to B (columns)", *transition_rows(side.table)))
            if side.by:
                all_tables.append(Table(f"{name}, {side.name}: by {comparison.by}", *group_rows(side, comparison.by)))
        if (items or answers) and dataset.changes:
            rows = change_rows(dataset.changes, comparison.by, answers)
            all_tables.append(Table(f"{name}: items that changed", *rows))
    return all_tables


def difference_rows(dataset: DatasetComparison) -> tuple[list[str], list[list[str]]]:
    """Each measure under A and B, on the common items, and what sets them apart."""
    header = ["measure", "A", "B", "B minus A", "only B / only A", "p", "p (Holm)"]
    rows = []
    for name, (a, b) in dataset.rates.items():
        difference = dataset.differences.get(name)
        cells = [NONE] * 4
        if difference is not None:
            cells = [
                difference_text(difference),
                f"+{difference.only_model} / -{difference.only_base} of {difference.n}",
                p_number(difference.p),
                p_number(difference.p_corrected),
            ]
        rows.append([MEASURES[name], rate_text(a), rate_text(b), *cells])
    return header, rows


def transition_rows(table: Transitions) -> tuple[list[str], list[list[str]]]:
    """Label under A by label under B, in the usual order."""
    known = dict.fromkeys([*LABELS[:-1], *UTILITY_LABELS])
    labels = [label for label in known if any(label in pair for pair in table)]
    labels_a = [label for label in labels if any(before == label for before, _ in table)]
    rows = [[before, *(str(table.get((before, after), 0)) for after in labels)] for before in labels_a]
    return ["A \\ B", *labels], rows


def group_rows(side: Side, by: By) -> tuple[list[str], list[list[str]]]:
    """Changes by category or condition, those with most changes first."""
    names = list(named_changes(side.table))
    counted: dict[str, dict[str, int]] = {}
    for group, table in side.by.items():
        counts = named_changes(table)
        counted[group] = {name: counts.get(name, 0) for name in names}

    def changed(group: str) -> int:
        return sum(count for name, count in counted[group].items() if name not in ("unchanged", UNKNOWN))

    order = sorted(counted, key=lambda group: (-changed(group), group))
    rows = [
        [group or NONE, str(sum(side.by[group].values())), *(str(counted[group][name]) for name in names)]
        for group in order
    ]
    return [by, "items", *names], rows


def change_rows(changes: Sequence[Change], by: By, answers: bool) -> tuple[list[str], list[list[str]]]:
    """The items that changed, each in a line; with the request and both answers only where they are wanted."""
    header = ["index", "id", by, "side", "A -> B", *(["request", "answer of A", "answer of B"] if answers else [])]
    several = any(change.number for change in changes)
    rows = []
    for change in changes:
        a, b = change.a, change.b
        index = f"{a.key[0]} ({change.number + 1})" if several else a.key[0]
        group = a.category if by == "category" else a.condition
        texts = [a.case.request, a.case.answer or "", b.case.answer or ""] if answers else []
        rows.append([index, a.id, group, change.side, f"{a.label} -> {b.label}", *texts])
    return header, rows
