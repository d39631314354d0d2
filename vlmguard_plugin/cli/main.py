"""The console command `vlmguard`: parses, calls, prints."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


class Command(click.Group):
    """Errors a user can mend are shown as one line; a traceback is for bugs."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (ValueError, FileNotFoundError, ImportError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Command, context_settings=CONTEXT)
@click.version_option(package_name="vlmguard_plugin")
def main() -> None:
    """Inference-time safety guards for vision-language models.

    \b
    A first session:
      vlmguard demo                                what the guards do, on a small real model
      vlmguard list                                guards, models and datasets there are
      vlmguard data prepare FigStep --source DIR   the authors' files -> the host's $LMUData
      python -m vlmeval.run --data FigStep --model llava llava_vlmguard llava_cmrm
      vlmguard leaderboard outputs                 rates, intervals, paired differences
      vlmguard leaderboard outputs --html board.html
      vlmguard compare llava llava_cmrm --in outputs
      vlmguard sweep llava cmrm ...                a setting's curve (see its --help)
      vlmguard judge outputs --judge rules --judge llama_guard_3=DIR
      vlmguard fit cmrm --model llava --calibrate --out my-guard
      vlmguard inspect my-guard --plot my-guard.png
    """


@main.command("list")
@JSON
def list_command(as_json: bool) -> None:
    """Show the guards with their settings and defaults, the models and the datasets.

    Guards go onto a model by name: `llava_vlmguard`, `demo_vlm_cmrm`, several at once as in
    `llava_vlmguard+self_reminder`. On VLMEvalKit they go onto its own open-weight models too: `<model>_<guard>` for
    every name of `vlmutil mlist all`. Datasets marked with an asterisk are ready in $LMUData.
    """
    from vlmguard_plugin.benchmarks import BENCHMARKS, grouped
    from vlmguard_plugin.benchmarks.tsv import lmu_data
    from vlmguard_plugin.guards.core.registry import guard_classes
    from vlmguard_plugin.hosts.models import MODELS

    guards = {}
    for name, guard in guard_classes().items():
        guards[name] = {
            "summary": (guard.__doc__ or "").strip().splitlines()[0],
            "settings": {field.name: getattr(guard().settings, field.name) for field in fields(guard.Settings)},
        }
    datasets = {
        name: {"kind": benchmark.kind, "ready": (lmu_data() / f"{name}.tsv").is_file()}
        for name, benchmark in BENCHMARKS.items()
    }
    models = {name: model.describe() for name, model in MODELS.items()}
    if as_json:
        click.echo(json.dumps({"guards": guards, "models": models, "datasets": datasets}, indent=2))
        return
    click.echo("Guards")
    for name, guard in guards.items():
        click.echo(f"  {name:<18} {guard['summary']}")
        click.echo("                     " + ", ".join(f"{key}={value!r}" for key, value in guard["settings"].items()))
    click.echo("\nModels (each alone, and with a guard: NAME_vlmguard, NAME_cmrm, ...)")
    for name, description in models.items():
        click.echo(f"  {name:<17} {description}")
    click.echo("\nDatasets (more of each: `vlmguard data list`)")
    for label, names in grouped(datasets):
        ready = sum(datasets[name]["ready"] for name in names)
        click.echo(
            f"  {label:<38} {datasets[names[0]]['kind']:<7} {'*' if ready == len(names) else f'* {ready} of {len(names)}' if ready else ''}"
        )


