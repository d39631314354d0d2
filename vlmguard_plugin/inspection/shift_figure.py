"""The figure of a model's hidden states, layer by layer, with and without pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Sequence, TypeVar

from vlmguard_plugin.inspection.figures import BLUE, GREEN, ORANGE, check_plot, new_figure, save_figure
from vlmguard_plugin.inspection.shift import CONDITIONS, SIDES

if TYPE_CHECKING:
    from matplotlib.axes import Axes


Entry = TypeVar("Entry")

MOST_PANELS = 12  # of the shift figure
CONDITION_MARKS = {"text": (BLUE, "o"), "blank": (ORANGE, "s"), "image": (GREEN, "^")}


def plot_shift(measured: dict[str, Any], path: str | Path) -> list[Path]:
    """Draw what measure_shift found, one panel a layer, at most 12 evenly spaced ones; returns the files written.

    path and errors: as for plot_guard.
    """
    files = check_plot(path, "shift")
    layers = evenly_spaced(measured["layers"], MOST_PANELS)
    figure, panels = new_figure(len(layers), min(4, len(layers)))
    for layer, panel in zip(layers, panels):
        draw_states(panel, layer)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    figure.suptitle(
        f"Last-prompt-token states of {measured['model']['fingerprint']}, {measured['anchors']['pairs']} anchor pairs\n"
        "(principal components in hidden-state units; %: left-out requests told apart)",
        fontsize="medium",
    )
    return save_figure(figure, files)


def draw_states(axes: Axes, layer: dict[str, Any]) -> None:
    """The six groups of a layer. layer: its entry in what measure_shift found."""
    size = 16 if len(layer["coordinates"]["text"]["harmful"]) > 40 else 28
    for condition, (colour, marker) in CONDITION_MARKS.items():
        for side in SIDES:
            x, y = zip(*layer["coordinates"][condition][side])
            axes.scatter(
                x,
                y,
                s=size,
                marker=marker,
                facecolors=colour if side == "harmful" else "none",
                edgecolors=colour,
                linewidths=0.8,
                alpha=0.8,
                label=f"{CONDITIONS[condition]}, {side}",
            )
    ratios = layer["explained_variance_ratio"]
    accuracies = [f"{condition} {100 * rate['accuracy']:.0f}%" for condition, rate in layer["separability"].items()]
    axes.set_title(f"Layer {layer['layer']}\n{', '.join(accuracies)}", fontsize="medium")
    axes.set(
        xlabel=f"PC 1 ({100 * ratios[0]:.0f}% of variance)",
        ylabel=f"PC 2 ({100 * ratios[1]:.0f}% of variance)",
    )


def evenly_spaced(items: Sequence[Entry], most: int) -> list[Entry]:
    """At most that many of the items, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]
