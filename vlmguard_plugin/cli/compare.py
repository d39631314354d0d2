"""`vlmguard compare`: two models item by item."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from vlmguard_plugin.cli.options import JUDGE, ONE_DATA_SET


@click.command("compare")
@click.argument("a")
@click.argument("b")
@click.option(
    "--in",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="An output folder of a host; repeatable. Default: outputs.",
)
@ONE_DATA_SET
@JUDGE
@click.option(
    "--by",
    type=click.Choice(("category", "condition")),
    default="category",
    show_default=True,
    help="What changes are counted by.",
)
@click.option("--items", is_flag=True, help="List the items that changed, without their texts.")
@click.option("--answers", is_flag=True, help="List them with the request and both answers.")
@click.option("--markdown", "form", flag_value="markdown", help="Print Markdown.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV: the counts, or with --items the items.")
@click.option("--json", "form", flag_value="json", help="Print JSON, for programs.")
def compare_command(
    a: str,
    b: str,
    folders: tuple[Path, ...],
    datasets: tuple[str, ...],
    judge: str,
    by: Literal["category", "condition"],
    items: bool,
    answers: bool,
    form: str | None,
) -> None:
    """Compare two models item by item.

    Shows what went from answer to refusal, from right to wrong, and back.

    \b
    vlmguard compare llava llava_cmrm --in outputs --items
    vlmguard compare vlmeval-out/llava lmms-out/llava --data FigStep

    A and B are names as on the leaderboard of the folders, or a model's own folder, WORK_DIR/MODEL. They may come from
    different hosts. Only items that both were asked are compared; how many
    items only one of them has is shown.
    """
    from vlmguard_plugin.leaderboard.compare import compare
    from vlmguard_plugin.leaderboard.outputs import comparison as outputs

    comparison = compare(a, b, folders, datasets, judge, by)
    if form == "json":
        click.echo(outputs.to_json(comparison, items, answers))
    elif form == "markdown":
        click.echo(outputs.to_markdown(comparison, items, answers))
    elif form == "csv":
        click.echo(outputs.to_csv(comparison, items, answers), nl=False)
    else:
        outputs.show(comparison, items=items, answers=answers)
