"""`vlmguard doctor`: what of this environment helps or hinders, and what to do."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from vlmguard_plugin.cli.options import JSON
from vlmguard_plugin.reading import visible

COLOURS = {"good": "green", "note": "yellow", "bad": "red"}


@click.command("doctor")
@click.option("--server", metavar="URL", help="Look at this server alone: which guard does it say is on?")
@click.option("--guard-dir", metavar="FOLDER", help="With --server: the fitted guard that it is to have.")
@JSON
def doctor_command(server: str | None, guard_dir: str | None, as_json: bool) -> None:
    """Check this environment, and say what to do.

    Looks at hosts and their versions, known clashes, torch and GPUs, whether hosts find the guarded models, the cache,
    prepared data sets, models named by variables, and the model hub.

    Loads no model and imports no host. The exit status is 1 if something is wrong.

    \b
    vlmguard doctor --server http://127.0.0.1:8000/v1 --guard-dir my-guard

    --server asks a server, vLLM's or `vlmguard serve`, for its guard: one that vLLM runs without the plugin answers
    unguarded, and says so nowhere else.
    """
    from vlmguard_plugin.hosts.checks import findings
    from vlmguard_plugin.hosts.served import server_findings

    if guard_dir is not None and server is None:
        raise click.UsageError("--guard-dir goes with --server")
    found = []
    for finding in findings() if server is None else server_findings(server, guard_dir):
        found.append(finding)
        if not as_json:
            click.echo(f"{click.style(finding.state.rjust(4), fg=COLOURS[finding.state])}  {visible(finding.what)}")
            if finding.remedy:
                click.echo(f"      -> {visible(finding.remedy)}")
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    if any(finding.state == "bad" for finding in found):
        sys.exit(1)
