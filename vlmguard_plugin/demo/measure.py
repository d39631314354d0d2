"""Measure what a demo VLM is: whether it sees, stays on task, refuses, and how far pictures shift its states.

    python -m vlmguard_plugin.demo.measure sees|on-task|refusals|picture-refusals|shift|reads --model demo_vlm

Answers are greedy, rates come with 95% Wilson intervals. Answers to harmful requests are judged and thrown away: only
labels and counts leave this program.
"""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path
from typing import Any, Sequence

import click
from click.core import ParameterSource

from vlmguard_plugin.anchors import load_anchors
from vlmguard_plugin.demo.build import build_demo_vlm
from vlmguard_plugin.demo.measures.beside import KINDS, Beside
from vlmguard_plugin.demo.measures.figures import Figure, in_words
from vlmguard_plugin.demo.measures.on_task import on_task
from vlmguard_plugin.demo.measures.reads import reads, texts_and_pictures
from vlmguard_plugin.demo.measures.refusals import picture_refusals, refusals
from vlmguard_plugin.demo.measures.requests import demo_requests, first_of_each, prepared_requests
from vlmguard_plugin.demo.measures.sees import sees
from vlmguard_plugin.demo.measures.shift import shift
from vlmguard_plugin.demo.settings import GUARD_SETTINGS
from vlmguard_plugin.demo.vlms import DEMO_VLMS
from vlmguard_plugin.files import check_writable, write_whole
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.cached import load_or_fit
from vlmguard_plugin.guards.core.registry import build_guard
from vlmguard_plugin.naming import guards_in
from vlmguard_plugin.reading import parsed_json
from vlmguard_plugin.subjects.loading import load_subject

MEASURES = ("sees", "on-task", "refusals", "picture-refusals", "shift", "reads")
UNGUARDED = "none"
MEASURES_OF_OPTION = {
    "requests": ("refusals", "shift", "reads"),
    "beside": ("on-task", "refusals", "shift"),
    "guard": ("sees", "refusals", "picture-refusals"),
    "anchors": ("sees", "refusals", "picture-refusals"),
    "pairs": ("sees", "refusals", "picture-refusals"),
    "items": ("refusals", "shift", "reads"),
    "per-kind": ("sees",),
}
"""What each option belongs to; with another measure it is refused."""
TEXT_PICTURES = "FigStep_Tiny"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("measure", type=click.Choice(MEASURES))
@click.option("--model", type=click.Choice(list(DEMO_VLMS)), default="demo_vlm", show_default=True)
@click.option(
    "--requests",
    "set_name",
    metavar="SET",
    help="Of refusals and shift: a prepared set, by its name in $LMUData or the path of its TSV, in place of the "
    "demo's own requests; its pictures are left out. Of reads: a set with text on its pictures; default: FigStep_Tiny.",
)
@click.option(
    "--beside",
    multiple=True,
    metavar="|".join(KINDS) + "|FOLDER",
    help="Of on-task, refusals and shift: what stands beside the requests; several times for several conditions. "
    "A folder of photos gives each request one, in turn. Without it: all kinds.",
)
@click.option(
    "--guard",
    "guards",
    multiple=True,
    metavar="NAME[:SETTING=VALUE,...]",
    help="Of sees and both refusals: a guard with the settings found for this model, fitted on the anchors; none is "
    "the model alone. With settings or a preset of its own: cmrm:preset=paper, vlm_guard:alpha=1,layers=[14,15].",
)
@click.option(
    "--anchors",
    "anchors_from",
    metavar="NAME|CSV",
    help="Of the same: what guards are fitted on: how_to (the default), varied, how_to+varied, or a csv.",
)
@click.option(
    "--pairs",
    type=click.IntRange(2),
    help="Of the same: fit guards on so many of the anchor pairs; default: all.",
)
@click.option(
    "--items",
    type=click.IntRange(1),
    help="Of refusals, shift and reads: at most so many harmful and harmless requests.",
)
@click.option(
    "--per-kind", type=click.IntRange(1), default=120, show_default=True, help="Of sees: questions of a kind and form."
)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="File to write the figures to.")
def main(
    measure: str,
    model: str,
    set_name: str | None,
    beside: tuple[str, ...],
    guards: tuple[str, ...],
    anchors_from: str | None,
    pairs: int | None,
    items: int | None,
    per_kind: int,
    batch_size: int,
    json_file: Path | None,
) -> None:
    """Measure what a demo VLM is."""
    refuse_options_of_others(measure)
    try:
        check_file(json_file)
        conditions = conditions_named(beside or KINDS, measure)
        pictured = (
            texts_and_pictures(TEXT_PICTURES if set_name is None else set_name, items) if measure == "reads" else []
        )
        asked = prepared_requests(set_name) if set_name is not None and not pictured else demo_requests()
        requests = first_of_each(asked, items)
        names = guards or (UNGUARDED,)
        built = {name: guard_named(name, model) for name in names if name != UNGUARDED}
        anchors = load_anchors(anchors_from)
        anchors = anchors.split(pairs)[0] if pairs else anchors
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    subject = load_subject(build_demo_vlm(model), batch_size=batch_size)
    try:
        fitted = {name: load_or_fit(built[name], subject, anchors) if name in built else None for name in names}
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    figures: dict[str, Figure] = {}

    def found(more: dict[str, Figure], of_guard: str = UNGUARDED) -> None:
        """Print figures as they come, under their names and the guard's, and keep all of them in the file."""
        for name, figure in more.items():
            figures[name if of_guard == UNGUARDED else f"{name}, {of_guard}"] = figure
            click.echo(f"  {list(figures)[-1]:52} {in_words(figure)}")
        if json_file:
            facts = {"measure": measure, "model": model, "requests": set_name or "demo", "figures": figures}
            write_whole(json_file, json.dumps(facts, indent=1))

    click.echo(f"{measure}, {model}" + (f", {set_name}" if set_name else ""))
    if measure == "sees":
        for name, of_guard in sees(subject, per_kind, fitted):
            found(of_guard, name)
    elif measure == "on-task":
        found(on_task(subject, conditions))
    elif measure == "reads":
        found(reads(subject, pictured))
    elif measure == "shift":
        found(shift(subject, requests, conditions))
    else:
        for name, guard in fitted.items():
            if measure == "refusals":
                found(refusals(subject, requests, conditions, guard), name)
            else:
                found(picture_refusals(subject, guard), name)


