"""The leaderboard in a terminal and as Markdown: the same tables. Labels and counts only, never answers.

Names come from folders, files and facts that anybody may have written: control characters in them are made visible,
and neither rich nor Markdown finds markup in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Sequence

from vlmguard_plugin.leaderboard.board import (
    Block,
    Board,
    Conditions,
    Entry,
    Overall,
    SideEffects,
    measures_of,
)
from vlmguard_plugin.leaderboard.outputs.cells import (
    Lines,
    cost_lines,
    difference_lines,
    header,
    marks,
    measure_lines,
    origin_lines,
)
from vlmguard_plugin.leaderboard.outputs.escaping import escaped, paragraph
from vlmguard_plugin.leaderboard.outputs.sentences import finding_of
from vlmguard_plugin.leaderboard.outputs.wording import (
    MANNERS_IN_WORDS,
    NONE,
    POWER_IN_WORDS,
    check_lines,
    gate_cells,
    judged_by,
    length_text,
    not_scored_text,
    p_text,
    percent,
    plural,
)
from vlmguard_plugin.reading import visible
from vlmguard_plugin.statistics.levels import MAX_UNPARSED

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 120
"""Characters of a problem that stand in a cell; all of it stands below the tables."""
NOTE_ON_RATES = (
    "Rates are in %, with their 95% Wilson interval; n: judged answers; unknown: answers that could not be judged, "
    "which are in no rate; where no share is named there are none. Attack success: harmful requests complied with, as "
    "the judge says; over-refusal: harmless requests refused; degeneration: answers that are no language, which are "
    "neither."
)
NOTE_ON_REQUESTS = (
    "Answers to variants of one base request are no independent evidence: where there are any, intervals and tests "
    "allow for it, requests are the base requests among the n, and n eff. is the number of independent answers that "
    "would tell as much."
)
NOTE_ON_DIFFERENCES = (
    "Below a rate stands its difference from the unguarded model on the items that both were asked: in points, with "
    "Newcombe's 95% interval; p of the exact McNemar test (of the sign-flip test over base requests where these are "
    "shared), after Holm's correction over all guards and data sets of the measure; +a/-b of n: the event happened in "
    "a answers under this model alone, in b under the base alone; detectable: the true difference, in points, that n "
    f"answers find {POWER_IN_WORDS}."
)
NOTE_ON_LOPSIDED = (
    "Where changes by base request are lopsided the sign-flip test can't be trusted; p is then of a test that allows "
    "for it."
)
NOTE_ON_ACCURACY = (
    "Accuracy: the mean of the host's scores, each answer's 0 to 1, withheld where more than "
    f"{MAX_UNPARSED:.0%} can't be read."
)
NOTE_ON_F1 = (
    "F1: of yes, in a column of its own, since it is no mean over answers; its interval is a bootstrap's over base "
    "requests, its difference is tested by Student's t over them."
)
NOTE_ON_COST = "Beside a model's name: seconds and tokens an answer, and how many times the base's they are."
NOTE_ON_GATES = "Gate: the share of requests at which the guard stepped in."


@dataclass(frozen=True)
class Table:
    """header: one a column. rows: of cells, each of lines."""

    title: str
    header: Lines
    rows: tuple[tuple[Lines, ...], ...]


def show(board: Board, console: Console | None = None, short: bool = False) -> None:
    """Print the finding, the tables, how to read them, what is not whole, and the headline again; for 120 columns.

    short: of the tables the first alone, which is that over all data sets.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = console or Console(width=WIDTH)
    finding = finding_of(board)
    for line in finding.lines:
        console.print(Text(visible(line)), style="bold")
    whole = tables(board)
    shown = whole[:1] if short else whole
    for table in shown:
        grid = RichTable(title=Text(visible(table.title)), title_justify="left", show_lines=True, box=box.SQUARE)
        for name in table.header:
            grid.add_column(name, overflow="fold")
        for row in table.rows:
            grid.add_row(*(Text("\n".join(map(visible, lines))) for lines in row))
        console.print(grid)
    console.print(Text(notes(board)), style="dim")
    if len(whole) > len(shown):
        left_out = plural(len(whole) - len(shown), "table")
        console.print(
            f"Left out here: {left_out}, by data set, condition and run. `vlmguard leaderboard OUTPUT_DIR`"
            " prints them, and with --html FILE writes a page.",
            markup=False,
            highlight=False,
        )
    for line in warnings(board):
        console.print(Text(visible(line)), style="yellow")
    for line in finding.headline:
        console.print(Text(visible(line)), style="bold")


def to_markdown(board: Board) -> str:
    """The finding, the tables, how to read them, and what is not whole."""
    parts = [f"{paragraph(line)}\n" for line in finding_of(board).lines]
    for table in tables(board):
        parts += [f"### {escaped(table.title)}\n", f"| {' | '.join(table.header)} |", "|" + "---|" * len(table.header)]
        parts += [f"| {' | '.join('<br>'.join(map(escaped, lines)) for lines in row)} |" for row in table.rows]
        parts.append("")
    parts += [escaped(notes(board)), ""]
    parts += [f"- {paragraph(line)}" for line in warnings(board)]
    return "\n".join(parts).rstrip() + "\n"


def tables(board: Board) -> list[Table]:
    """All data sets together where there are several, then each, then how the answers were got."""
    several = len({block.whole for block in board.blocks}) > 1
    return [
        *([overall_table(board)] if several else []),
        *(conditions_table(conditions) for conditions in board.across),
        *(block_table(board, block) for block in board.blocks),
        *([side_effects_table(board.side_effects)] if board.side_effects else []),
        *([origins_table(board)] if board.blocks else []),
    ]


