"""What was measured of a guard or of a model, printed as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlmguard_plugin.inspection.engines import in_words
from vlmguard_plugin.inspection.points import MEASURES, interval_of, is_chosen, outcome, remarks, settings_text
from vlmguard_plugin.inspection.rates import rate_text
from vlmguard_plugin.inspection.shift import CONDITIONS
from vlmguard_plugin.leaderboard.outputs.wording import percent
from vlmguard_plugin.reading import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


WIDTH = 120  # of printed tables, in characters


def print_guard(description: dict[str, Any], console: Console | None = None) -> None:
    """Print what describe_guard found: settings, one row a layer, and the calibration if there is one."""
    from rich.text import Text

    console = console or new_console()
    model, anchors = description["model"], description["anchors"]
    lines = {
        "guard": description["guard"],
        "model": f"{model['fingerprint']}, {model['num_layers']} layers of width {model['hidden_size']}",
        "anchors": f"{anchors['pairs']} pairs, sha256 {anchors['sha256'][:12]}",
    }
    if model.get("engines"):
        lines["engines"] = in_words(model["engines"])
    console.print(Text(labelled(lines)))
    for part in description["parts"] or [description]:
        lines = {"settings": settings_text(part["settings"]) or "none"}
        if description["parts"]:
            console.print()
            lines = {"part": part["guard"], **lines}
        if part["ours"]:
            lines["ours"] = visible(", ".join(map(str, part["ours"]))) + " (its sources leave them open)"
        if part["edited_layers"]:
            lines["edits layers"] = ", ".join(str(layer) for layer in part["edited_layers"])
        console.print(Text(labelled(lines)))
        if part["per_layer"]:
            console.print(layer_table(part))
        else:
            console.print(Text("This guard keeps no numbers per layer."), style="dim")
        if part["gate"]:
            console.print(fitted_gate_table(part["gate"]))
        if part["calibration"]:
            console.print(calibration_table(part["calibration"]))
            console.print(Text(visible(outcome(part["calibration"]))), style="bold")


def layer_table(description: dict[str, Any]) -> Table:
    from rich.text import Text

    per_layer = description["per_layer"]
    table = new_table("Facts per layer (*: edited)")
    for header in ("layer", *per_layer):
        table.add_column(Text(visible(header.replace("_", " "))), justify="right")
    for layer in range(description["model"]["num_layers"]):
        edited = layer in description["edited_layers"]
        cells = [Text(fact_text(values[layer])) for values in per_layer.values()]
        table.add_row(f"{'* ' if edited else ''}{layer}", *cells, style="bold" if edited else None)
    return table


def fitted_gate_table(gate: dict[str, Any]) -> Table:
    """Where a fitted gate's threshold lies, and what it does to the anchors, each scored by a gate without its pair."""
    from rich.text import Text

    table = new_table(
        f"The gate, out of fold: fires above a score of {fact_text(gate['threshold'])}; % of anchors fired"
    )
    for header in ("condition", "area under curve", "harmful", "harmless", "of others like them at most"):
        table.add_column(header, justify="left" if header == "condition" else "right")
    for condition, found in gate["out_of_fold"].items():
        shares = [percent(found[side]) for side in ("harmful_fired", "harmless_fired", "harmless_at_most")]
        table.add_row(Text(visible(condition)), f"{found['area_under_curve']:.3f}", *shares)
    return table


def fact_text(value: Any) -> str:
    """A number with four digits; of a list the first three."""
    if isinstance(value, list):
        return " ".join(fact_text(number) for number in value[:3]) + (" ..." if len(value) > 3 else "")
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else visible(str(value))


