"""`vlmguard demo`: the whole comparison on a small real model."""

from __future__ import annotations

from pathlib import Path

import click

from vlmguard_plugin.cli.options import JSON


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="Folder for the host's predictions.",
)
@click.option(
    "--items",
    type=click.IntRange(4, 120),
    default=40,
    show_default=True,
    help="Harmful and harmless requests per condition.",
)
@click.option(
    "--models",
    default="demo_vlm,demo_vlm_vlmguard,demo_vlm_cmrm,demo_vlm_cmrm_sample",
    show_default=True,
    help="Models to compare.",
)
@JSON
def demo_command(out: Path, items: int, models: str, as_json: bool) -> None:
    """Run the whole comparison on a small real VLM, through VLMEvalKit's own command.

    Builds the VLM once (about 0.5 GB to download, 1 GB kept in the cache directory), prepares its test sets, runs
    `python -m vlmeval.run`, and ends with the leaderboard. Needs `pip install vlmguard_plugin[demo]`.
    """
    from vlmguard_plugin.demo.run import run_demo
    from vlmguard_plugin.leaderboard import show, to_json

    board = run_demo(out, items, tuple(models.split(",")))
    if as_json:
        click.echo(to_json(board))
    else:
        show(board)