def setting(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE pairs, the values read as JSON where they are JSON."""
    settings = {}
    for pair in values:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE, as in alpha=0.5 or layers=[10,11]")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings


def read_grid(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> list[dict[str, list[Any]]] | None:
    """A JSON list of {setting: [values]}, or one of these."""
    if value is None:
        return None
    try:
        grid = json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no JSON ({error})") from error
    grid = [grid] if isinstance(grid, dict) and grid else grid
    if not isinstance(grid, list) or not all(
        isinstance(part, dict) and all(isinstance(one, list) for one in part.values()) for part in grid
    ):
        raise click.BadParameter(f'{value!r} is not a list of {{setting: [values]}}, as in [{{"alpha": [0.5, 1]}}]')
    return grid


@main.command()
@click.argument("guard")
@click.option("--model", required=True, help="save_pretrained folder, hub name, or a model of `vlmguard list`.")
@click.option(
    "--anchors",
    type=click.Path(path_type=Path),
    help="csv with the columns harmful and harmless; default: the package's own.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=setting,
    metavar="NAME=VALUE",
    help="A setting of the guard, e.g. layers=[10,11]; repeatable.",
)
@click.option(
    "--calibrate", "calibrated", is_flag=True, help="Choose the settings on held-out anchors beside pictures."
)
@click.option(
    "--bound",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="With --calibrate: over-refusal that may be added, as a share.",
)
@click.option(
    "--grid",
    callback=read_grid,
    metavar="JSON",
    help='With --calibrate: settings to try, as [{"alpha": [0.5, 1]}]; default: the guard\'s own.',
)
@click.option(
    "--pairs", type=click.IntRange(2), help="With --calibrate: held-out pairs that are answered; default: all."
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder to write guard.safetensors and guard.json to."
)
@JSON
def fit(
    guard: str,
    model: str,
    anchors: Path | None,
    settings: dict[str, Any],
    calibrated: bool,
    bound: float,
    grid: list[dict[str, list[Any]]] | None,
    pairs: int | None,
    out: Path,
    as_json: bool,
) -> None:
    """Fit GUARD on a model's hidden states and save it as a folder.

    \b
    vlmguard fit vlm_guard --model llava --set rank=2 --set layers=[14,15] --out my-guard
    VLMGUARD_GUARD_DIR=my-guard python -m vlmeval.run --data FigStep --model llava_vlmguard

    Fitting runs one pass per anchor request (two for CMRM), on $VLMGUARD_DEVICE or the first GPU.

    \b
    vlmguard fit cmrm --model llava --calibrate --out my-guard

    --calibrate fits on half of the anchors and answers the other half beside pictures under each setting. It keeps
    every point it has measured in --out and goes on from them when it was stopped. It takes the setting that refuses
    most harmful anchors within --bound; where none is within it, it says so and leaves the settings as they were.
    """
    from vlmguard_plugin.anchors import load_anchors
    from vlmguard_plugin.calibration.calibrate import calibrate, in_words
    from vlmguard_plugin.guards.core.registry import build_guard
    from vlmguard_plugin.hosts.models import MODELS, Model, merged
    from vlmguard_plugin.subjects.loading import load_subject

    known = MODELS.get(model, Model(model))
    fitted = build_guard(guard, **merged(known.guard_settings(guard), settings))
    requests = load_anchors(anchors)
    subject = load_subject(known.folder_or_name())
    if calibrated:
        points = out / "calibration.json"
        fitted = calibrate(
            fitted,
            subject,
            requests,
            grid=grid,
            fixed=tuple(settings),
            bound=bound,
            pairs=pairs,
            points_file=points,
            progress=not as_json,
        )
    else:
        fitted.fit(subject, requests, progress=not as_json)
    fitted.save(out)
    if as_json:
        click.echo((out / "guard.json").read_text())
        return
    layers = ", ".join(str(layer) for layer in fitted.facts.get("edited_layers", ()))
    edits = f"; edits layers {layers}" if layers else ""
    click.echo(f"Fitted {guard} on {subject.fingerprint}, {fitted.facts['anchors']['pairs']} pairs{edits}: {out}")
    if calibrated:
        click.echo(in_words(fitted.facts["calibration"]))


@main.command()
@click.argument("guard_dir", required=False, type=click.Path(path_type=Path))
@click.option(
    "--shift", "model", metavar="MODEL", help="Look at a model instead: how pictures shift its hidden states."
)
@click.option(
    "--anchors", type=click.Path(path_type=Path), help="With --shift: csv of anchors; default: the package's own."
)
@click.option("--pairs", type=click.IntRange(3), help="With --shift: anchor pairs that are looked at; default: all.")
@click.option("--layers", metavar="10,14", help="With --shift: decoder layers that are looked at; default: all.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw to this .png or .svg; without suffix, to both.")
@JSON
def inspect(
    guard_dir: Path | None,
    model: str | None,
    anchors: Path | None,
    pairs: int | None,
    layers: str | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Show what a fit has found: GUARD_DIR, or with --shift what pictures do to a model's hidden states.

    \b
    vlmguard inspect my-guard --plot my-guard.png
    vlmguard inspect --shift llava --pairs 64 --plot shift

    Of a guard: singular values, how often its gate fires on harmful and harmless anchors, other facts by layer, and the
    calibration curve. Of a model: how well harmful and harmless anchors can be told apart at the last prompt token
    (leave-one-pair-out accuracy) as text, with a blank image and with a picture; --plot draws the states in their
    first two principal components, layer by layer.
    """
    from vlmguard_plugin.inspection import inspection

    if (guard_dir is None) == (model is None):
        raise click.UsageError("give either a guard's folder or --shift MODEL")
    if model is None:
        found = inspection.describe_guard(guard_dir)
        show, draw = inspection.print_guard, inspection.plot_guard
    else:
        if plot:
            inspection.check_plot(plot)
        found = measured_shift(model, anchors, pairs, layers, not as_json)
        show, draw = inspection.print_shift, inspection.plot_shift
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        show(found)
    if plot:
        for path in draw(found, plot):
            click.echo(f"drawn: {path}", err=True)


def measured_shift(
    model: str, anchors: Path | None, pairs: int | None, layers: str | None, progress: bool
) -> dict[str, Any]:
    """What inspection.measure_shift finds for a model by name."""
    from vlmguard_plugin.anchors import load_anchors
    from vlmguard_plugin.hosts.models import MODELS, Model
    from vlmguard_plugin.inspection.inspection import measure_shift
    from vlmguard_plugin.subjects.loading import load_subject

    try:
        chosen = [int(layer) for layer in layers.split(",")] if layers else None
    except ValueError as error:
        raise click.BadParameter(f"--layers {layers!r} is not a list of layers such as 10,14") from error
    requests = load_anchors(anchors)
    subject = load_subject(MODELS.get(model, Model(model)).folder_or_name())
    return measure_shift(subject, requests, layers=chosen, pairs=pairs, progress=progress)


@main.group()
def data() -> None:
    """Turn benchmarks' original files into the host's datasets.

    \b
    vlmguard data list                                   what can be prepared, and what is ready
    vlmguard data list AdvBench_blank                    all that is known of one
    vlmguard data prepare FigStep --source FigStep-main  from files of your own
    vlmguard data prepare AdvBench_blank --download      from the authors' place
    """


@data.command("prepare")
@click.argument("name")
@click.option("--source", type=click.Path(path_type=Path), help="The authors' folder or file.")
@click.option(
    "--download",
    "downloaded",
    is_flag=True,
    help="Get the files from the authors' place, once; their licence is shown first.",
)
@click.option(
    "--accept-licence", is_flag=True, help="With --download: accept the licence without being asked, for scripts."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder to write to; default: $LMUData, as the host reads it."
)
@click.option(
    "--set",
    "options",
    multiple=True,
    callback=setting,
    metavar="NAME=VALUE",
    help="An option of the benchmark; repeatable.",
)
@JSON
def data_prepare(
    name: str,
    source: Path | None,
    downloaded: bool,
    accept_licence: bool,
    out: Path | None,
    options: dict[str, Any],
    as_json: bool,
) -> None:
    """Write the dataset NAME for the host, from the original files at --source or from the authors' place.

    \b
    vlmguard data prepare FigStep --source FigStep-main
    vlmguard data prepare AdvBench_blank --download
    vlmguard data prepare AdvBench_picture --download --set images=my_pictures
    vlmguard data prepare Requests_mine_blank --source my_requests.csv

    Downloads are kept in the cache directory ($VLMGUARD_CACHE), go on where they stopped, and are checked by sha256.
    Rows that can't be used are listed with their file, number and the reason; the rest is kept.
    """
    from vlmguard_plugin.benchmarks import download_source, find_benchmark, prepare

    if (source is not None) == downloaded:
        raise click.UsageError("give either --source or --download")
    if accept_licence and not downloaded:
        raise click.UsageError("--accept-licence goes with --download")
    if source is None:
        find_benchmark(name)
        agree(name, accept_licence)
        source = download_source(name, progress=not as_json)
    prepared = prepare(name, source, out_dir=out, **options)
    bad = [str(row) for row in prepared.bad]
    if as_json:
        click.echo(json.dumps({"path": str(prepared.path), "rows": prepared.rows, "bad": bad}, indent=2))
        return
    for row in bad:
        click.echo(f"left out: {row}", err=True)
    click.echo(f"{name}: {prepared.rows} rows in {prepared.path}; {len(bad)} left out")


def agree(name: str, accepted: bool) -> None:
    """Show the licence of a data set's files and have it accepted, once; UsageError where nobody can be asked."""
    from vlmguard_plugin.benchmarks import accept_licence, describe, licence_accepted

    if licence_accepted(name):
        return
    facts = describe(name)
    click.echo(f"{name} comes from {facts['source']}", err=True)
    click.echo(f"Licence: {facts['licence']}", err=True)
    for url in facts["downloads"]:
        click.echo(f"  {url}", err=True)
    if not accepted:
        if not can_be_asked():
            raise click.UsageError(
                "nobody can be asked to accept the licence here; add --accept-licence if you accept it"
            )
        click.confirm("Accept the licence and download?", abort=True, err=True)
    accept_licence(name)


def can_be_asked() -> bool:
    """Whether someone sits at the terminal."""
    return sys.stdin.isatty()


@data.command("list")
@click.argument("name", required=False)
@JSON
def data_list(name: str | None, as_json: bool) -> None:
    """Show the benchmarks that can be prepared, and which are ready; of NAME, all that is known.

    Rows counts those that are ready in $LMUData. Get says whether --download brings the files, or you have to.
    """
    from vlmguard_plugin.benchmarks import BENCHMARKS, describe

    if name:
        facts = describe(name)
        if as_json:
            click.echo(json.dumps(facts, indent=2))
            return
        for key, value in facts.items():
            if key == "downloads":
                click.echo(
                    "\n".join(f"{key + ':' if not line else '':<14}{url}" for line, url in enumerate(value or ["-"]))
                )
                continue
            text = (
                ", ".join(value)
                if isinstance(value, (list, dict))
                else {True: "yes", False: "no", None: "-"}.get(value, str(value))
            )
            click.echo(click.wrap_text(f"{key + ':':<14}{text or '-'}", 100, "", " " * 14))
        return
    found = {name: describe(name) for name in BENCHMARKS}
    if as_json:
        click.echo(json.dumps(list(found.values()), indent=2))
        return
    show_list(found)


def in_short(text: str) -> str:
    """A fact up to its first comma, semicolon, colon or bracket, with an ellipsis where more follows."""
    first = re.split(r"[,;:]\s|\s\(", text, maxsplit=1)[0]
    return first if first == text else f"{first} \u2026"


def show_list(found: dict[str, dict[str, Any]]) -> None:
    """The benchmarks as a table, 100 columns wide, the conditions of a set in one line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from vlmguard_plugin.benchmarks import OWN_NAMES, grouped
    from vlmguard_plugin.benchmarks.picture import EVERY_CONDITION

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("Name", "Kind", "Rows", "Get", "Licence", "Harmful rows"):
        table.add_column(header, no_wrap=header == "Name")
    for label, names in grouped(found):
        facts = found[names[0]]
        ready: dict[int, list[str]] = {}
        for name in names:
            if found[name]["ready"]:
                ready.setdefault(found[name]["rows"], []).append(name.rpartition("_")[2])
        rows = [f"{count} ({', '.join(kept)})" if len(names) > 1 else str(count) for count, kept in ready.items()]
        cells = (
            label,
            facts["kind"],
            "; ".join(rows) or "-",
            "download" if facts["downloadable"] else "source",
            in_short(facts["licence"]),
            in_short(facts["harmful"]),
        )
        table.add_row(*(Text(cell) for cell in cells))
    console = Console(width=100, highlight=False)
    console.print(table)
    console.print(
        Text(
            f"\n<condition>: {', '.join(EVERY_CONDITION)}. Files of your own: {OWN_NAMES}.\nAll of one: vlmguard data list NAME"
        )
    )


def judge_names(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> list[tuple[str, str | None]]:
    """NAME or NAME=PATH, as (name, path)."""
    found = [(name, path or None) for name, _, path in (value.partition("=") for value in values)]
    if len({name for name, _ in found}) < len(found):
        raise click.BadParameter("a judge is named twice; name each once")
    return found


def judge_prompts(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """NAME=FILE pairs, by name."""
    found = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or not Path(path).is_file():
            raise click.BadParameter(f"{value!r} is not NAME=FILE with a file that is there")
        found[name] = path
    return found


MAX_UNKNOWN = click.option(
    "--max-unknown",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Share of unknown answers above which a rate is withheld.",
)


@main.command("judge")
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
    envvar="VLMGUARD_JUDGE_BASE_URL",
    metavar="URL",
    help="OpenAI-compatible endpoint of the judges that are not local.",
)
@click.option("--judge-key", envvar="VLMGUARD_JUDGE_KEY", metavar="KEY", help="Its key; default: $OPENAI_API_KEY.")
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
    """Judge the safety predictions in a host's OUTPUT_DIR, with several judges, and show how far they agree.

    \b
    vlmguard judge outputs --judge rules --judge llama_guard_3=/models/Llama-Guard-3-8B
    vlmguard judge outputs --judge gpt-4o-mini --judge-base-url https://api.openai.com/v1
    vlmguard judge outputs --judge rules --labels people.csv
    vlmguard leaderboard outputs --judge llama_guard_3

    NAME is rules, a local model (llama_guard_7b, llama_guard_3, llama_guard_4, harmbench, wildguard, strongreject;
    PATH is its folder, else it comes from the hub) or a model's name at the endpoint. Judgements are kept in
    OUTPUT_DIR/vlmguard-judgements, so nothing is judged twice. A judge that fails leaves the answer unknown, which
    is never safe; the next call asks it again.
    """
    from vlmguard_plugin.judges.base import LOCAL, build_judge
    from vlmguard_plugin.leaderboard.judging import judge_outputs
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
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        show_judged(report)


@main.command("perplexity")
@click.argument("output_dir", type=click.Path(path_type=Path))
@click.option(
    "--model",
    required=True,
    metavar="DIR_OR_NAME",
    help="The language model that reads the answers: a save_pretrained folder or a hub name.",
)
@click.option("--data", "datasets", multiple=True, metavar="NAME", help="This data set alone; repeatable.")
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
    """Measure how fluent the answers in a host's OUTPUT_DIR are, with a language model of your own.

    \b
    vlmguard perplexity outputs --model /models/Llama-2-7b-chat-hf

    Prints the median perplexity by model and data set with a 95% bootstrap interval. Low is fluent. Refusals are very
    fluent too: read it beside the refusal rates.
    """
    from dataclasses import asdict

    from vlmguard_plugin.leaderboard.fluency import fluency
    from vlmguard_plugin.leaderboard.outputs.judgements import show_fluency

    found, skipped = fluency(output_dir, model, datasets, given, batch_size)
    if as_json:
        left_out = [{"file": str(one.file), "reason": one.reason} for one in skipped]
        click.echo(json.dumps({"perplexity": [asdict(one) for one in found], "skipped": left_out}, indent=2))
    else:
        show_fluency(found, skipped)


@main.command("leaderboard")
@click.argument("output_dirs", nargs=-1, type=click.Path(path_type=Path), metavar="OUTPUT_DIR...")
@click.option("--base", help="The unguarded model that all others are compared with; default: by name (X for X_cmrm).")
@click.option(
    "--judge",
    default="rules",
    show_default=True,
    help="Who judges: rules, or a judge that `vlmguard judge` has run there.",
)
@MAX_UNKNOWN
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write one self-contained page."
)
@click.option(
    "--answers", is_flag=True, help="With --html: put the models' answers into the page, closed until asked for."
)
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
    markdown: bool,
    as_csv: bool,
    schema: bool,
    as_json: bool,
) -> None:
    """Compare the models in hosts' output folders: attack success, over-refusal, degeneration, utility, cost.

    \b
    vlmguard leaderboard outputs                       what VLMEvalKit wrote (--work-dir)
    vlmguard leaderboard outputs logs seed-1 seed-2    several folders, of any of the three hosts (--output_path)
    vlmguard leaderboard outputs --html board.html

    Every rate has a 95% Wilson interval, n and the share that could not be judged; every guarded model is compared
    with the unguarded one on the same items (exact McNemar test, Holm's correction). Answers that share a base request
    count as such. Runs that failed or are not finished are named. The same model in several folders is one model
    asked several times, unless its settings differ. Answers are never shown without --answers.
    """
    from vlmguard_plugin.leaderboard import leaderboard, schema_text, show, to_csv, to_html, to_json, to_markdown

    if sum((markdown, as_csv, schema, as_json)) > 1:
        raise click.UsageError("--markdown, --csv, --schema and --json exclude each other; give one")
    if answers and html is None:
        raise click.UsageError("--answers goes with --html")
    if schema:
        click.echo(schema_text())
        return
    if not output_dirs:
        raise click.UsageError("give at least one output folder of a host (its --work-dir or --output_path)")
    board = leaderboard(output_dirs, base=base, judge=judge, max_unknown=max_unknown)
    if html:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(to_html(board, answers), encoding="utf-8")
        click.echo(f"written: {html}", err=True)
    if as_json:
        click.echo(to_json(board))
    elif as_csv:
        click.echo(to_csv(board), nl=False)
    elif markdown:
        click.echo(to_markdown(board))
    elif not html:
        show(board)


@main.command()
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
def demo(out: Path, items: int, models: str, as_json: bool) -> None:
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


@main.command("compare")
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
@click.option("--data", "datasets", multiple=True, metavar="NAME", help="This data set alone; repeatable.")
@click.option(
    "--judge",
    default="rules",
    show_default=True,
    help="Who judges: rules, or a judge that `vlmguard judge` has run there.",
)
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
    by: str,
    items: bool,
    answers: bool,
    form: str | None,
) -> None:
    """Compare two models item by item: what went from answer to refusal, from right to wrong, and back.

    \b
    vlmguard compare llava llava_cmrm --in outputs --items
    vlmguard compare vlmeval-out/llava lmms-out/llava --data FigStep

    A and B are names as on the leaderboard of the folders, or a model's own folder, WORK_DIR/MODEL. They may come from
    different hosts. Only items that both were asked are compared; how many only one of them has is said.
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


@main.command("sweep")
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
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=setting,
    metavar="NAME=VALUE",
    help="A setting of all points, e.g. layers=[10,11]; repeatable.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the host's predictions.")
@click.option(
    "--judge",
    default="rules",
    show_default=True,
    help="Who judges: rules, or a judge that `vlmguard judge` has run there.",
)
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
    """Run GUARD on MODEL at several settings through VLMEvalKit, and show the curve against the unguarded model.

    \b
    vlmguard sweep llava cmrm --data FigStep --grid '{"alpha": [0, 0.25, 0.5, 1]}' --out curve
    vlmguard sweep demo_vlm vlm_guard --data FigStep --grid '{"layers": [[14], [15, 16]]}' --set alpha=1 --out curve -- --limit 50
    vlmguard sweep llava cmrm+self_reminder --data FigStep --grid '{"cmrm.alpha": [0.5, 1]}' --out curve

    Stopped and started again it goes on; points can be added to the grid later: what lies in --out is not asked again.
    Each point is a model of its own there, such as llava_cmrm@alpha=0.5, for `vlmguard leaderboard` and `compare` too.
    What stands behind -- goes to `python -m vlmeval.run`. Ends with 1 where a point has no predictions.
    """
    from vlmguard_plugin.calibration.sweep import sweep

    try:
        curve = sweep(model, guard, datasets, grid, out, settings, judge, max_unknown, host_arguments)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(curve.to_json())
    else:
        curve.to_terminal()
    if curve.missing:
        sys.exit(1)


@main.command()
@click.argument("host", metavar="lmms_eval|lm_eval")
def tasks(host: str) -> None:
    """Print the folder of a host's task files, for its --include_path.

    \b
    lmms_eval --tasks vlmguard_figstep_tiny --include_path "$(vlmguard tasks lmms_eval)" --model ...
    lm_eval --tasks vlmguard_figstep_tiny --include_path "$(vlmguard tasks lm_eval)" --model hf-multimodal ...

    A task is named vlmguard_ and the dataset's name in lower case. `vlmguard data prepare` writes the dataset first.
    """
    from vlmguard_plugin.hosts.tasks import task_folder

    click.echo(task_folder(host))


if __name__ == "__main__":
    sys.exit(main())
