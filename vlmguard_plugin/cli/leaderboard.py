"""`vlmguard leaderboard`: the models in hosts' output folders beside each other."""

from __future__ import annotations

from pathlib import Path

import click

from vlmguard_plugin.cli.options import JSON, JUDGE, MAX_UNKNOWN
from vlmguard_plugin.files import write_whole


@click.command("leaderboard")
@click.argument("output_dirs", nargs=-1, type=click.Path(path_type=Path), metavar="OUTPUT_DIR...")
@click.option("--base", help="The unguarded model that all others are compared with; default: by name (X for X_cmrm).")
@JUDGE
@MAX_UNKNOWN
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write one self-contained page."
)
@click.option(
    "--answers", is_flag=True, help="With --html: put the models' answers into the page, folded until you open them."
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the rates over all data sets to this .png or .svg; without suffix, to both.",
)
@click.option("--short", is_flag=True, help="Of the tables the one over all data sets alone.")
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, one line a data set, model and measure.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of --json.")
@JSON
def leaderboard_command(
    output_dirs: tuple[Path, ...],
    base: str | None,
    judge: str,
    max_unknown: float,
    html: Path | None,
    answers: bool,
    plot: Path | None,
    short: bool,
    markdown: bool,
    as_csv: bool,
    schema: bool,
    as_json: bool,
) -> None:
    """Compare the models in hosts' output folders.

    Shows attack success, over-refusal, degenerate answers, utility and cost.

    \b
    vlmguard leaderboard outputs                       what VLMEvalKit wrote (--work-dir)
    vlmguard leaderboard outputs logs seed-1 seed-2    several folders, of any of the three hosts (--output_path)
    vlmguard leaderboard outputs --html board.html
    vlmguard leaderboard outputs --plot board.svg

    Every rate has a 95% Wilson interval, n and the share that could not be judged; every guarded model is compared with
    the unguarded one on the same items (exact McNemar test, Holm's correction). Where answers share a base request,
    intervals and tests allow for it. Runs that failed or are not finished are named. The same model in several folders
    is one model asked several times, unless its settings differ. Answers are never shown without --answers.
    """
    from vlmguard_plugin.inspection import check_plot, plot_board
    from vlmguard_plugin.leaderboard import leaderboard, schema_text, show, to_csv, to_html, to_json, to_markdown

    if sum((markdown, as_csv, schema, as_json)) > 1:
        raise click.UsageError("--markdown, --csv, --schema and --json exclude each other; give one")
    if short and (markdown or as_csv or schema or as_json):
        raise click.UsageError("--short goes with the tables in the terminal alone")
    if answers and html is None:
        raise click.UsageError("--answers goes with --html")
    if schema:
        click.echo(schema_text())
        return
    if not output_dirs:
        raise click.UsageError("give at least one output folder of a host (its --work-dir or --output_path)")
    if plot:
        check_plot(plot, "leaderboard")
    board = leaderboard(output_dirs, base=base, judge=judge, max_unknown=max_unknown)
    if html:
        write_whole(html, to_html(board, answers))
        click.echo(f"written: {html}", err=True)
    for path in plot_board(board, plot) if plot else ():
        click.echo(f"drawn: {path}", err=True)
    if as_json:
        click.echo(to_json(board))
    elif as_csv:
        click.echo(to_csv(board), nl=False)
    elif markdown:
        click.echo(to_markdown(board))
    elif short or not (html or plot):
        show(board, short=short)
