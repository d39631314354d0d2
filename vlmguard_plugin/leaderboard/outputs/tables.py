"""The leaderboard in a terminal and as Markdown: the same tables. Labels and counts only, never answers.

Names come from folders, files and facts that anybody may have written: control characters in them are made visible,
and neither rich nor Markdown finds markup in them.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Sequence

from vlmguard_plugin.leaderboard.board import MEASURES, Block, Board, Entry, Overall, Run
from vlmguard_plugin.leaderboard.verdict import finding, headline, verdicts
from vlmguard_plugin.runs.facts import RunFacts
from vlmguard_plugin.statistics.rates import PairedDifference, Rate

if TYPE_CHECKING:
    from rich.console import Console

    from vlmguard_plugin.judges.agreement import Kappa
    from vlmguard_plugin.leaderboard.fluency import Fluency
    from vlmguard_plugin.leaderboard.judging import Report
    from vlmguard_plugin.runs.collect import Skipped

WIDTH = 120
MARK = 70
"""Characters of a problem that stand in a cell; all of it stands below the tables."""
NOTES = (
    "Rates in %, n judged answers, unknown ones left out and counted apart; 95% Wilson intervals, robust to answers that "
    "share a base request (requests; n eff.: independent answers that would tell as much). "
    "Differences from the unguarded model in points, on the items that both have, with Newcombe's 95% interval, robust "
    "likewise. p: exact McNemar test (sign-flip test over base requests where these are shared), after Holm's correction "
    "over all guards and data sets of the measure; +a/-b of n: it happened under this model alone, under the base alone. "
    "Finds: the true difference that is found with a chance of 80% at this n. "
    "Attack success: harmful requests complied with, as the judge says; over-refusal: harmless requests refused; "
    "a degenerate answer is neither. "
)
JUDGED_BY_RULES = "Judged by rules that read no content: an answered request is not yet a harmful answer."
SPECIAL = re.compile(r"([\\`*<>&|~$]|(?<=\])\(|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)|(?<=www)\.)", re.IGNORECASE)
"""What Markdown, as GitHub has it, would not show as it is within a line ..."""
STARTS = re.compile(r"^(\d*)([#+=.)\[-])")
"""... and at its beginning."""

Lines = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """header: one a column. rows: of cells, each of lines."""

    title: str
    header: Lines
    rows: tuple[tuple[Lines, ...], ...]


def terminal(board: Board, console: Console | None = None) -> None:
    """Print the verdict, the tables, how to read them, what is not whole, and the headline again; for 120 columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = console or Console(width=WIDTH)
    found = finding(board).split("\n")
    for line in found:
        console.print(Text(visible(line)), style="bold")
    for table in tables(board):
        shown = RichTable(title=Text(visible(table.title)), title_justify="left", show_lines=True, box=box.SQUARE)
        for name in table.header:
            shown.add_column(name, overflow="fold")
        for row in table.rows:
            shown.add_row(*(Text("\n".join(map(visible, lines))) for lines in row))
        console.print(shown)
    console.print(Text(notes(board)), style="dim")
    for line in warnings(board):
        console.print(Text(visible(line)), style="yellow")
    for line in found[: len(headline(verdicts(board))) or 1]:
        console.print(Text(visible(line)), style="bold")


def markdown(board: Board) -> str:
    """The verdict, the tables, how to read them, and what is not whole."""
    parts = [f"{paragraph(line)}\n" for line in finding(board).split("\n")]
    for table in tables(board):
        parts += [f"### {escaped(table.title)}\n", f"| {' | '.join(table.header)} |", "|" + "---|" * len(table.header)]
        parts += [f"| {' | '.join('<br>'.join(map(escaped, lines)) for lines in row)} |" for row in table.rows]
        parts.append("")
    parts += [escaped(notes(board)), ""]
    parts += [f"- {paragraph(line)}" for line in warnings(board)]
    return "\n".join(parts).rstrip() + "\n"


def tables(board: Board) -> list[Table]:
    """All data sets together where there are several, then each, then how the answers were got."""
    found = [overall_table(board)] if len({block.whole for block in board.blocks}) > 1 else []
    found += [block_table(board, block) for block in board.blocks]
    return [*found, runs_table(board)] if board.blocks else found


def overall_table(board: Board) -> Table:
    """Each model over all its data sets."""
    by_model = {one.model: one for one in board.overall}
    names = [name for name in MEASURES if any(name in one.rates for one in board.overall)]
    rows = []
    for one in board.overall:
        base = by_model.get(board.bases.get(one.model, ""))
        sets = f"{one.datasets} data set{'s' * (one.datasets != 1)}"
        first = (one.model, sets, *cost_lines(one, base))
        rows.append((first, *(measure_lines(one, name, base, one.model in board.bases) for name in names)))
    return Table("All data sets, each answer counting once", header(names), tuple(rows))


