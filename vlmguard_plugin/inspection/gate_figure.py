"""The figure of how well requests part: area under the curve by layer and condition, and where a gate stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlmguard_plugin.inspection.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILION,
    check_plot,
    new_figure,
    save_figure,
)

COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, BLACK, GREY)
LINES = ("-", "--", ":", "-.")


def plot_gate(measured: dict[str, Any], path: str | Path) -> list[Path]:
    """Draw what measure_gate found; returns the files written.

    One panel of the probes' areas under the curve by layer, a line a condition, and one of the rates at which they fire
    on harmful anchors; level lines are the guard's gates, the bands their intervals. path and errors: as plot_guard's.
    """
    files = check_plot(path, "gate")
    figure, (areas, rates) = new_figure(2, 2)
    layers = range(len(measured["probes"]))
    for number, condition in enumerate(measured["conditions"]):
        colour, line = COLOURS[number % len(COLOURS)], LINES[number // len(COLOURS) % len(LINES)]
        found = [probe["by_condition"][condition] for probe in measured["probes"]]
        areas.plot(layers, [rate["area_under_curve"] for rate in found], color=colour, linestyle=line, label=condition)
        rates.plot(layers, [100 * rate["harmful_fired"]["rate"] for rate in found], color=colour, linestyle=line)
        for gate in measured["gates"]:
            fired = gate["by_condition"][condition]
            harmful = fired["harmful_fired"]
            areas.axhline(fired["area_under_curve"], color=colour, linewidth=0.6, alpha=0.6)
            low, high = (100 * harmful[end] for end in ("low", "high"))
            rates.axhspan(low, high, color=colour, alpha=0.08)
            rates.axhline(100 * harmful["rate"], color=colour, linewidth=0.6, alpha=0.6)
    areas.set(xlabel="decoder layer", ylabel="area under the curve", title="Probes, out of fold")
    most = f"{100 * measured['rate']:g}%"
    rates.set(
        xlabel="decoder layer",
        ylabel="harmful anchors fired, %",
        title=f"At most {most} of harmless ones fired",
        ylim=(-2, 102),
    )
    areas.legend(fontsize="small", frameon=False)
    level = f"; level: {', '.join(gate['name'] for gate in measured['gates'])}" if measured["gates"] else ""
    figure.suptitle(
        f"{measured['model']['fingerprint']}, {measured['anchors']['pairs']} anchor pairs{level}", fontsize="medium"
    )
    return save_figure(figure, files)
