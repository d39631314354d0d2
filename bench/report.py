"""The figures of a run, written to its files row by row; a part that fails costs no other part's figures."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any, Iterable

import click
from timing import Row, table

from vlmguard_plugin.files import check_writable, write_whole
from vlmguard_plugin.reading import in_line


class NoTime(Exception):
    """There is none for the rest of a part, which the message names."""


class Report:
    """What was found, as JSON and as a Markdown page.

    facts: of the run, for the JSON. head: what the page begins with. Raises OSError where a file can't be written.
    """

    def __init__(self, facts: Row, head: list[str], json_file: Path | None, markdown_file: Path | None) -> None:
        self.found: dict[str, Any] = {**facts, "parts": {}, "left out": [], "failed": {}}
        self.head, self.sections = head, {}
        self.json_file, self.markdown_file = json_file, markdown_file
        for file in filter(None, (json_file, markdown_file)):
            check_writable(file)

    def part(self, name: str, title: str, about: str, rows: Iterable[Row]) -> None:
        """Take a part's rows as they come. about: what its table is of."""
        kept: list[Row] = []
        self.found["parts"][name] = kept
        try:
            for row in rows:
                kept.append(row)
                click.echo(json.dumps(row))
                self.sections[name] = [f"## {title}\n", about, table(kept)]
                self.write()
        except NoTime as error:
            self.leave_out(str(error))
        except Exception as error:  # noqa: BLE001 - whatever a part ends in, the others are measured
            self.found["failed"][name] = in_line(error)
            traceback.print_exc()
        self.write()

    def leave_out(self, what: str) -> None:
        """Note what is not measured."""
        self.found["left out"].append(what)

    def write(self) -> None:
        """Each file as a whole, as far as there are figures."""
        if self.json_file:
            write_whole(self.json_file, json.dumps(self.found, indent=1) + "\n")
        if self.markdown_file:
            page = [*self.head, *(line for section in self.sections.values() for line in section)]
            page += [f"Left out, for want of time: {what}.\n" for what in self.found["left out"]]
            page += [f"Failed: {name}: {why}\n" for name, why in self.found["failed"].items()]
            write_whole(self.markdown_file, "\n".join(page))

    def end(self) -> None:
        """ClickException where a part has failed."""
        self.write()
        if self.found["failed"]:
            raise click.ClickException("; ".join(f"{name} failed: {why}" for name, why in self.found["failed"].items()))


def batch_sizes(given: str) -> tuple[int, ...]:
    """--batches as numbers; ClickException for what is none."""
    try:
        sizes = tuple(int(size) for size in given.split(","))
    except ValueError:
        sizes = (0,)
    if min(sizes) < 1:
        raise click.ClickException(f"--batches is {given!r}; give whole numbers from 1 on, as in 1,8,32")
    return sizes