def refuse_options_of_others(measure: str) -> None:
    """UsageError for an option that has no meaning for the measure."""
    context = click.get_current_context()
    given = {
        option.opts[0].removeprefix("--")
        for option in context.command.params
        if option.name and context.get_parameter_source(option.name) is not ParameterSource.DEFAULT
    }
    for option, measures in MEASURES_OF_OPTION.items():
        if option in given and measure not in measures:
            raise click.UsageError(f"--{option} belongs to {', '.join(measures)}; {measure} has no use for it")
    for option in ("anchors", "pairs"):
        if option in given and "guard" not in given:
            raise click.UsageError(f"--{option} is what guards are fitted on; name one with --guard")


def check_file(json_file: Path | None) -> None:
    """OSError where the figures can't be written, before they are measured."""
    if json_file is None:
        return
    if json_file.is_dir():
        raise IsADirectoryError(errno.EISDIR, "--json is to name a file, this is a folder", str(json_file))
    check_writable(json_file)


def conditions_named(names: Sequence[str], measure: str) -> list[Beside]:
    """What is to stand beside the requests, each once. ValueError where two folders have the same name.

    On task and shift set a picture's answers or states against those of the text alone, so text is no condition there.
    """
    against_text = measure in ("on-task", "shift")
    conditions = [Beside(name) for name in dict.fromkeys(names) if not (against_text and name == "text")]
    if not conditions:
        raise ValueError(f"--beside names text alone, which {measure} sets pictures against; name a picture's kind too")
    called = [condition.name for condition in conditions]
    twice = next((name for name in called if called.count(name) > 1), None)
    if twice:
        raise ValueError(f"--beside names two folders whose figures would both be called {twice!r}; rename one")
    return conditions


def guard_named(text: str, model: str) -> Guard:
    """The guard of NAME[:SETTING=VALUE,...], before the settings found for the model; not fitted.

    ValueError for what is no setting. Values are JSON where they are; commas within brackets belong to a value.
    """
    name, _, listed = text.partition(":")
    settings: dict[str, Any] = {}
    for part in re.findall(r"(?:\[[^\]]*\]|[^,\[])+", listed):
        setting, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"--guard {text!r}: {part!r} is not SETTING=VALUE, as in cmrm:preset=paper")
        try:
            settings[setting] = parsed_json(value)
        except ValueError:
            settings[setting] = value
    found, names = GUARD_SETTINGS[model], guards_in(name)
    if len(names) == 1:
        return build_guard(name, **with_found(found.get(name, {}), settings))
    given = {part: settings.pop(part, {}) for part in names}
    of_parts = {
        part: with_found(found.get(part, {}), own) if isinstance(own, dict) else own for part, own in given.items()
    }
    return build_guard(name, **of_parts, **settings)


def with_found(found: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Settings found for a model with those given in their place; a preset stands for itself."""
    return given if "preset" in given else {**found, **given}


if __name__ == "__main__":
    main()
