"""A fitted guard's figure: a panel for each fact by layer, and one for its calibration."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Sequence

from vlmguard_plugin.guards.core.choice import more_degenerate
from vlmguard_plugin.inspection.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    VERMILION,
    check_plot,
    new_figure,
    save_figure,
)
from vlmguard_plugin.inspection.points import interval_of, is_chosen, most_harmless_refused
from vlmguard_plugin.lazy import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch


LINE_MARKS = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (PURPLE, "D"), (BLACK, "v"))
FAINT = "59"  # opacity of about a third
ORDINALS = ("1st", "2nd", "3rd", "4th", "5th")
ANCHOR_SIDES = {"_harmless_anchors": "harmless anchors", "_harmful_anchors": "harmful anchors"}  # drawn in one panel
FACT_TITLES = {
    "singular_values": ("Singular values", "singular value (hidden-state units)"),
    "rank": ("Numerical rank of what the anchors give", "directions above rounding noise"),
    "spread": ("Spread of the anchors' shifts", "root mean square (hidden-state units)"),
    "gate_rate": ("How often the gate fires", "share of the anchors"),
    "threshold": ("Gate threshold", "projection on the direction (hidden-state units)"),
    "theta": ("Gate threshold", "cosine with the direction"),
    "separation": ("Pairs ordered by the first direction", "share of anchor pairs"),
    "shift_norm": ("Length of the fitted shift", "Euclidean length (hidden-state units)"),
    "shift_over_state": ("Shift against the text-only state", "ratio of lengths"),
    "shift_alignment": ("Agreement of the anchors' shifts", "mean cosine with the mean shift"),
    "shift_along": ("Shift along the direction", "share of the way between the anchors' means"),
    "direction_norm": ("Length of the fitted direction", "Euclidean length (hidden-state units)"),
    "share_taken_away": ("Shifts inside the directions taken away", "share of the squared length"),
    "benign_residual": ("Harmless states in the null space", "ratio of lengths"),
    "push": ("Push on the anchors", "mean (1: the refusal direction)"),
}
SHARES = ("gate_rate", "separation", "share_taken_away")  # facts between 0 and 1


@dataclass(frozen=True)
class LayerPanel:
    """A panel with layers along x. lines: label to L numbers; a line with an empty label is not in the legend."""

    title: str
    unit: str
    lines: dict[str, np.ndarray]
    is_share: bool = False
    is_log: bool = False


def plot_guard(description: dict[str, Any], path: str | Path) -> list[Path]:
    """Draw what describe_guard found, a panel for each thing that is there; returns the files written.

    path: FILE.png or FILE.svg; without a suffix a stem, or a folder that is there, and both kinds are written.

    Raises ValueError for another suffix and for a guard with nothing to draw, ImportError without matplotlib.
    """
    files = check_plot(path, description["guard"])
    drawings = [drawing for part in description["parts"] for drawing in guard_drawings(part, f"{part['guard']}: ")]
    drawings = drawings or guard_drawings(description)
    if not drawings:
        raise ValueError(
            f"guard {description['guard']!r} has nothing to draw: it holds no numbers per layer and no calibration; "
            "leave the plot out, or calibrate the guard"
        )
    columns = len(drawings) if len(drawings) <= 3 else 2 if len(drawings) == 4 else 3
    figure, panels = new_figure(len(drawings), columns)
    for draw, panel in zip(drawings, panels):
        draw(panel)
    model, anchors = description["model"], description["anchors"]
    figure.suptitle(f"{description['guard']} on {model['fingerprint']}, {anchors['pairs']} anchor pairs")
    if any(part["per_layer"] for part in (description, *description["parts"])):
        figure.legend(handles=[edited_band()], loc="outside lower center", fontsize="small", frameon=False)
    return save_figure(figure, files)


def calibration_svg(calibration: dict[str, Any]) -> bytes:
    """A calibration's curve alone, as an SVG; ImportError without matplotlib."""
    figure, (axes,) = new_figure(1, 1)
    draw_calibration(axes, calibration, "")
    with tempfile.TemporaryDirectory() as folder:
        (file,) = save_figure(figure, [Path(folder, "calibration.svg")])
        return file.read_bytes()


def guard_drawings(description: dict[str, Any], prefix: str = "") -> list[Callable[[Axes], None]]:
    """A function for each panel there is, which draws it. prefix: what titles begin with."""

    def drawing(panel: LayerPanel) -> Callable[[Axes], None]:
        return lambda axes: draw_layers(axes, panel, description["edited_layers"], prefix)

    drawings = [drawing(panel) for panel in layer_panels(description["per_layer"])]
    if description["calibration"]:
        drawings.append(lambda axes: draw_calibration(axes, description["calibration"], prefix))
    return drawings


def layer_panels(per_layer: dict[str, list[Any]]) -> list[LayerPanel]:
    """A panel for each fact that is made of numbers; what is told of both sides of the anchors shares one."""
    facts: dict[str, dict[str, np.ndarray]] = {}
    for name, values in per_layer.items():
        columns = as_columns(values)
        side = next((side for side in ANCHOR_SIDES if name.endswith(side)), "")
        if columns is not None:
            facts.setdefault(name.removesuffix(side), {})[side] = columns
    panels = []
    for name, by_side in facts.items():
        words = name.replace("_", " ")
        title, unit = FACT_TITLES.get(name, (words.capitalize(), words))
        lines = {}
        for side in ("", *ANCHOR_SIDES):
            lines.update(lines_of(by_side[side], ANCHOR_SIDES.get(side, "")) if side in by_side else {})
        is_log = name == "singular_values" and all((line > 0).any() for line in lines.values())
        panels.append(LayerPanel(title, unit, lines, is_share=name in SHARES, is_log=is_log))
    return panels


