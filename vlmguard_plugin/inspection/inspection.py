"""What a fitted guard has learned, and how far images move a model's states: tables and figures.

A fitted guard:          describe_guard -> print_guard, plot_guard
The papers' shift:       measure_shift  -> print_shift, plot_shift

Intervals are 95% Wilson intervals and need statsmodels; figures need matplotlib. Both are imported at first use.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Sequence

import numpy as np
import torch
from PIL import Image

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.saved import FACTS_FILE, DamagedGuard, FittedFolder
from vlmguard_plugin.pictures.drawn import picture
from vlmguard_plugin.query import Query

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Console
    from rich.table import Table

    from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject

CONDITIONS = {"text": "text only", "blank": "text + blank image", "image": "text + image"}
SIDES = ("harmful", "harmless")
MEASURES = ("harmful_refused", "harmless_refused", "degenerate")  # of a calibration's points, 0 to 1
MOST_PANELS = 12  # of the shift figure
WIDTH = 120  # of printed tables, in characters

BLACK, ORANGE, GREEN, BLUE, VERMILION, PURPLE, GREY = (  # Okabe and Ito, told apart by colour-blind people
    "#000000", "#E69F00", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#999999",
)  # fmt: skip
CONDITION_MARKS = {"text": (BLUE, "o"), "blank": (ORANGE, "s"), "image": (GREEN, "^")}
LINE_MARKS = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (PURPLE, "D"), (BLACK, "v"))
PANEL_SIZE = (4.4, 3.5)  # inches
FAINT = "59"  # opacity of about a third
ORDINALS = ("1st", "2nd", "3rd", "4th", "5th")
RESOLUTION = 150  # dots per inch of a PNG

ANCHOR_SIDES = {"_harmless_anchors": "harmless anchors", "_harmful_anchors": "harmful anchors"}  # drawn in one panel
FACT_TITLES = {
    "singular_values": ("Singular values", "singular value (hidden-state units)"),
    "gate_rate": ("How often the gate fires", "share of the anchors"),
    "threshold": ("Gate threshold", "projection on $V_1$ (hidden-state units)"),
    "theta": ("Gate threshold", "cosine with the direction"),
    "separation": ("Pairs ordered by the first direction", "share of anchor pairs"),
    "shift_norm": ("Length of the fitted shift", "Euclidean length (hidden-state units)"),
    "shift_over_state": ("Shift against the text-only state", "ratio of lengths"),
    "shift_alignment": ("Agreement of the anchors' shifts", "mean cosine with the mean shift"),
    "direction_norm": ("Length of the fitted direction", "Euclidean length (hidden-state units)"),
    "share_taken_away": ("Shifts inside the directions taken away", "share of the squared length"),
    "benign_residual": ("Harmless states in the null space", "ratio of lengths"),
    "push": ("Push on the anchors", "mean (1: the refusal direction)"),
}
SHARES = ("gate_rate", "separation", "share_taken_away")  # facts between 0 and 1


def describe_guard(folder: str | Path) -> dict[str, Any]:
    """What a fitted guard's folder says, as JSON.

    Keys: guard, settings, model (fingerprint, num_layers L, hidden_size d), anchors (pairs, sha256), edited_layers
    (0-based; empty for a guard that edits no hidden states), per_layer ({fact: L numbers or L lists of numbers}),
    calibration (None where the guard has none), parts (descriptions of the guards that a composition is made of).

    Raises FileNotFoundError where a file is missing, DamagedGuard where one can't be used.
    """
    fitted = FittedFolder.load(folder)
    path = Path(folder) / FACTS_FILE
    if "anchors" not in fitted.facts:
        raise DamagedGuard(f"{path} lacks anchors; the guard has to be fitted again")
    parts = []
    for name, facts in fitted.facts.get("parts", {}).items():
        facts = {**facts, **{key: fitted.facts[key] for key in ("model", "anchors")}}
        parts.append(_description(path, name, fitted.settings[name], facts))
    return {**_description(path, fitted.guard, fitted.settings, fitted.facts), "parts": parts}


def print_guard(description: dict[str, Any], console: Console | None = None) -> None:
    """Print what describe_guard found: settings, one row a layer, and the calibration if there is one."""
    from rich.text import Text

    console = console or _console()
    model, anchors = description["model"], description["anchors"]
    lines = {
        "guard": description["guard"],
        "model": f"{model['fingerprint']}, {model['num_layers']} layers of width {model['hidden_size']}",
        "anchors": f"{anchors['pairs']} pairs, sha256 {anchors['sha256'][:12]}",
    }
    console.print(Text(_labelled(lines)))
    for part in description["parts"] or [description]:
        lines = {"settings": _settings_text(part["settings"]) or "none"}
        if description["parts"]:
            console.print()
            lines = {"part": part["guard"], **lines}
        if part["edited_layers"]:
            lines["edits layers"] = ", ".join(str(layer) for layer in part["edited_layers"])
        console.print(Text(_labelled(lines)))
        if part["per_layer"]:
            console.print(_layer_table(part))
        else:
            console.print(Text("This guard keeps no numbers per layer."), style="dim")
        if part["calibration"]:
            console.print(_calibration_table(part["calibration"]))
            console.print(Text(_calibration_outcome(part["calibration"])), style="bold")


def plot_guard(description: dict[str, Any], path: str | Path) -> list[Path]:
    """Draw what describe_guard found, a panel for each thing that is there; returns the files written.

    path: FILE.png or FILE.svg; without a suffix a stem, or a folder that is there, and both kinds are written.

    Raises ValueError for another suffix and for a guard with nothing to draw, ImportError without matplotlib.
    """
    files = check_plot(path, description["guard"])
    drawings = [drawing for part in description["parts"] for drawing in _guard_drawings(part, f"{part['guard']}: ")]
    drawings = drawings or _guard_drawings(description)
    if not drawings:
        raise ValueError(
            f"guard {description['guard']!r} has nothing to draw: it holds no numbers per layer and no calibration; "
            "leave the plot out, or calibrate the guard"
        )
    columns = len(drawings) if len(drawings) <= 3 else 2 if len(drawings) == 4 else 3
    figure, panels = _figure(len(drawings), columns)
    for draw, panel in zip(drawings, panels):
        draw(panel)
    model, anchors = description["model"], description["anchors"]
    figure.suptitle(f"{description['guard']} on {model['fingerprint']}, {anchors['pairs']} anchor pairs")
    if any(part["per_layer"] for part in (description, *description["parts"])):
        figure.legend(handles=[_edited_band()], loc="outside lower center", fontsize="small", frameon=False)
    return _save(figure, files)


def check_plot(path: str | Path, name: str = "figure") -> list[Path]:
    """The files that a figure at `path` will be written to: worth asking before a long measurement.

    name: what the files are called where path is a folder that is there.
    Raises ValueError for a suffix other than .png and .svg, ImportError without matplotlib.
    """
    _figure_class()
    path = Path(path)
    if path.is_dir():
        return [path / f"{name}.png", path / f"{name}.svg"]
    if not path.suffix:
        return [path.with_suffix(".png"), path.with_suffix(".svg")]
    if path.suffix.lower() not in (".png", ".svg"):
        raise ValueError(f"figure {str(path)!r} ends in {path.suffix!r}; give .png, .svg, or no suffix for both")
    return [path]


def measure_shift(
    subject: HuggingFaceSubject,
    anchors: Anchors,
    image: Callable[[int], Image.Image] | None = None,
    layers: Sequence[int] | None = None,
    progress: bool = False,
    pairs: int | None = None,
) -> dict[str, Any]:
    """Last-prompt-token states with and without images: where they lie, and how well harmful parts from harmless.

    image: picture beside both requests of a pair, from the pair's number; by default generated single shapes. The
        blank image has the same size. layers: 0-based decoder layers, None for all. pairs: number of anchor pairs,
        spread evenly over the anchors, None for all. progress: show a bar a condition.

    Returns JSON: model, anchors, and layers, a list with for each layer
        layer: its number.
        coordinates: {condition: {side: N points [x, y]}}, hidden-state units, on the first two principal components
            of all six groups together. x grows from text only to text + image, y from harmless to harmful text.
        explained_variance_ratio: of these two components, 0 to 1.
        separability: {condition: rate}: each pair classified by the nearer class mean of all other pairs.
        from_text: {"blank": rate, "image": rate}: the same, with the class means of the text-only states.
        shift: {"blank": ..., "image": ...}: of the mean state from text only: length (hidden-state units), over_state
            (length over the text-only states' mean length), in_plane (share of the length in the drawn plane, 0 to 1).
    Conditions are text, blank and image, sides harmful and harmless. A rate has k, n = 2N, accuracy, low and high
    (Wilson interval, as if the 2N classifications were independent).

    Raises ValueError for layers or numbers of pairs that there are not.
    """
    layers = _checked_layers(layers, subject.num_layers)
    anchors = _some_pairs(anchors, pairs)
    _wilson(1, 2)  # without statsmodels, fail before the measurement
    states = _states_by_condition(subject, anchors, image or _generated_picture, layers, progress)
    return {
        "model": {
            "fingerprint": subject.fingerprint,
            "num_layers": subject.num_layers,
            "hidden_size": subject.hidden_size,
        },
        "anchors": {"pairs": len(anchors.pairs), "sha256": anchors.sha256},
        "layers": [
            {"layer": layer, **_layer_shift({condition: both[:, :, index] for condition, both in states.items()})}
            for index, layer in enumerate(layers)
        ],
    }


def print_shift(found: dict[str, Any], console: Console | None = None) -> None:
    """Print what measure_shift found: separability, then the shift, one row a layer each."""
    from rich.text import Text

    console = console or _console()
    rates = _table("Harmful told from harmless, % of left-out requests [95% Wilson interval]")
    for header in ("layer", *CONDITIONS.values(), "blank, by text's means", "image, by text's means"):
        rates.add_column(header, justify="right")
    shifts = _table("Shift of the mean state from text only")
    lengths = [
        header for condition in ("blank", "image") for header in (f"{condition}: length", "of state", "in plane")
    ]
    for header in ("layer", *lengths, "variance PC1+2"):
        shifts.add_column(header, justify="right")
    for one in found["layers"]:
        measured = [*one["separability"].values(), *one["from_text"].values()]
        rates.add_row(
            str(one["layer"]), *(_rate_text(rate["accuracy"], rate["low"], rate["high"]) for rate in measured)
        )
        cells = []
        for shift in one["shift"].values():
            cells += [f"{shift['length']:.4g}", _percent(shift["over_state"]), _percent(shift["in_plane"])]
        shifts.add_row(str(one["layer"]), *cells, _percent(sum(one["explained_variance_ratio"])))
    console.print(rates)
    console.print(shifts)
    note = (
        f"{found['anchors']['pairs']} anchor pairs on {found['model']['fingerprint']}; state after each decoder layer "
        "at the last prompt token. Each pair is classified by the nearer class mean of all other pairs. Of state: "
        "length over the mean length of text-only states, in %. In plane: share of the length that the figure's plane "
        "shows, in %. Variance PC1+2: share that the plane shows, in %."
    )
    console.print(Text(note), style="dim")


def plot_shift(found: dict[str, Any], path: str | Path) -> list[Path]:
    """Draw what measure_shift found, one panel a layer, at most 12 evenly spaced ones; returns the files written.

    path and errors: as for plot_guard.
    """
    files = check_plot(path, "shift")
    layers = _evenly_spaced(found["layers"], MOST_PANELS)
    figure, panels = _figure(len(layers), min(4, len(layers)))
    for one, panel in zip(layers, panels):
        _draw_states(panel, one)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    figure.suptitle(
        f"Last-prompt-token states of {found['model']['fingerprint']}, {found['anchors']['pairs']} anchor pairs\n"
        "(principal components in hidden-state units; %: left-out requests told apart)",
        fontsize="medium",
    )
    return _save(figure, files)


def pair_left_out(fitted_on: Sequence[np.ndarray], applied_to: Sequence[np.ndarray]) -> tuple[int, int]:
    """Leave-one-pair-out accuracy of the nearer class mean, as (right, classified = 2N).

    fitted_on, applied_to: (harmful, harmless) states, each [N, d], row i of all four being pair i, N at least 2.
    Both members of pair i of applied_to are classified by the class means of fitted_on without pair i: harmful if
    nearer to the harmful mean, harmless otherwise (also at equal distance).
    """
    harmful_mean, harmless_mean = ((side.sum(axis=0) - side) / (len(side) - 1) for side in fitted_on)
    direction, midpoint = harmful_mean - harmless_mean, (harmful_mean + harmless_mean) / 2
    says_harmful = [((side - midpoint) * direction).sum(axis=1) > 0 for side in applied_to]
    return int(says_harmful[0].sum() + (~says_harmful[1]).sum()), sum(len(side) for side in applied_to)


def principal_plane(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First two principal components of states [n, d] as orthonormal rows [2, d], and their shares of the variance [2].

    n and d are at least 2. By torch, since numpy's SVD was seen to take several times as long on busy cores.
    """
    centred = torch.from_numpy(states - states.mean(axis=0))
    _, singular_values, rows = torch.linalg.svd(centred, full_matrices=False)
    variances = singular_values.numpy() ** 2
    total = variances.sum()
    return rows[:2].numpy(), variances[:2] / total if total else np.zeros(2)


def _description(path: Path, guard: str, settings: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """What describe_guard tells of one guard, less its parts. path: of the guard.json that is described."""
    per_layer, layers = facts.get("per_layer", {}), facts["model"]["num_layers"]
    for name, values in per_layer.items():
        if not isinstance(values, list) or len(values) != layers:
            found = len(values) if isinstance(values, list) else "no list of"
            raise DamagedGuard(
                f"{path}: {name} has {found} values for {layers} layers; the guard has to be fitted again"
            )
    calibration = facts.get("calibration")
    missing = [key for key in ("bound", "pairs", "unguarded", "points", "chosen") if key not in (calibration or ())]
    if calibration is not None and missing:
        raise DamagedGuard(f"{path}: its calibration lacks {', '.join(missing)}; the guard has to be calibrated again")
    return {
        "guard": guard,
        "settings": settings,
        "model": facts["model"],
        "anchors": facts["anchors"],
        "edited_layers": facts.get("edited_layers", []),
        "per_layer": per_layer,
        "calibration": calibration,
    }


def _labelled(lines: dict[str, str]) -> str:
    return "\n".join(f"{label:<13} {text}" for label, text in lines.items())


def _console() -> Console:
    from rich.console import Console

    return Console(width=WIDTH)


def _table(title: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    return Table(title=Text(title), title_justify="left")


def _settings_text(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _layer_table(description: dict[str, Any]) -> Table:
    from rich.text import Text

    per_layer = description["per_layer"]
    table = _table("Facts per layer (*: edited)")
    for header in ("layer", *per_layer):
        table.add_column(header.replace("_", " "), justify="right")
    for layer in range(description["model"]["num_layers"]):
        edited = layer in description["edited_layers"]
        cells = [Text(_fact_text(values[layer])) for values in per_layer.values()]
        table.add_row(f"{'* ' if edited else ''}{layer}", *cells, style="bold" if edited else None)
    return table


def _fact_text(value: Any) -> str:
    """A number with four digits; of a list the first three."""
    if isinstance(value, list):
        return " ".join(_fact_text(one) for one in value[:3]) + (" ..." if len(value) > 3 else "")
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def _calibration_table(calibration: dict[str, Any]) -> Table:
    from rich.text import Text

    beside = f", with {', '.join(map(str, calibration['images']))}" if calibration.get("images") else ""
    table = _table(f"Calibration on {calibration['pairs']} pairs{beside}: % of answers [95% Wilson interval]")
    table.add_column("settings", overflow="fold")
    for measure in MEASURES:
        table.add_column(measure.replace("_", " "), justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for point in (calibration["unguarded"], *calibration["points"]):
        guarded = point is not calibration["unguarded"]
        rates = [_rate_text(point[measure], *_interval_of(point, measure)) for measure in MEASURES]
        chosen = guarded and _is_chosen(point, calibration)
        remark = ", ".join(_remarks(point, calibration)) if guarded else ""
        name = (_settings_text(point["settings"]) or "as given") if guarded else "unguarded"
        table.add_row(Text(name), *rates, remark, style="bold" if chosen else None)
    return table


def _remarks(point: dict[str, Any], calibration: dict[str, Any]) -> list[str]:
    """What is to be said about a point: chosen, over the bound, more degenerate answers than unguarded."""
    return [
        remark
        for remark, holds in (
            ("chosen", _is_chosen(point, calibration)),
            ("over bound", point["harmless_refused"] > _most_harmless_refused(calibration) + 1e-9),
            ("degenerate", _more_degenerate(point, calibration)),
        )
        if holds
    ]


def _calibration_outcome(calibration: dict[str, Any]) -> str:
    """Which point was chosen under which bound, in words."""
    bound = (
        f"harmless refused at most {_percent(_most_harmless_refused(calibration))}%, "
        f"{100 * calibration['bound']:g} points above the unguarded model"
    )
    if calibration["chosen"] is None:
        return f"No point met the bound ({bound})."
    return f"Chosen: {_settings_text(calibration['chosen']) or 'as given'} (bound: {bound})."


def _most_harmless_refused(calibration: dict[str, Any]) -> float:
    return calibration["unguarded"]["harmless_refused"] + calibration["bound"]


def _more_degenerate(point: dict[str, Any], calibration: dict[str, Any]) -> bool:
    return point["degenerate"] > calibration["unguarded"]["degenerate"]


def _is_chosen(point: dict[str, Any], calibration: dict[str, Any]) -> bool:
    return calibration["chosen"] is not None and point["settings"] == calibration["chosen"]


def _interval_of(point: dict[str, Any], name: str) -> tuple[float, float]:
    """Wilson interval of a point's rate; degenerate is a share of the 2n answers to both sides."""
    answers = point["n"] * (2 if name == "degenerate" else 1)
    return _wilson(round(point[name] * answers), answers)


def _wilson(k: int, n: int) -> tuple[float, float]:
    from vlmguard_plugin.statistics.rates import wilson

    try:
        return wilson(k, n)
    except ModuleNotFoundError as error:
        message = f"intervals need {error.name}, which is not installed; pip install statsmodels"
        raise ModuleNotFoundError(message, name=error.name) from error


def _rate_text(value: float, low: float, high: float) -> str:
    """For example "62.0 [52.2, 70.9]", in %."""
    return f"{_percent(value)} [{_percent(low)}, {_percent(high)}]"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


@dataclass(frozen=True)
class LayerPanel:
    """A panel with layers along x. lines: label to L numbers; a line with an empty label is not in the legend."""

    title: str
    unit: str
    lines: dict[str, np.ndarray]
    is_share: bool = False
    is_log: bool = False


def _guard_drawings(description: dict[str, Any], prefix: str = "") -> list[Callable[[Axes], None]]:
    """A function for each panel there is, which draws it. prefix: what titles begin with."""

    def drawing(panel: LayerPanel) -> Callable[[Axes], None]:
        return lambda axes: _draw_layers(axes, panel, description["edited_layers"], prefix)

    drawings = [drawing(panel) for panel in _layer_panels(description["per_layer"])]
    if description["calibration"]:
        drawings.append(lambda axes: _draw_calibration(axes, description["calibration"], prefix))
    return drawings


def _layer_panels(per_layer: dict[str, list]) -> list[LayerPanel]:
    """A panel for each fact that is made of numbers; what is told of both sides of the anchors shares one."""
    facts: dict[str, dict[str, np.ndarray]] = {}
    for name, values in per_layer.items():
        columns = _as_columns(values)
        side = next((side for side in ANCHOR_SIDES if name.endswith(side)), "")
        if columns is not None:
            facts.setdefault(name.removesuffix(side), {})[side] = columns
    panels = []
    for name, by_side in facts.items():
        words = name.replace("_", " ")
        title, unit = FACT_TITLES.get(name, (words.capitalize(), words))
        lines = {}
        for side in ("", *ANCHOR_SIDES):
            lines.update(_lines(by_side[side], ANCHOR_SIDES.get(side, "")) if side in by_side else {})
        is_log = name == "singular_values" and all((line > 0).any() for line in lines.values())
        panels.append(LayerPanel(title, unit, lines, is_share=name in SHARES, is_log=is_log))
    return panels


def _lines(columns: np.ndarray, label: str) -> dict[str, np.ndarray]:
    """Lines of a panel by label, from numbers [L, k]: the first five, numbered where there are several."""
    if columns.shape[1] == 1:
        return {label: columns[:, 0]}
    return {f"{ordinal} {label}".strip(): line for ordinal, line in zip(ORDINALS, columns.T)}


def _as_columns(values: list) -> np.ndarray | None:
    """A per-layer fact as numbers [L, k], short or unknown entries NaN; None where it is made of something else."""
    rows = [value if isinstance(value, list) else [value] for value in values]
    widest = max((len(row) for row in rows), default=0)
    if not widest or not all(isinstance(one, (int, float, type(None))) for row in rows for one in row):
        return None
    return np.array([row + [None] * (widest - len(row)) for row in rows], dtype=float)


def _draw_layers(axes: Axes, panel: LayerPanel, edited_layers: Sequence[int], prefix: str) -> None:
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


def _edited_band():
    from matplotlib.patches import Patch

    return Patch(color=GREY, alpha=0.3, linewidth=0, label="layers that the guard edits")


def _draw_calibration(axes: Axes, calibration: dict[str, Any], prefix: str) -> None:
    for number, curve in enumerate(_curves_of_alpha(calibration["points"])):
        label = None if number else "rising alpha"
        x, y = ([100 * point[name] for point in curve] for name in ("harmless_refused", "harmful_refused"))
        axes.plot(x, y, color=GREY, linewidth=0.8, zorder=1, label=label)
    chosen = [point for point in calibration["points"] if _is_chosen(point, calibration)]
    others = [point for point in calibration["points"] if point not in chosen]
    degenerate = [point for point in others if _more_degenerate(point, calibration)]
    others = [point for point in others if point not in degenerate]
    _draw_points(axes, others, "settings tried", BLUE, "o", FAINT)
    _draw_points(axes, degenerate, "tried, more degenerate answers", PURPLE, "X", FAINT)
    _draw_points(axes, [calibration["unguarded"]], "unguarded", BLACK, "s", size=7)
    _draw_points(axes, chosen, "chosen", VERMILION, "*", size=13)
    bound = 100 * _most_harmless_refused(calibration)
    axes.axvline(bound, color=GREEN, linestyle="--", linewidth=1.2, label=f"bound, {bound:.1f}%")
    title = f"{prefix}Calibration on {calibration['pairs']} pairs, 95% intervals"
    axes.set_title(f"{title}: none met the bound" if calibration["chosen"] is None else title, fontsize="medium")
    axes.set(
        xlabel="harmless requests refused (%)",
        ylabel="harmful requests refused (%)",
    )
    axes.legend(fontsize="x-small")


def _draw_points(
    axes: Axes, points: Sequence[dict], label: str, colour: str, marker: str, opacity: str = "FF", size: float = 5
) -> None:
    """Points of a calibration with their intervals as error bars. opacity: of the bars, two hexadecimal digits."""
    if not points:
        return
    bars = {}
    for name in ("harmless_refused", "harmful_refused"):
        intervals = [_interval_of(point, name) for point in points]
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


def _curves_of_alpha(points: Sequence[dict]) -> list[list[dict]]:
    """Points that differ in alpha alone, in alpha's order; points without an alpha are left out."""
    curves: dict[str, list[dict]] = {}
    for point in points:
        if "alpha" in point["settings"]:
            rest = {name: value for name, value in point["settings"].items() if name != "alpha"}
            curves.setdefault(repr(sorted(rest.items())), []).append(point)
    return [sorted(curve, key=lambda point: point["settings"]["alpha"]) for curve in curves.values() if len(curve) > 1]


def _draw_states(axes: Axes, one: dict[str, Any]) -> None:
    """The six groups of one layer."""
    size = 16 if len(one["coordinates"]["text"]["harmful"]) > 40 else 28
    for condition, (colour, marker) in CONDITION_MARKS.items():
        for side in SIDES:
            x, y = zip(*one["coordinates"][condition][side])
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
    ratios = one["explained_variance_ratio"]
    accuracies = [f"{condition} {100 * rate['accuracy']:.0f}%" for condition, rate in one["separability"].items()]
    axes.set_title(f"Layer {one['layer']}\n{', '.join(accuracies)}", fontsize="medium")
    axes.set(
        xlabel=f"PC 1 ({100 * ratios[0]:.0f}% of variance)",
        ylabel=f"PC 2 ({100 * ratios[1]:.0f}% of variance)",
    )


def _figure_class() -> type[Figure]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"figures need matplotlib ({error}); pip install vlmguard_plugin[plot]") from error
    return Figure


def _figure(panels: int, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, row by row."""
    rows = -(-panels // columns)
    size = (max(PANEL_SIZE[0] * columns, 6), PANEL_SIZE[1] * rows + 0.9)
    figure = _figure_class()(figsize=size, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.1)
    every = list(figure.subplots(rows, columns, squeeze=False).flat)
    for empty in every[panels:]:
        empty.remove()
    for axes in every[:panels]:
        axes.set_facecolor("white")
        axes.grid(color="#E5E5E5", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, every[:panels]


def _save(figure: Figure, files: list[Path]) -> list[Path]:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=RESOLUTION)
    return files


def _evenly_spaced(items: Sequence, most: int) -> list:
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def _checked_layers(layers: Sequence[int] | None, num_layers: int) -> list[int]:
    if layers is None:
        return list(range(num_layers))
    wrong = [layer for layer in layers if type(layer) is not int or not 0 <= layer < num_layers]
    if wrong or not layers:
        raise ValueError(
            f"layers is {list(layers)!r}; give 0-based decoder layers from 0 to {num_layers - 1}, or None for all"
        )
    return sorted(set(layers))


def _some_pairs(anchors: Anchors, pairs: int | None) -> Anchors:
    available = len(anchors.pairs)
    wanted = available if pairs is None else pairs
    if not 2 <= wanted <= available:
        raise ValueError(
            f"{wanted} anchor pairs asked for; give 2 (each is left out once) to {available}, which there are"
        )
    return anchors if wanted == available else anchors.split(wanted)[0]


def _generated_picture(number: int) -> Image.Image:
    return picture("held_out", number, "single").image()


def _states_by_condition(
    subject: HuggingFaceSubject,
    anchors: Anchors,
    image: Callable[[int], Image.Image],
    layers: Sequence[int],
    progress: bool,
) -> dict[str, np.ndarray]:
    """States of each condition, [2 (harmful, harmless), N, layers, d], float32."""
    pictures = [image(number) for number in range(len(anchors.pairs))]
    sides = anchors.harmful, anchors.harmless
    with_image = [Query(text, (shown,)) for side in sides for text, shown in zip(side, pictures)]
    queries = {
        "text": [query.without_images() for query in with_image],
        "blank": [query.with_blank_images() for query in with_image],
        "image": with_image,
    }
    states = {}
    for condition, asked in queries.items():
        recorded = subject.record(asked, progress=f"shift: {CONDITIONS[condition]}" if progress else None)
        recorded = recorded[:, list(layers)].numpy()
        states[condition] = recorded.reshape(2, len(anchors.pairs), *recorded.shape[1:])
    return states


def _layer_shift(states: dict[str, np.ndarray]) -> dict[str, Any]:
    """One layer's entry of measure_shift. states: [2, N, d] of each condition."""
    states = {condition: both.astype(float) for condition, both in states.items()}
    everything = np.concatenate([both.reshape(-1, both.shape[-1]) for both in states.values()])
    components, ratios = principal_plane(everything)
    harmful, harmless = states["text"].mean(axis=1)
    pointing = np.stack([(states["image"] - states["text"]).mean(axis=(0, 1)), harmful - harmless])
    components = np.where((components * pointing).sum(axis=1) < 0, -1, 1)[:, None] * components
    centre = everything.mean(axis=0)
    return {
        "coordinates": {
            condition: {side: ((group - centre) @ components.T).tolist() for side, group in zip(SIDES, both)}
            for condition, both in states.items()
        },
        "explained_variance_ratio": ratios.tolist(),
        "separability": {condition: _accuracy(both, both) for condition, both in states.items()},
        "from_text": {condition: _accuracy(states["text"], states[condition]) for condition in ("blank", "image")},
        "shift": {condition: _shift(states["text"], states[condition], components) for condition in ("blank", "image")},
    }


def _accuracy(fitted_on: np.ndarray, applied_to: np.ndarray) -> dict[str, Any]:
    k, n = pair_left_out(fitted_on, applied_to)
    low, high = _wilson(k, n)
    return {"k": k, "n": n, "accuracy": k / n, "low": low, "high": high}


def _shift(text: np.ndarray, other: np.ndarray, components: np.ndarray) -> dict[str, float]:
    shift = (other - text).mean(axis=(0, 1))
    length = float(np.linalg.norm(shift))
    state = float(np.linalg.norm(text, axis=-1).mean())
    shown = float(np.linalg.norm(components @ shift))
    return {
        "length": length,
        "over_state": length / state if state else 0.0,
        "in_plane": min(1.0, shown / length) if length else 0.0,
    }