def overall_table(board: Board) -> Table:
    """Each model over all its data sets."""
    by_model = {overall.model: overall for overall in board.overall}
    names = measures_of(board.overall)
    rows = []
    for overall in board.overall:
        base = by_model.get(board.bases.get(overall.model, ""))
        first = (
            overall.model,
            plural(overall.datasets, "data set"),
            *cost_lines(overall, base),
            *gate_cells(overall.gates, overall.answers),
            *check_lines(overall.checks),
        )
        guarded = overall.model in board.bases
        rows.append((first, *(measure_lines(overall, name, base, guarded) for name in names)))
    return Table("All data sets, each answer counting once", header(names), tuple(rows))


def block_table(board: Board, block: Block) -> Table:
    """The models on one data set."""
    names = measures_of(block.entries)
    rows = []
    for entry in block.entries:
        base = block.entry(board.bases.get(entry.model, ""))
        costs = cost_lines(entry.origin, base.origin if base else None)
        is_whole = block.dataset == block.whole  # gates are counted for whole sets
        gates = gate_cells(entry.origin.gates, entry.origin.answers) if is_whole else ()
        checks = check_lines(entry.origin.checks) if is_whole else ()
        first = (entry.model, *costs, *gates, *checks, *marks(entry))
        guarded = entry.model in board.bases
        rows.append((first, *(measure_lines(entry, name, base, guarded) for name in names)))
    return Table(f"{block.dataset} ({block.kind})", header(names), tuple(rows))


def conditions_table(conditions: Conditions) -> Table:
    """A request set in its conditions, each model's compared with its own answers in the reference condition."""
    names = measures_of(conditions.rows)
    by_model = {row.model: row for row in conditions.rows if row.condition == conditions.reference}
    rows = []
    for row in conditions.rows:
        reference = None if row.condition == conditions.reference else by_model.get(row.model)
        cells = (measure_lines(row, name, reference, row.condition != conditions.reference) for name in names)
        rows.append(((row.model, row.condition), *cells))
    title = f"{conditions.name} in several conditions, each compared with {conditions.reference} on the same requests"
    return Table(title, header(names), tuple(rows))


def side_effects_table(found: Sequence[SideEffects]) -> Table:
    """What else guards change in answers to harmless requests, a row each."""
    rows = []
    for effects in found:
        length = effects.length
        cells = [(length_text(length), p_text(length.p if length.p_holm is None else length.p_holm) + " Holm")]
        for name in MANNERS_IN_WORDS:
            difference = effects.differences.get(name)
            own = () if difference is None else (f"{percent(difference.rate)} from {percent(difference.base_rate)}",)
            cells.append((*own, *difference_lines(difference)[:2]) if difference else (NONE,))
        rows.append(((effects.model, f"{plural(effects.answers, 'answer')} in common"), *cells))
    header_ = ("model", "length", *MANNERS_IN_WORDS.values())
    return Table("Side effects: answers to harmless requests that neither model refused", header_, tuple(rows))


def origins_table(board: Board) -> Table:
    """How the answers were got: one row for the data sets that a model answered in the same way."""
    ways: dict[tuple[str, Lines], list[str]] = {}
    for origin in board.origins():
        ways.setdefault((origin.model, origin_lines(origin)), []).append(origin.dataset)
    rows = [((model,), tuple(dict.fromkeys(datasets)), way) for (model, way), datasets in ways.items()]
    return Table("How the answers were got", ("model", "data sets", "host, judge, guard, settings"), tuple(rows))


def warnings(board: Board) -> list[str]:
    """Runs that are not whole, runs without predictions, and files left out."""
    return [
        *(
            f"run of {origin.model} on {origin.dataset}: {problem}"
            for origin in board.origins()
            for problem in origin.problems
        ),
        *(
            f"no predictions of {run.model} on {run.dataset} in {run.folder} ({run.host}): {run.reason}"
            for run in board.unfinished
        ),
        *(f"left out of all rates: {not_scored_text(figure)}" for figure in board.not_scored),
        *(
            f"left out of the overall accuracy of {overall.model}: {dataset}, whose answers can't be read"
            for overall in board.overall
            for dataset in overall.unread
        ),
        *(f"skipped {skip.file}: {skip.reason}" for skip in board.skipped),
    ]


def notes(board: Board) -> str:
    """How to read these tables, as far as they hold it; who judged, and from where on a rate is withheld."""
    entries: list[Entry | Overall] = [entry for block in board.blocks for entry in block.entries]
    entries += board.overall
    rates = [rate for entry in entries for rate in entry.rates.values()]
    differences = [difference for entry in entries for difference in entry.differences.values()]
    measures = measures_of(entries)
    origins = board.origins()
    holds = {
        NOTE_ON_RATES: True,
        NOTE_ON_REQUESTS: any(rate.clusters < rate.n for rate in rates),
        NOTE_ON_DIFFERENCES: bool(differences),
        NOTE_ON_LOPSIDED: any(difference.lopsided for difference in differences),
        NOTE_ON_ACCURACY: "accuracy" in measures,
        NOTE_ON_F1: "f1" in measures,
        NOTE_ON_COST: any(origin.seconds is not None or origin.tokens is not None for origin in origins),
        NOTE_ON_GATES: any(origin.gates for origin in origins),
        judged_by(visible(board.judge)): True,
        f"A rate is withheld where more than {100 * board.max_unknown:.3g}% of the answers are unknown.": True,
    }
    return " ".join(note for note, holds_here in holds.items() if holds_here)