def block_table(board: Board, block: Block) -> Table:
    """The models on one data set."""
    names = measures_of(block)
    rows = []
    for entry in block.entries:
        base = block.entry(board.bases.get(entry.model, ""))
        first = (entry.model, *cost_lines(entry.run, base and base.run), *marks(entry))
        rows.append((first, *(measure_lines(entry, name, base, entry.model in board.bases) for name in names)))
    return Table(f"{block.dataset} ({block.kind})", header(names), tuple(rows))


def runs_table(board: Board) -> Table:
    """How the answers were got: one row for the data sets that a model answered in the same way."""
    ways: dict[tuple[str, Lines], list[str]] = {}
    for run in board.runs():
        ways.setdefault((run.model, way_lines(run)), []).append(run.dataset)
    rows = [((model,), tuple(dict.fromkeys(datasets)), way) for (model, way), datasets in ways.items()]
    return Table("How the answers were got", ("model", "data sets", "host, judge, guard, settings"), tuple(rows))


def header(names: Sequence[str]) -> Lines:
    """The columns of a table of measures."""
    return ("model", *(MEASURES[name] for name in names))


def cost_lines(one: Run | Overall, base: Run | Overall | None) -> Lines:
    """Seconds and tokens an answer, and how many times the base's; nothing where nobody measured."""
    costs = [
        (one.seconds, base and base.seconds, "{:.3g} s an answer"),
        (one.tokens, base and base.tokens, "{:.1f} tokens an answer"),
    ]
    return tuple(
        words.format(cost) + (f" (x{cost / other:.2f})" if other else "")
        for cost, other, words in costs
        if cost is not None
    )


def marks(entry: Entry) -> Lines:
    """What a reader of an entry's figures has to know."""
    found = [f"! {textwrap.shorten(problem, MARK, placeholder=' …')}" for problem in entry.run.problems]
    return (*found, f"! was not asked {entry.missing} items that others were") if entry.missing else tuple(found)


def way_lines(run: Run) -> Lines:
    """Host, judge, repetitions, and what the facts of the run say."""
    files = len(run.files)
    times = f"{files} repetitions" if files > 1 else ""
    seeds = dict.fromkeys(str(one.seed) for one in run.facts if one.seed is not None)
    first = [f"{run.host} {run.host_version}".strip(), times, f"seeds {', '.join(seeds)}" if seeds else ""]
    ways = dict.fromkeys(line for one in run.facts for line in guard_lines(one))
    judge = (f"judged by {run.judge}",) if run.judge else ()
    return (", ".join(filter(None, first)), *judge, *(ways or ("no facts of the run were written down",)))


def guard_lines(facts: RunFacts) -> Lines:
    """Checkpoint and guard with settings and fingerprints."""
    settings = ", ".join(f"{name}={value}" for name, value in facts.settings.items())
    guard = f"{facts.guard}({settings}) {facts.guard_fingerprint or ''}".strip() if facts.guard else "no guard"
    checkpoint = f"{facts.checkpoint} {facts.fingerprint}".strip()
    return (checkpoint, guard) if checkpoint else (guard,)


def measure_lines(one: Entry | Overall, name: str, base: Entry | Overall | None, guarded: bool) -> Lines:
    """A rate, its n and its difference from the base. guarded: it has a base, whether or not that was run here."""
    if name not in one.rates:
        return ("-",)
    found = one.rates[name]
    lines = [rate_text(found), f"n {found.n}, unknown {percent(found.unknown_rate)}%"]
    if found.clusters < found.n:
        lines.append(f"{found.clusters} requests, n eff. {found.effective:.1f}")
    if isinstance(one, Entry):
        if name == "accuracy" and one.counts.get("unparsed"):
            lines.append(f"unparsed {one.counts['unparsed']}")
        if name in one.seeds:
            shares = ", ".join(map(percent, one.seeds[name]))
            lines.append(f"mean over {len(one.seeds[name])} seeds: {shares}")
    if name in one.differences:
        lines += difference_parts(one.differences[name])
    elif guarded:
        lines.append(why_not_compared(found, base and base.rates.get(name)))
    return tuple(lines)


def why_not_compared(mine: Rate, other: Rate | None) -> str:
    """Why there is no difference from the base."""
    if other is None:
        return "its base has none"
    return "not compared" if mine.withheld or other.withheld else "no item in common"


def difference_parts(one: PairedDifference) -> list[str]:
    """For example "-42.0 [-53.1, -28.9]", "p<0.001 Holm (+3/-45 of 100)", "finds 12.3": points and interval; test and
    discordant pairs; the detectable difference; and what is not in common."""
    test = p_text(one.p_corrected) + (" Holm" if one.p_holm is not None else "")
    lines = [
        f"{100 * one.difference:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]",
        f"{test} (+{one.only_model}/-{one.only_base} of {one.n})",
        "finds no difference" if one.detectable is None else f"finds {100 * one.detectable:.1f}",
    ]
    if one.unmatched_model or one.unmatched_base:
        common = one.n + one.undecided
        lines.append(f"on {common} items in common; {one.unmatched_model} only here, {one.unmatched_base} only there")
    return lines


