"""`vlmguard judge`: several judges on one host's predictions."""

from __future__ import annotations

from pathlib import Path

import click

from vlmguard_plugin import environment
from vlmguard_plugin.cli.options import JSON, MAX_UNKNOWN


def judge_names(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> list[tuple[str, str | None]]:
    """NAME or NAME=PATH, as (name, path)."""
    judges = [(name, path or None) for name, _, path in (value.partition("=") for value in values)]
    if len({name for name, _ in judges}) < len(judges):
        raise click.BadParameter("a judge is named twice; name each once")
    return judges


def judge_prompts(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """NAME=FILE pairs, by name."""
    prompts = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or not Path(path).is_file():
            raise click.BadParameter(f"{value!r} is not NAME=FILE with a file that is there")
        prompts[name] = path
    return prompts


@click.command("judge")
@click.argument("output_dir", type=click.Path(path_type=Path))
@click.option(
    "--judge",
    "judges",
    multiple=True,
    required=True,
    callback=judge_names,
    metavar="NAME[=PATH]",
    help="A judge; repeatable.",
)
@click.option(
    "--judge-base-url",
    envvar=environment.JUDGE_BASE_URL.name,
    metavar="URL",
    help="OpenAI-compatible endpoint of the judges that are not local.",
)
@click.option(
    "--judge-key", envvar=environment.JUDGE_KEY.name, metavar="KEY", help="Its key; default: $OPENAI_API_KEY."
)
@click.option(
    "--judge-prompt",
    "prompts",
    multiple=True,
    callback=judge_prompts,
    metavar="NAME=FILE",
    help="A local judge's own prompt, where it takes one; repeatable.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="Answers a local judge reads at once, or requests to an endpoint at a time.",
)
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds an endpoint may take for one answer.")
@click.option("--retry", type=click.IntRange(0), help="How often an endpoint is asked again.")
@click.option("--data", "datasets", multiple=True, metavar="NAME", help="Judge this data set alone; repeatable.")
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="People's labels: csv with index (or id), label and, if wanted, model and dataset.",
)
@MAX_UNKNOWN
@JSON
def judge_command(
    output_dir: Path,
    judges: list[tuple[str, str | None]],
    judge_base_url: str | None,
    judge_key: str | None,
    prompts: dict[str, str],
    batch_size: int | None,
    timeout: float | None,
    retry: int | None,
    datasets: tuple[str, ...],
    labels: Path | None,
    max_unknown: float,
    as_json: bool,
) -> None:
    """Judge the safety answers in OUTPUT_DIR, by several judges.

    OUTPUT_DIR is a host's output folder. Shows how far the judges agree.

    \b
    vlmguard judge outputs --judge rules --judge llama_guard_3=/models/Llama-Guard-3-8B
    vlmguard judge outputs --judge gpt-4o-mini --judge-base-url https://api.openai.com/v1
    vlmguard judge outputs --judge rules --labels people.csv
    vlmguard leaderboard outputs --judge llama_guard_3

    NAME is rules, a local model (llama_guard_7b, llama_guard_3, llama_guard_4, harmbench, wildguard, strongreject;
    PATH is its folder, else it comes from the hub) or a model's name at the endpoint. Judgements are kept in
    OUTPUT_DIR/vlmguard-judgements, so nothing is judged twice. A judge that fails leaves the answer unknown, which
    never counts as safe; the next run asks again.
    """
    from vlmguard_plugin.judges.registry import LOCAL, build_judge
    from vlmguard_plugin.leaderboard.judging import judge_outputs
    from vlmguard_plugin.leaderboard.outputs.escaping import json_text
    from vlmguard_plugin.leaderboard.outputs.judgements import show_judged

    not_asked = prompts.keys() - {name for name, _ in judges if name in LOCAL}
    if not_asked:
        raise click.UsageError(
            f"--judge-prompt is given for {', '.join(sorted(not_asked))}, which is no local judge of this command"
        )
    built = []
    for name, path in judges:
        if name in LOCAL:
            built.append(build_judge(name, path=path, batch_size=batch_size, prompt_file=prompts.get(name)))
        elif name == "rules":
            built.append(build_judge(name))
        else:
            built.append(build_judge(name, path, judge_base_url, judge_key, batch_size, timeout, retry))
    report = judge_outputs(output_dir, built, labels, datasets, max_unknown, progress=not as_json)
    if as_json:
        click.echo(json_text(report.to_dict()))
    else:
        show_judged(report)
