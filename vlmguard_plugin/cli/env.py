"""`vlmguard env`: the environment variables that the package reads."""

from __future__ import annotations

import json

import click

from vlmguard_plugin.cli.options import JSON
from vlmguard_plugin.environment import VARIABLES, as_markdown
from vlmguard_plugin.reading import visible

COLUMNS = ("Variable", "Now", "Default", "Meaning")


@click.command("env")
@click.option("--markdown", is_flag=True, help="Print the page of the documentation (docs/environment.md).")
@JSON
def env_command(markdown: bool, as_json: bool) -> None:
    """Show the environment variables and their values.

    Each with what it means, its default, and the value it has now. Keys are never shown. An empty value counts as none.
    """
    if markdown and as_json:
        raise click.UsageError("--markdown and --json exclude each other; give one")
    if markdown:
        click.echo(as_markdown(), nl=False)
        return
    if as_json:
        rows = [
            {
                "variable": variable.name,
                "now": variable.shown() or None,
                "kind": variable.kind,
                "default": variable.default,
                "meaning": variable.meaning,
            }
            for variable in VARIABLES
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    print_table()


def print_table() -> None:
    """One row a variable, 120 columns wide."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in COLUMNS:
        table.add_column(header, no_wrap=header == "Variable", overflow="fold")
    for variable in VARIABLES:
        cells = (variable.name, variable.shown() or "-", variable.default, variable.meaning)
        table.add_row(*(Text(visible(text)) for text in cells))
    Console(width=120, highlight=False).print(table)
