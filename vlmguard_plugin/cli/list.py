"""`vlmguard list`: the guards, models and data sets there are."""

from __future__ import annotations

import json
from typing import Any

import click

from vlmguard_plugin.cli.options import JSON


def in_line(settings: dict[str, Any]) -> str:
    """Settings and their values in a line."""
    return ", ".join(f"{name}={value!r}" for name, value in settings.items()) or "nothing to set"


def paper_in_line(defaults: dict[str, Any], paper: dict[str, Any]) -> str:
    """What the preset paper changes, then all settings that are ours in it, and its note."""
    changed = {name: value for name, value in paper["settings"].items() if value != defaults[name]}
    marked = [f"{name}={value!r}" + "*" * (name in paper["ours"]) for name, value in changed.items()]
    ours = [f"{name}*" for name in paper["ours"] if name not in changed]
    note = f" ({paper['note']})" if paper["note"] else ""
    return (", ".join([*marked, *ours]) or "the same") + note


@click.command("list")
@JSON
def list_command(as_json: bool) -> None:
    """Show the guards, the models and the data sets.

    Guards are shown with their settings and defaults, and with what their papers give.

    Guards go onto a model by name: `llava_vlmguard`, `demo_vlm_cmrm`, several at once as in
    `llava_vlmguard+self_reminder`. On VLMEvalKit they go onto its own open-weight models too: `<model>_<guard>` for
    every name of `vlmutil mlist all`. Data sets marked with an asterisk are ready in $LMUData.
    """
    from vlmguard_plugin.benchmarks import BENCHMARKS, grouped, rows_ready
    from vlmguard_plugin.guards.core.registry import describe_guards
    from vlmguard_plugin.hosts.models import MODELS

    guards = describe_guards()
    datasets: dict[str, dict[str, Any]] = {
        name: {"kind": benchmark.kind, "ready": rows_ready(name) is not None} for name, benchmark in BENCHMARKS.items()
    }
    models = {name: model.describe() for name, model in MODELS.items()}
    if as_json:
        click.echo(json.dumps({"guards": guards, "models": models, "datasets": datasets}, indent=2))
        return
    click.echo("Guards")
    for name, guard in guards.items():
        click.echo(f"  {name:<18} {guard['summary']}")
        click.echo(f"    default          {in_line(guard['settings'])}")
        if guard["paper"]:
            click.echo(f"    paper            {paper_in_line(guard['settings'], guard['paper'])}")
    click.echo("  paper: --preset paper, what differs from the defaults there; * our choice, the sources leave it open")
    click.echo("\nModels (each alone, and with a guard: NAME_vlmguard, NAME_cmrm, ...)")
    for name, description in models.items():
        click.echo(f"  {name:<17} {description}")
    click.echo("\nDatasets (more of each: `vlmguard data list`)")
    for label, names in grouped(datasets):
        ready = sum(datasets[name]["ready"] for name in names)
        mark = "*" if ready == len(names) else f"* {ready} of {len(names)}" if ready else ""
        click.echo(f"  {label:<38} {datasets[names[0]]['kind']:<7} {mark}")