def calibration_table(calibration: dict[str, Any]) -> Table:
    from rich.text import Text

    beside = f", with {', '.join(map(str, calibration['images']))}" if calibration.get("images") else ""
    table = new_table(f"Calibration on {calibration['pairs']} pairs{beside}: % of answers [95% Wilson interval]")
    table.add_column("settings", overflow="fold")
    for measure in MEASURES:
        table.add_column(measure.replace("_", " "), justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for point in (calibration["unguarded"], *calibration["points"]):
        guarded = point is not calibration["unguarded"]
        rates = [rate_text(point[measure], *interval_of(point, measure)) for measure in MEASURES]
        chosen = guarded and is_chosen(point, calibration)
        remark = ", ".join(remarks(point, calibration)) if guarded else ""
        name = (settings_text(point["settings"]) or "as given") if guarded else "unguarded"
        table.add_row(Text(visible(name)), *rates, remark, style="bold" if chosen else None)
    return table


def print_shift(measured: dict[str, Any], console: Console | None = None) -> None:
    """Print what measure_shift found: separability, then the shift, one row a layer each."""
    from rich.text import Text

    console = console or new_console()
    rates = new_table("Harmful told from harmless, % of left-out requests [95% Wilson interval]")
    for header in ("layer", *CONDITIONS.values(), "blank, by text's means", "image, by text's means"):
        rates.add_column(header, justify="right")
    shifts = new_table("Shift of the mean state from text only")
    lengths = [
        header for condition in ("blank", "image") for header in (f"{condition}: length", "of state", "in plane")
    ]
    for header in ("layer", *lengths, "variance PC1+2"):
        shifts.add_column(header, justify="right")
    for layer in measured["layers"]:
        told_apart = [*layer["separability"].values(), *layer["from_text"].values()]
        rates.add_row(
            str(layer["layer"]), *(rate_text(rate["accuracy"], rate["low"], rate["high"]) for rate in told_apart)
        )
        cells = []
        for shift in layer["shift"].values():
            cells += [f"{shift['length']:.4g}", percent(shift["over_state"]), percent(shift["in_plane"])]
        shifts.add_row(str(layer["layer"]), *cells, percent(sum(layer["explained_variance_ratio"])))
    console.print(rates)
    console.print(shifts)
    note = (
        f"{measured['anchors']['pairs']} anchor pairs on {measured['model']['fingerprint']}; "
        "state after each decoder layer at the last prompt token. "
        "Each pair is classified by the nearer class mean of all other pairs. "
        "Of state: length over the mean length of text-only states, in %. "
        "In plane: share of the length that the figure's plane shows, in %. "
        "Variance PC1+2: share that the plane shows, in %."
    )
    console.print(Text(note), style="dim")


def print_gate(measured: dict[str, Any], console: Console | None = None) -> None:
    """Print what measure_gate found: the guard's gates, then the probes, one row a condition or a layer."""
    from rich.text import Text

    console = console or new_console()
    if measured["gates"]:
        seen = ", on the anchors that it was fitted on, in whole or in part" if measured["fitted_on_these"] else ""
        table = new_table(f"The guard's gates{seen}: % of anchors fired [95% Wilson interval]")
        for header in ("gate", "condition", "area under curve", "harmful fired", "harmless fired"):
            table.add_column(header, justify="left" if header in ("gate", "condition") else "right")
        for gate in measured["gates"]:
            for condition, found in gate["by_condition"].items():
                table.add_row(Text(visible(gate["name"])), Text(visible(condition)), *gate_cells(found))
        console.print(table)
    probes = new_table("Plain probes, out of fold: area under the curve; harmful anchors fired, %")
    for header in ("layer", *measured["conditions"]):
        probes.add_column(Text(visible(header)), justify="right")
    for probe in measured["probes"]:
        cells = [
            f"{found['area_under_curve']:.3f}; {percent(found['harmful_fired']['rate'])}"
            for found in probe["by_condition"].values()
        ]
        probes.add_row(probe["name"].removeprefix("layer "), *cells)
    console.print(probes)
    note = (
        f"{measured['anchors']['pairs']} anchor pairs on {measured['model']['fingerprint']}; state after each decoder "
        "layer at the last prompt token, before any edit. A probe is a discriminant of all conditions together, each "
        "pair scored by one fitted without it; it fires where under no condition more than "
        f"{percent(measured['rate'])}% of the harmless anchors do."
    )
    console.print(Text(note), style="dim")


def gate_cells(found: dict[str, Any]) -> list[str]:
    """What one gate does under one condition."""
    rates = [found[side] for side in ("harmful_fired", "harmless_fired")]
    return [
        f"{found['area_under_curve']:.3f}",
        *(rate_text(rate["rate"], rate["low"], rate["high"]) for rate in rates),
    ]


def labelled(lines: dict[str, str]) -> str:
    return "\n".join(f"{label:<13} {visible(text)}" for label, text in lines.items())


def new_console() -> Console:
    from rich.console import Console

    return Console(width=WIDTH)


def new_table(title: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    return Table(title=Text(visible(title)), title_justify="left")
