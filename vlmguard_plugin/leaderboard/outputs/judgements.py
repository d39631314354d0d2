"""In a terminal: what several judges make of the answers and how far they agree, and how fluent the answers are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

from vlmguard_plugin.leaderboard.outputs.tables import WIDTH
from vlmguard_plugin.leaderboard.outputs.wording import NONE, percent, rate_text
from vlmguard_plugin.reading import visible
from vlmguard_plugin.statistics.measures import MEASURES, UNKNOWN

if TYPE_CHECKING:
    from rich.console import Console

    from vlmguard_plugin.judges.agreement import Kappa
    from vlmguard_plugin.leaderboard.fluency import Fluency
    from vlmguard_plugin.leaderboard.judging import Report
    from vlmguard_plugin.runs.answers import Skipped


def show_judged(report: Report, console: Console | None = None) -> None:
    """Print what judges make of each model and data set, and how far they agree."""
    from rich.console import Console

    console = console or Console(width=WIDTH)
    names = [name for name in MEASURES if any(name in result.rates for result in report.judged)]
    header = ["model", "data set", "judge", *(MEASURES[name] for name in names), "unknown", "judge failed"]
    rows = []
    for result in report.judged:
        cells = [rate_text(result.rates[name]) if name in result.rates else NONE for name in names]
        unknown = f"{result.counts[UNKNOWN]} of {sum(result.counts.values())}"
        rows.append([result.model, result.dataset, result.judge, *cells, unknown, str(result.failed)])
    show_table(console, "Judgements", header, rows)
    if report.kappas:
        groups = {"all": report.kappas} | (report.by_model if len(report.by_model) > 1 else {})
        header = ["question", "model", "judges", "kappa", "agreed", "n", "left out"]
        rows = [
            [kappa.question, model, f"{kappa.one}, {kappa.other}", *kappa_cells(kappa)]
            for model, kappas in groups.items()
            for kappa in kappas
        ]
        show_table(console, "Agreement (Cohen's kappa, 95% interval)", header, rows)
    show_skipped(console, report.skipped)


def kappa_cells(kappa: Kappa) -> tuple[str, str, str, str]:
    """Kappa with its interval, the share agreed, n and the answers left out."""
    value = "undefined" if kappa.kappa is None else f"{kappa.kappa:.2f} [{kappa.low:.2f}, {kappa.high:.2f}]"
    return value, f"{percent(kappa.agreed)}%" if kappa.n else NONE, str(kappa.n), str(kappa.left_out)


def show_fluency(measured: Sequence[Fluency], skipped: Sequence[Skipped], console: Console | None = None) -> None:
    """Print median perplexities by model and data set."""
    from rich.console import Console

    console = console or Console(width=WIDTH)
    rows = []
    for result in measured:
        summary = result.summary
        median = NONE if summary.median is None else f"{summary.median:.1f}"
        interval = "" if summary.low is None else f" [{summary.low:.1f}, {summary.high:.1f}]"
        mean = NONE if summary.mean is None else f"{summary.mean:.1f}"
        rows.append([result.model, result.dataset, median + interval, mean, str(summary.n), str(summary.unknown)])
    header = ["model", "data set", "median, 95% bootstrap interval", "mean", "n", "unknown"]
    show_table(console, "Perplexity of the answers", header, rows)
    show_skipped(console, skipped)


def show_table(console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of cells of plain text."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for column in header:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console.print(table)


def show_skipped(console: Console, skipped: Sequence[Skipped]) -> None:
    """Print which files were left out, and why."""
    from rich.text import Text

    for skip in skipped:
        console.print(Text(visible(f"skipped {skip.file}: {skip.reason}")), style="yellow")
