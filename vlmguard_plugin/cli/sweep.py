"""`vlmguard sweep`: a guard at several settings, as a curve."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from vlmguard_plugin.cli.options import JSON, JUDGE, MAX_UNKNOWN, read_grid, set_option


@click.command("sweep")
@click.argument("model")
@click.argument("guard")
@click.argument("host_arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- HOST ARGUMENTS]")
@click.option(
    "--data", "datasets", multiple=True, required=True, metavar="NAME", help="A data set of the host; repeatable."
)
@click.option(
    "--grid",
    callback=read_grid,
    required=True,
    metavar="JSON",
    help='Settings and their values, as {"alpha": [0, 0.5, 1]}: every combination; or a list of such.',
)
@set_option("settings", "A setting of all points, e.g. layers=[10,11]; repeatable.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the host's predictions.")
@JUDGE
@MAX_UNKNOWN
@JSON
def sweep_command(
    model: str,
    guard: str,
    host_arguments: tuple[str, ...],
    datasets: tuple[str, ...],
    grid: list[dict[str, list[Any]]],
    settings: dict[str, Any],
    out: Path,
    judge: str,
    max_unknown: float,
    as_json: bool,
) -> None:
    """Run GUARD on MODEL at several settings, and show the curve.

    The runs go through VLMEvalKit; the curve stands beside the unguarded model.

    \b
    vlmguard sweep llava cmrm --data FigStep --grid '{"alpha": [0, 0.25, 0.5, 1]}' --out curve
    vlmguard sweep demo_vlm vlm_guard --data FigStep --grid '{"layers": [[14], [15, 16]]}' --set alpha=1 --out curve \\
      -- --limit 50
    vlmguard sweep llava cmrm+self_reminder --data FigStep --grid '{"cmrm.alpha": [0.5, 1]}' --out curve

    A sweep that was stopped goes on when it is started again, and points can be added to the grid later: what is in
    --out already is not asked again. Each point is a model of its own there, such as llava_cmrm@alpha=0.5, for
    `vlmguard leaderboard` and `compare` too. Arguments after -- go to VLMEvalKit's command. The exit status is 1 if a
    point has no predictions.
    """
    from vlmguard_plugin.calibration.sweep import show, sweep, to_json

    try:
        curve = sweep(model, guard, datasets, grid, out, settings, judge, max_unknown, host_arguments)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(to_json(curve))
    else:
        show(curve)
    if curve.missing:
        sys.exit(1)
