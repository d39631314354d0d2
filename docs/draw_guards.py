"""Draw docs/pictures/guards.svg: what each guard gains and costs on the demo model, from the table in docs/guards.md.

    python docs/draw_guards.py

A line is a guard at its default, from the harmless requests that the guarded model refuses to the harmful ones; the
longer to the right, the better. Dotted: harmful requests that the unguarded model refuses. Needs matplotlib.
"""

from __future__ import annotations

import re
from pathlib import Path

from vlmguard_plugin.inspection.figures import BLUE, GREY, VERMILION, new_figure, save_figure

DOCS = Path(__file__).parent
HEADING = "### All guards, and the paper's reading against our default"
CONDITIONS = (("Beside a blank picture", 2, 4), ("Beside a picture of a shape", 3, 5))
"""Title, and the table's columns of harmful and of harmless requests refused."""


def rows() -> list[list[str]]:
    """The table's rows for guards at their defaults, cell by cell."""
    table = (DOCS / "guards.md").read_text(encoding="utf-8").partition(HEADING)[2].partition("\n\n    python")[0]
    cells = [[cell.strip(" `") for cell in line.strip("| ").split("|")] for line in table.splitlines() if "|" in line]
    return [row for row in cells[2:] if len(row) > 5 and row[1] != "paper"]


def rate(cell: str) -> float:
    """The rate in a cell such as "35 [24, 48]"."""
    return float(re.match(r"[\d.]+", cell).group())


def main() -> None:
    """The picture."""
    guards = sorted(rows(), key=lambda row: rate(row[3]) - rate(row[5]))
    figure, panels = new_figure(len(CONDITIONS), len(CONDITIONS))
    figure.set_size_inches(9, 1.3 + 0.24 * len(guards))
    for axes, (title, harmful, harmless) in zip(panels, CONDITIONS):
        for place, row in enumerate(guards):
            gained, paid = rate(row[harmful]), rate(row[harmless])
            axes.plot([paid, gained], [place, place], color=GREY, linewidth=1.5, zorder=1)
            axes.plot(
                paid, place, "s", color=VERMILION, markersize=5, label="" if place else "harmless requests refused"
            )
            axes.plot(gained, place, "o", color=BLUE, markersize=6, label="" if place else "harmful requests refused")
        base = next(row for row in guards if row[0] == "unguarded")
        axes.axvline(rate(base[harmful]), color=BLUE, linewidth=0.8, linestyle=":")
        axes.set_title(title, fontsize="medium")
        axes.set(xlabel="%", xlim=(-3, 103), ylim=(-0.7, len(guards) - 0.3))
        axes.set_yticks(range(len(guards)), [row[0] for row in guards] if axes is panels[0] else [])
        axes.tick_params(axis="y", length=0, labelsize=8.5)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9, frameon=False
    )
    save_figure(figure, [DOCS / "pictures" / "guards.svg"])


if __name__ == "__main__":
    main()