def lines_of(columns: np.ndarray, label: str) -> dict[str, np.ndarray]:
    """Lines of a panel by label, from numbers [L, k]: the first five, numbered where there are several."""
    if columns.shape[1] == 1:
        return {label: columns[:, 0]}
    return {f"{ordinal} {label}".strip(): line for ordinal, line in zip(ORDINALS, columns.T)}


def as_columns(values: list[Any]) -> np.ndarray | None:
    """A per-layer fact as numbers [L, k], short or unknown entries NaN; None where it is made of something else."""
    rows = [value if isinstance(value, list) else [value] for value in values]
    widest = max((len(row) for row in rows), default=0)
    if not widest or not all(isinstance(value, (int, float, type(None))) for row in rows for value in row):
        return None
    return np.array([row + [None] * (widest - len(row)) for row in rows], dtype=float)


def draw_layers(axes: Axes, panel: LayerPanel, edited_layers: Sequence[int], prefix: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for layer in edited_layers:
        axes.axvspan(layer - 0.5, layer + 0.5, color=GREY, alpha=0.3, linewidth=0)
    for (label, values), (colour, marker) in zip(panel.lines.items(), LINE_MARKS * len(panel.lines)):
        axes.plot(values, color=colour, marker=marker, markersize=3.5, linewidth=1.2, label=label or None)
    axes.set_title(prefix + panel.title, fontsize="medium")
    axes.set(xlabel="decoder layer (0-based)", ylabel=panel.unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(-0.7, len(next(iter(panel.lines.values()))) - 0.3)
    if panel.is_log:
        axes.set_yscale("log")
    if panel.is_share:
        axes.set_ylim(-0.04, 1.04)
    if any(panel.lines):
        axes.legend(fontsize="small")


def edited_band() -> Patch:
    """What the legend shows for the edited layers."""
    from matplotlib import patches

    return patches.Patch(color=GREY, alpha=0.3, linewidth=0, label="layers that the guard edits")


def draw_calibration(axes: Axes, calibration: dict[str, Any], prefix: str) -> None:
    for number, curve in enumerate(curves_of_alpha(calibration["points"])):
        label = None if number else "rising alpha"
        x, y = ([100 * point[name] for point in curve] for name in ("harmless_refused", "harmful_refused"))
        axes.plot(x, y, color=GREY, linewidth=0.8, zorder=1, label=label)
    chosen = [point for point in calibration["points"] if is_chosen(point, calibration)]
    others = [point for point in calibration["points"] if point not in chosen]
    degenerate = [point for point in others if more_degenerate(point, calibration["unguarded"])]
    others = [point for point in others if point not in degenerate]
    draw_points(axes, others, "settings tried", BLUE, "o", FAINT)
    draw_points(axes, degenerate, "tried, more degenerate answers", PURPLE, "X", FAINT)
    draw_points(axes, [calibration["unguarded"]], "unguarded", BLACK, "s", size=7)
    draw_points(axes, chosen, "chosen", VERMILION, "*", size=13)
    bound = 100 * most_harmless_refused(calibration)
    axes.axvline(bound, color=GREEN, linestyle="--", linewidth=1.2, label=f"bound, {bound:.1f}%")
    title = f"{prefix}Calibration on {calibration['pairs']} pairs, 95% intervals"
    axes.set_title(f"{title}: none met the bound" if calibration["chosen"] is None else title, fontsize="medium")
    axes.set(
        xlabel="harmless requests refused (%)",
        ylabel="harmful requests refused (%)",
    )
    axes.legend(fontsize="x-small")


def draw_points(
    axes: Axes,
    points: Sequence[dict[str, Any]],
    label: str,
    colour: str,
    marker: str,
    opacity: str = "FF",
    size: float = 5,
) -> None:
    """Points of a calibration with their intervals as error bars. opacity: of the bars, two hexadecimal digits."""
    if not points:
        return
    bars = {}
    for name in ("harmless_refused", "harmful_refused"):
        intervals = [interval_of(point, name) for point in points]
        below = [100 * (point[name] - low) for point, (low, _) in zip(points, intervals)]
        above = [100 * (high - point[name]) for point, (_, high) in zip(points, intervals)]
        bars[name] = np.clip([below, above], 0, None)
    axes.errorbar(
        [100 * point["harmless_refused"] for point in points],
        [100 * point["harmful_refused"] for point in points],
        xerr=bars["harmless_refused"],
        yerr=bars["harmful_refused"],
        fmt=marker,
        color=colour,
        ecolor=colour + opacity,
        markersize=size,
        elinewidth=0.8,
        label=label,
        zorder=2,
    )


def curves_of_alpha(points: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Points that differ in alpha alone, in alpha's order; points without an alpha are left out."""
    curves: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        if "alpha" in point["settings"]:
            rest = {name: value for name, value in point["settings"].items() if name != "alpha"}
            curves.setdefault(repr(sorted(rest.items())), []).append(point)
    return [sorted(curve, key=lambda point: point["settings"]["alpha"]) for curve in curves.values() if len(curve) > 1]
