"""What `make docs` adds to the pages of docs/: the reference, made from the code, and the project's files of the root.

Hooks of mkdocs: `on_files` adds pages, `on_page_markdown` makes Markdown as it is written here into what the site's
generator reads: it wants an empty line before a list or a table, and four spaces before what belongs to a list.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any, Iterator

REPOSITORY = Path(__file__).resolve().parents[1]
OF_THE_ROOT = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Files of the root, and the pages that they become."""
FENCE = re.compile(r" *(```|~~~)")
ITEM = re.compile(r" *([-*]|\d+\.) ")
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
SAID = re.compile(r"^ *((?:\w+, )*\w+): (.*)$")
"""A line of a docstring that says what a setting is, or several."""


def pages() -> dict[str, str]:
    """The pages that are made, by their place in docs/."""
    return {
        "reference/api.md": api_page(),
        "reference/settings.md": settings_page(),
        "reference/commands.md": commands_page(),
        **{page: (REPOSITORY / name).read_text(encoding="utf-8") for name, page in OF_THE_ROOT.items()},
    }


def api_page() -> str:
    """All public names, by what they are for."""
    import vlmguard_plugin

    rooms: dict[str, list[str]] = {}
    for name, module in vlmguard_plugin._PUBLIC.items():
        rooms.setdefault(module.split(".")[1], []).append(f"::: {module}.{name}\n")
    titles = {
        "anchors": "Anchors", "calibration": "Calibration", "guards": "Guards", "query": "Requests",
        "steering": "Edits of hidden states", "subjects": "Models that answer",
    }  # fmt: skip
    parts = [
        "# Python API\n\n`import vlmguard_plugin as vg`; every name here is `vg.NAME`. Importing the package loads "
        "nothing heavy; a name is imported when it is first used.\n"
    ]
    parts += [f"## {titles[room]}\n\n" + "\n".join(names) for room, names in rooms.items()]
    return "\n".join(parts)


def settings_page() -> str:
    """Every setting of every guard: default, the paper's value, and what it is."""
    from vlmguard_plugin.guards.core.registry import describe_guards, guard_classes

    parts = [
        "# Settings of the guards\n\nMade from the code. *Paper*: what the guard's sources give (`preset=paper`); an "
        "asterisk marks what they leave open, so that the value is ours. Formulas are in [the guards](../guards.md).\n"
    ]
    classes = guard_classes()
    for name, facts in describe_guards().items():
        meanings = meanings_of(classes[name].Settings)
        paper = facts["paper"]
        rows = [
            f"| `{setting}` | `{cell(default)}` | {paper_cell(setting, paper)} | {meanings.get(setting, '')} |"
            for setting, default in facts["settings"].items()
        ]
        table = ["| setting | default | paper | |", "|---|---|---|---|", *rows] if rows else ["It has no settings."]
        parts.append(f"## `{name}`\n\n{facts['summary']}\n\n" + "\n".join(table) + "\n")
    return "\n".join(parts)


def paper_cell(setting: str, paper: dict[str, Any] | None) -> str:
    """A setting's value in the preset paper."""
    if paper is None:
        return "–"
    return f"`{cell(paper['settings'][setting])}`" + (" \\*" if setting in paper["ours"] else "")


def cell(value: Any) -> str:
    """A value as it stands in a table."""
    return repr(value).replace("|", "\\|")


def meanings_of(settings: type) -> dict[str, str]:
    """What each setting is, from the docstrings of its class and of those that it is made from."""
    meanings: dict[str, str] = {}
    for each in reversed(settings.__mro__):
        names: list[str] = []
        for line in (vars(each).get("__doc__") or "").splitlines():
            found = SAID.match(line)
            if found:
                names = found[1].split(", ")
                meanings.update(dict.fromkeys(names, found[2].strip()))
            elif not line.strip():
                names = []
            for name in names if not found else ():
                meanings[name] += f" {line.strip()}"
    return {name: meaning.replace("|", "\\|") for name, meaning in meanings.items()}


def commands_page() -> str:
    """The help of every command, as `--help` prints it."""
    from vlmguard_plugin.cli.main import main

    parts = ["# Commands\n\nAs `vlmguard COMMAND --help` prints it.\n"]
    parts += [f"## `{name}`\n\n```text\n{text}\n```\n" for name, text in helps(main, "vlmguard")]
    return "\n".join(parts)


def helps(command: Any, name: str) -> Iterator[tuple[str, str]]:
    """(name, help) of a command and of those in it."""
    import click

    yield name, command.get_help(click.Context(command, info_name=name, terminal_width=96))
    for part, inner in sorted(getattr(command, "commands", {}).items()):
        yield from helps(inner, f"{name} {part}")


def on_files(files: Any, config: Any) -> Any:
    """mkdocs: the pages that are made join those that are there."""
    from mkdocs.structure.files import File

    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """mkdocs: a page's text as its generator reads it."""
    return for_generator(with_links(markdown, page.file.src_uri))


def with_links(text: str, place: str) -> str:
    """Links to files outside of docs/ lead to the pages that these become; others to none, and are text alone."""
    root = place in OF_THE_ROOT.values()
    here = PurePosixPath(".") if root else PurePosixPath("docs", place).parent

    def linked(match: re.Match[str]) -> str:
        words, target = match[1], match[2]
        file, mark, heading = target.partition("#")
        if "://" in target or not file or file.startswith("mailto:"):
            return match[0]
        path = normal(here / file)
        if path in OF_THE_ROOT:
            goal = OF_THE_ROOT[path]
        elif path == "README.md":
            goal = "index.md"
        elif path.startswith("docs/"):
            goal = path.removeprefix("docs/")
        else:
            return words
        up = "../" * place.count("/")
        return f"[{words}]({up}{goal}{mark}{heading})"

    return outside_fences(text, lambda line: LINK.sub(linked, line))


def normal(path: PurePosixPath) -> str:
    """A path without "..", from the repository's root."""
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        elif part not in (".", ".."):
            parts.append(part)
    return "/".join(parts)


def outside_fences(text: str, change: Any) -> str:
    """The text with a change made to each line that stands in no fenced block."""
    lines, inside = [], False
    for line in text.split("\n"):
        inside ^= bool(FENCE.match(line))
        lines.append(line if inside or FENCE.match(line) else change(line))
    return "\n".join(lines)


def for_generator(text: str) -> str:
    """Lists and tables with the empty lines and the four spaces that Python-Markdown asks for."""
    lines: list[str] = []
    inside = listed = False
    for line in text.split("\n"):
        before = lines[-1] if lines else ""
        if FENCE.match(line):
            inside = not inside
        elif not inside:
            item = bool(ITEM.match(line)) and not line.startswith("    ")
            if item and before.strip() and not ITEM.match(before) and not listed:
                lines.append("")
            if line.startswith("|") and before.strip() and not before.startswith("|"):
                lines.append("")
            if listed and re.match(r" {2,3}\S", line) and (ITEM.match(line) or not before.strip()):
                line = f"    {line.lstrip()}"
            listed = item or (listed and (line.startswith(" ") or not line.strip() or bool(before.strip())))
        lines.append(line)
    return "\n".join(lines)
