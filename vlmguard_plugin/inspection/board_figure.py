"""A leaderboard in one figure: every model's rates with their intervals, the unguarded models hollow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Sequence

from vlmguard_plugin.inspection.figures import BLACK, BLUE, GREY, check_plot, figure_class, save_figure
from vlmguard_plugin.leaderboard.board import Board, Overall, measures_of
from vlmguard_plugin.reading import visible
from vlmguard_plugin.statistics.measures import MEASURES, WORSE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWN = ("attack_success", "over_refusal", "accuracy", "f1")
"""Measures with a panel, from left to right, where the board has them."""
ROW, HEAD = 0.42, 1.25
"""Inches that a model takes, and those above and below all of them."""
LONGEST = 34
"""Most characters of a model's name."""


def plot_board(board: Board, path: str | Path) -> list[Path]:
    """Draw the board over all its data sets, a panel a measure, a row a model; returns the files written.

    A dot is a rate in percent, the line through it its 95% interval. Unguarded models are hollow.
    path: FILE.png or FILE.svg; without a suffix a stem, or a folder that is there, and both kinds are written.
    Raises ValueError for another suffix and for a board without any rate, ImportError without matplotlib.
    """
    files = check_plot(path, "leaderboard")
    measures = [name for name in measures_of(board.overall) if name in DRAWN]
    if not measures:
        raise ValueError("the leaderboard has no rate to draw; look at it without --plot to see why")
    rows = list(board.overall)
    figure = figure_class()(figsize=(2.2 + 2.6 * len(measures), HEAD + ROW * len(rows)), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.1)
    panels: Sequence[Axes] = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for measure, axes in zip(measures, panels):
        draw_measure(axes, measure, rows, board)
    panels[0].set_yticks(range(len(rows)), shortened([overall.model for overall in rows]))
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return save_figure(figure, files)


def draw_measure(axes: Axes, measure: str, rows: Sequence[Overall], board: Board) -> None:
    """One measure of all models."""
    for place, overall in enumerate(rows):
        rate = overall.rates.get(measure)
        if rate is None or rate.value is None or rate.low is None or rate.high is None:
            axes.text(50, place, "withheld" if rate is not None and rate.withheld else "not measured", ha="center",
                      va="center", fontsize=8, color=GREY)  # fmt: skip
            continue
        value, low, high = (100 * number for number in (rate.value, rate.low, rate.high))
        guarded = overall.model in board.bases
        colour = BLUE if guarded else BLACK
        axes.plot([low, high], [place, place], color=colour, linewidth=1.8, solid_capstyle="round")
        axes.plot(value, place, marker="o", markersize=8, color=colour, markerfacecolor=BLUE if guarded else "white",
                  markeredgewidth=1.8)  # fmt: skip
        axes.text(value, place - 0.22, f"{value:.0f}", ha="center", va="bottom", fontsize=8.5, color=colour)
    axes.set_title(MEASURES[measure][0].upper() + MEASURES[measure][1:], fontsize=11)
    axes.set_xlabel("%, lower is better" if WORSE[measure] > 0 else "%, higher is better", fontsize=9)
    axes.set_xlim(-2, 102)
    axes.set_xticks(range(0, 101, 25))
    axes.grid(axis="x", color="#E5E5E5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8.5)


def shortened(names: Sequence[str]) -> list[str]:
    """Models' names as a row has room for them: their middle left out, but whole where two would look the same."""
    shown = [visible(name) for name in names]
    half = LONGEST // 2
    short = [name if len(name) <= LONGEST else f"{name[: half - 1]}…{name[-half:]}" for name in shown]
    return [whole if short.count(one) > 1 else one for whole, one in zip(shown, short)]
