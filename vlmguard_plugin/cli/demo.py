"""`vlmguard demo`: the whole comparison on a small real model."""

from __future__ import annotations

from pathlib import Path

import click

from vlmguard_plugin.cli.options import JSON
from vlmguard_plugin.demo.vlms import DEMO_VLMS


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
    "--model",
    type=click.Choice(list(DEMO_VLMS)),
    default="demo_vlm",
    show_default=True,
    help="The small real VLM.",
)
@click.option(
    "--models",
    default=None,
    help="Models to compare, separated by commas; default: the model without a guard and with three.",
)
@JSON
def demo_command(out: Path, items: int, model: str, models: str | None, as_json: bool) -> None:
    """Run the whole comparison on a small real VLM.

    It goes through VLMEvalKit's own command: builds the VLM once (0.5 GB to download, 1.5 GB in the cache directory;
    demo_vlm_15b: 1.1 and 4 GB), prepares its test sets, runs `python -m vlmeval.run`, and ends with the leaderboard.
    Needs `pip install vlmguard_plugin[demo]`.
    """
    from vlmguard_plugin.demo.run import compared, run_demo
    from vlmguard_plugin.leaderboard import show, to_json

    board = run_demo(out, items, tuple(models.split(",")) if models else compared(model))
    if as_json:
        click.echo(to_json(board))
    else:
        show(board, short=True)
