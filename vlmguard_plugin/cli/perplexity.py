"""`vlmguard perplexity`: how fluent the answers are."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from vlmguard_plugin.cli.options import JSON, ONE_DATA_SET


@click.command("perplexity")
@click.argument("output_dir", type=click.Path(path_type=Path))
@click.option(
    "--model",
    required=True,
    metavar="DIR_OR_NAME",
    help="The language model that reads the answers: a save_pretrained folder or a hub name.",
)
@ONE_DATA_SET
@click.option(
    "--given",
    type=click.Choice(("nothing", "request")),
    default="nothing",
    show_default=True,
    help="What the language model has read before the answer.",
)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Answers read at once.")
@JSON
def perplexity_command(
    output_dir: Path, model: str, datasets: tuple[str, ...], given: str, batch_size: int, as_json: bool
) -> None:
    """Measure how fluent the answers in OUTPUT_DIR are.

    OUTPUT_DIR is a host's output folder; the language model that reads the answers is your own.

    \b
    vlmguard perplexity outputs --model /models/Llama-2-7b-chat-hf

    Prints the median perplexity by model and data set with a 95% bootstrap interval. Low is fluent. Refusals are very
    fluent too: read it beside the refusal rates.
    """
    from vlmguard_plugin.leaderboard.fluency import fluency
    from vlmguard_plugin.leaderboard.outputs.escaping import json_text
    from vlmguard_plugin.leaderboard.outputs.judgements import show_fluency

    measured, skipped = fluency(output_dir, model, datasets, given, batch_size)
    if as_json:
        left_out = [{"file": str(left.file), "reason": left.reason} for left in skipped]
        click.echo(json_text({"perplexity": [asdict(median) for median in measured], "skipped": left_out}))
    else:
        show_fluency(measured, skipped)
