"""A sweep's curve as JSON, and as tables on the terminal."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vlmguard_plugin.calibration.sweep.curve import Curve, entry_of
from vlmguard_plugin.leaderboard.board import Block, Entry, measures_of
from vlmguard_plugin.leaderboard.outputs.tables import WIDTH
from vlmguard_plugin.leaderboard.outputs.wording import NONE, p_text, points, rate_text
from vlmguard_plugin.naming import flat
from vlmguard_plugin.reading import visible
from vlmguard_plugin.statistics.measures import MEASURES

if TYPE_CHECKING:
    from rich.console import Console


NOTE = (
    "Rates with 95% intervals, in %. Behind them the difference from the unguarded model in points, and p, corrected "
    "(Holm) for all comparisons of one measure on the leaderboard of this folder."
)


def to_json(curve: Curve) -> str:
    """Every point with its settings, and by data set its rates and differences from the unguarded model."""
    measured_points = []
    for point in curve.points:
        measured = {
            block.dataset: as_json(block, entry)
            for block in curve.board.blocks
            if (entry := entry_of(block, point.name))
        }
        missing = {dataset: reason for (name, dataset), reason in curve.missing.items() if name == point.name}
        measured_points.append(
            {"name": point.name, "settings": point.settings, "datasets": measured, "missing": missing}
        )
    facts = {"model": curve.model, "guard": curve.guard, "out": str(curve.out), "judge": curve.board.judge}
    return json.dumps({**facts, "notes": curve.notes(), "points": measured_points}, indent=2, allow_nan=False)


def show(curve: Curve, console: Console | None = None) -> None:
    """Print one table a data set, a line a point."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = console or Console(width=WIDTH)
    columns = list(dict.fromkeys(name for point in curve.points for name, _ in flat(point.settings or {})))
    for block in curve.board.blocks:
        entries = [(point, entry) for point in curve.points if (entry := entry_of(block, point.name))]
        if not entries:
            continue
        names = measures_of(block.entries)
        table = Table(title=Text(visible(f"{curve.model} with {curve.guard} on {block.dataset}")), title_justify="left")
        for column in (*columns, *(MEASURES[name] for name in names), "n"):
            table.add_column(Text(visible(column)), overflow="fold")
        for point, entry in entries:
            settings = [point.value_text(column) for column in columns]
            rates = [cell(entry, name) for name in names]
            table.add_row(*map(Text, (*map(visible, settings), *rates, str(sum(entry.counts.values())))))
        console.print(table)
    console.print(Text(NOTE), style="dim")
    for note in curve.notes():
        console.print(Text(visible(note)), style="yellow")
    for (name, dataset), reason in curve.missing.items():
        console.print(Text(visible(f"{name} has no predictions for {dataset}: {reason}")), style="red")


def cell(entry: Entry, name: str) -> str:
    """A rate with its interval; below it the difference and the corrected p."""
    if name not in entry.rates:
        return NONE
    rate, difference = rate_text(entry.rates[name]), entry.differences.get(name)
    if difference is None:
        return rate
    return f"{rate}\n{points(difference.difference)}, {p_text(difference.p_corrected)}"


def as_json(block: Block, entry: Entry) -> dict[str, Any]:
    """One point on one data set as plain values."""
    return {
        "kind": block.kind,
        "answers": entry.origin.answers,
        "problems": list(entry.origin.problems),
        "counts": entry.counts,
        "rates": {name: rate.to_dict() for name, rate in entry.rates.items()},
        "differences": {
            name: asdict(difference) | {"significant": bool(difference.significant)}
            for name, difference in entry.differences.items()
        },
    }
