"""`vlmguard inspect`: what a fit has found, or what pictures do to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vlmguard_plugin.cli.options import JSON, anchors_asked_for, refuse_without


@click.command("inspect")
@click.argument("guard_dir", required=False, type=click.Path(path_type=Path))
@click.option(
    "--shift", "model", metavar="MODEL", help="Look at a model instead: how pictures shift its hidden states."
)
@click.option(
    "--gate",
    "gated",
    metavar="MODEL",
    help="Look at how well harmful and harmless requests can be told apart, by layer and condition; with GUARD_DIR, at "
    "its gate too.",
)
@click.option(
    "--anchors",
    metavar="NAME|CSV",
    help="With --shift and --gate: how_to (default), varied, how_to+varied, or a csv of anchors.",
)
@click.option(
    "--pairs", type=click.IntRange(3), help="With --shift and --gate: anchor pairs that are looked at; default: all."
)
@click.option("--layers", metavar="10,14", help="With --shift: decoder layers that are looked at; default: all.")
@click.option(
    "--conditions",
    default="text,blank,noise,shape,word",
    show_default=True,
    help="With --gate: what stands beside the anchors; photos=FOLDER too.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 0.5),
    default=0.01,
    show_default=True,
    help="With --gate: share of harmless anchors that a probe may fire on under every condition.",
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw to this .png or .svg; without suffix, to both.")
@JSON
def inspect_command(
    guard_dir: Path | None,
    model: str | None,
    gated: str | None,
    anchors: str | None,
    pairs: int | None,
    layers: str | None,
    conditions: str,
    rate: float,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Show what a fit has found, or what pictures do to a model.

    GUARD_DIR is a fitted guard. --shift MODEL shows what pictures do to a model's hidden states, --gate MODEL how well
    its harmful and harmless requests can be told apart.

    \b
    vlmguard inspect my-guard --plot my-guard.png
    vlmguard inspect --shift llava --pairs 64 --plot shift
    vlmguard inspect my-guard --gate llava --anchors varied --plot gate

    Of a guard: singular values, how often its gate fires on harmful and harmless anchors, other facts by layer, and the
    calibration curve. Of a model: how well harmful and harmless anchors can be told apart at the last prompt token
    (leave-one-pair-out accuracy) as text, with a blank image and with a picture; --plot draws the states in their
    first two principal components, layer by layer. Of a gate: area under the curve and how often it fires on harmful
    and harmless anchors, by condition, beside a plain probe of each layer; the anchors are not held out from a guard
    that was fitted on them.
    """
    from vlmguard_plugin import inspection
    from vlmguard_plugin.leaderboard.outputs.escaping import json_text

    refuse_without(model is not None, "--shift MODEL", "layers")
    refuse_without(model is not None or gated is not None, "--shift MODEL or --gate MODEL", "anchors", "pairs")
    refuse_without(gated is not None, "--gate MODEL", "conditions", "rate")
    if plot and (model or gated):
        inspection.check_plot(plot)
    if gated is not None and model is None:
        gate = measured_gate(gated, guard_dir, anchors, conditions, rate, pairs, not as_json)
        click.echo(json_text(gate)) if as_json else inspection.print_gate(gate)
        drawn = inspection.plot_gate(gate, plot) if plot else []
    elif guard_dir is not None and model is None:
        description = inspection.describe_guard(guard_dir)
        click.echo(json_text(description)) if as_json else inspection.print_guard(description)
        drawn = inspection.plot_guard(description, plot) if plot else []
    elif model is not None and gated is None and guard_dir is None:
        shift = measured_shift(model, anchors, pairs, layers, not as_json)
        click.echo(json_text(shift)) if as_json else inspection.print_shift(shift)
        drawn = inspection.plot_shift(shift, plot) if plot else []
    else:
        raise click.UsageError("give either a guard's folder or --shift MODEL; --gate MODEL takes a folder or none")
    for path in drawn:
        click.echo(f"drawn: {path}", err=True)


def measured_shift(
    model: str, anchors: str | None, pairs: int | None, layers: str | None, progress: bool
) -> dict[str, Any]:
    """inspection.measure_shift of a model by name."""
    from vlmguard_plugin.hosts.guard_spec import GuardSpec
    from vlmguard_plugin.inspection import measure_shift

    try:
        chosen = [int(layer) for layer in layers.split(",")] if layers else None
    except ValueError as error:
        raise click.BadParameter(f"--layers {layers!r} is not a list of layers such as 10,14") from error
    requests = anchors_asked_for(anchors)
    subject = GuardSpec(model).load_subject()
    return measure_shift(subject, requests, layers=chosen, pairs=pairs, progress=progress)


def measured_gate(
    model: str,
    guard_dir: Path | None,
    anchors: str | None,
    conditions: str,
    rate: float,
    pairs: int | None,
    progress: bool,
) -> dict[str, Any]:
    """inspection.measure_gate of a model by name, and of a guard's folder."""
    from vlmguard_plugin.guards.core.registry import load_guard
    from vlmguard_plugin.hosts.guard_spec import GuardSpec
    from vlmguard_plugin.inspection import measure_gate
    from vlmguard_plugin.inspection.gate import gated_parts

    guard = None if guard_dir is None else load_guard(guard_dir)
    gated_parts(guard)  # what has no gate is refused before a model is loaded
    requests = anchors_asked_for(anchors)
    subject = GuardSpec(model).load_subject()
    return measure_gate(subject, requests, guard, conditions, rate, pairs=pairs, progress=progress)