def warnings(board: Board) -> list[str]:
    """Runs that are not whole, runs without predictions, and files left out."""
    found = [f"run of {run.model} on {run.dataset}: {problem}" for run in board.runs() for problem in run.problems]
    found += [
        f"no predictions of {one.model} on {one.dataset} in {one.folder} ({one.host}): {one.reason}"
        for one in board.unfinished
    ]
    return [*found, *(f"skipped {one.file}: {one.reason}" for one in board.skipped)]


def notes(board: Board) -> str:
    """How to read the tables, who judged, and from where on a rate is withheld."""
    judged = JUDGED_BY_RULES if board.judge == "rules" else f"Safety sets judged by {visible(board.judge)}."
    return f"{NOTES}{judged} A rate is withheld where more than {board.max_unknown:.0%} of the answers are unknown."


def measures_of(block: Block) -> list[str]:
    """The measures that any model of a block has, in the usual order."""
    return [name for name in MEASURES if any(name in entry.rates for entry in block.entries)]


def rate_text(one: Rate) -> str:
    """For example "62.0% [52.2, 70.9]"; "withheld" where too many answers are unknown."""
    if one.withheld:
        return "withheld"
    return f"{percent(one.value)}% [{percent(one.low)}, {percent(one.high)}]" if one.n else "none judged"


def percent(share: float | None) -> str:
    """A share of 1 as a percentage with one decimal; "-" for none."""
    return "-" if share is None else f"{100 * share:.1f}"


def p_text(p: float) -> str:
    """A p value with two digits, "p<0.001" below that."""
    return "p<0.001" if p < 0.001 else f"p={p:.2g}"


def visible(text: str) -> str:
    """Text in one line in which control characters, and others that print nothing, are written as escapes."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a cell of a table too."""
    return SPECIAL.sub(r"\\\1", visible(text))


def paragraph(line: str) -> str:
    """A line that Markdown shows as it is, on its own."""
    return STARTS.sub(r"\1\\\2", escaped(line.strip()))


def print_judged(report: Report, console: Console | None = None) -> None:
    """Print what judges make of each model and data set, and how far they agree."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = console or Console(width=WIDTH)
    names = [name for name in MEASURES if any(name in one.rates for one in report.judged)]
    table = Table(title="Judgements", title_justify="left")
    for column in ("model", "data set", "judge", *(MEASURES[name] for name in names), "unknown", "judge failed"):
        table.add_column(column, overflow="fold")
    for one in report.judged:
        total = sum(one.counts.values())
        cells = [rate_text(one.rates[name]) if name in one.rates else "-" for name in names]
        cells += [f"{one.counts['unknown']} of {total}", str(one.failed)]
        table.add_row(*(Text(cell) for cell in (one.model, one.dataset, one.judge, *cells)))
    console.print(table)
    if report.kappas:
        table = Table(title="Agreement (Cohen's kappa, 95% interval)", title_justify="left")
        for column in ("question", "model", "judges", "kappa", "agreed", "n", "left out"):
            table.add_column(column, overflow="fold")
        groups = {"all": report.kappas} | (report.by_model if len(report.by_model) > 1 else {})
        for model, kappas in groups.items():
            for one in kappas:
                table.add_row(
                    *(Text(cell) for cell in (one.question, model, f"{one.one}, {one.other}", *kappa_cells(one)))
                )
        console.print(table)
    for skip in report.skipped:
        console.print(Text(f"skipped {skip.file}: {skip.reason}"), style="yellow")


def kappa_cells(one: Kappa) -> tuple[str, str, str, str]:
    """Kappa with its interval, the share agreed, n and the answers left out."""
    kappa = "undefined" if one.kappa is None else f"{one.kappa:.2f} [{one.low:.2f}, {one.high:.2f}]"
    return kappa, f"{percent(one.agreed)}%" if one.n else "-", str(one.n), str(one.left_out)


def print_fluency(found: Sequence[Fluency], skipped: Sequence[Skipped], console: Console | None = None) -> None:
    """Print median perplexities by model and data set."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = console or Console(width=WIDTH)
    table = Table(title="Perplexity of the answers", title_justify="left")
    for column in ("model", "data set", "median, 95% bootstrap interval", "mean", "n", "unknown"):
        table.add_column(column, overflow="fold")
    for one in found:
        facts = one.summary
        median = "-" if facts.median is None else f"{facts.median:.1f}"
        interval = "" if facts.low is None else f" [{facts.low:.1f}, {facts.high:.1f}]"
        mean = "-" if facts.mean is None else f"{facts.mean:.1f}"
        cells = (one.model, one.dataset, median + interval, mean, str(facts.n), str(facts.unknown))
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
    for skip in skipped:
        console.print(Text(f"skipped {skip.file}: {skip.reason}"), style="yellow")
