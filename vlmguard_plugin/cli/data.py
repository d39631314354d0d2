"""`vlmguard data`: benchmarks' original files made into the host's data sets."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import click

from vlmguard_plugin.cli.options import JSON, set_option
from vlmguard_plugin.reading import visible


@click.group("data")
def data_group() -> None:
    """Turn benchmarks' original files into the hosts' data sets.

    \b
    vlmguard data list                                   what can be prepared, and what is ready
    vlmguard data list AdvBench_blank                    all that is known of one
    vlmguard data prepare FigStep --source FigStep-main  from files of your own
    vlmguard data prepare AdvBench_blank --download      from the authors' place
    """


@data_group.command("prepare")
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
@set_option("options", "An option of the benchmark; repeatable.")
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
    """Write the data set NAME for the hosts.

    From the original files at --source, or with --download from the authors' place.

    \b
    vlmguard data prepare FigStep --source FigStep-main
    vlmguard data prepare AdvBench_blank --download
    vlmguard data prepare AdvBench_picture --download --set images=my_pictures
    vlmguard data prepare Requests_mine_blank --source my_requests.csv

    Downloads are kept in the cache directory ($VLMGUARD_CACHE), resumed where they stopped, and checked by sha256. Rows
    that can't be used are listed with their file, number and the reason; the rest is kept.
    """
    from vlmguard_plugin.benchmarks import find_benchmark, prepare
    from vlmguard_plugin.benchmarks.sources import download_source

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
        click.echo(f"left out: {visible(row)}", err=True)
    click.echo(f"{name}: {prepared.rows} rows in {prepared.path}; {len(bad)} left out")


def agree(name: str, accepted: bool) -> None:
    """Show the licence of a data set's files and have it accepted, once; UsageError where nobody can be asked."""
    from vlmguard_plugin.benchmarks import describe
    from vlmguard_plugin.benchmarks.sources import accept_licence, licence_accepted

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


@data_group.command("list")
@click.argument("name", required=False)
@JSON
def data_list(name: str | None, as_json: bool) -> None:
    """Show the benchmarks that can be prepared, and which are ready.

    With NAME, show all that is known of that one. The column rows counts what is ready in $LMUData; get says whether
    --download fetches the files, or you have to.
    """
    from vlmguard_plugin.benchmarks import BENCHMARKS, describe

    described = [describe(name)] if name else [describe(known) for known in BENCHMARKS]
    if as_json:
        click.echo(json.dumps(described[0] if name else described, indent=2))
    elif name:
        show_one(described[0])
    else:
        show_all({facts["name"]: facts for facts in described})


def show_one(facts: dict[str, Any]) -> None:
    """All that is known of one benchmark, a line a fact."""
    for key, value in facts.items():
        label = f"{key + ':':<14}"
        if key == "downloads":
            click.echo("\n".join((" " * 14 if line else label) + url for line, url in enumerate(value or ["-"])))
            continue
        if isinstance(value, (list, dict)):
            text = ", ".join(value)
        else:
            text = {True: "yes", False: "no", None: "-"}.get(value, str(value))
        click.echo(click.wrap_text(f"{label}{text or '-'}", 100, "", " " * 14))


def in_short(text: str) -> str:
    """A fact up to its first comma, semicolon, colon or bracket, with an ellipsis where more follows."""
    first = re.split(r"[,;:]\s|\s\(", text, maxsplit=1)[0]
    return first if first == text else f"{first} \u2026"


def show_all(benchmarks: dict[str, dict[str, Any]]) -> None:
    """The benchmarks as a table, 100 columns wide, the conditions of a set in one line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from vlmguard_plugin.benchmarks import OWN_NAMES, grouped
    from vlmguard_plugin.benchmarks.condition import LISTED_CONDITIONS

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("Name", "Kind", "Rows", "Get", "Licence", "Harmful rows"):
        table.add_column(header, no_wrap=header == "Name")
    for label, names in grouped(benchmarks):
        facts = benchmarks[names[0]]
        ready: dict[int, list[str]] = {}
        for name in names:
            if benchmarks[name]["ready"]:
                ready.setdefault(benchmarks[name]["rows"], []).append(name.rpartition("_")[2])
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
    note = f"<condition>: {', '.join(LISTED_CONDITIONS)}, and several of them. Files of your own: {OWN_NAMES}."
    console.print(Text(f"\n{note}\nAll of one: vlmguard data list NAME"))
