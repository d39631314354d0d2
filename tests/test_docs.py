"""The documents name what there is: links lead somewhere, modules, names, files and commands exist, lists are whole."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
from click import Group
from helpers.places import REPOSITORY

from vlmguard_plugin.benchmarks import BENCHMARKS, grouped
from vlmguard_plugin.cli.main import main
from vlmguard_plugin.guards.core.registry import guard_classes

PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "task_configs/vlmeval/README.md"),
    *sorted(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "docs").rglob("*.md")),
]
FILES = [
    path.relative_to(REPOSITORY).as_posix()
    for pattern in ("*.py", "[a-z]*/**/*.py")
    for path in REPOSITORY.glob(pattern)
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
DOTTED = re.compile(r"\bvlmguard_plugin(?:\.\w+)+")
PATH = re.compile(r"(?<![\w/.<>$*-])(?:\.ci|docs|task_configs|tests|training|vlmguard_plugin)/[\w./-]*(?![\w./<*-])")


def text_of(page):
    return (REPOSITORY / page).read_text(encoding="utf-8")


def anchors_of(path):
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_there(dotted):
    """Whether a module, or a name in one, is there."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        where = REPOSITORY.joinpath(*parts[:length])
        if where.is_dir() or where.with_suffix(".py").is_file():
            held = import_module(".".join(parts[:length]))
            return all((held := getattr(held, name, None)) is not None for name in parts[length:])
    return False


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in LINK.findall(CODE.sub("", text_of(page))):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        path = (REPOSITORY / page).parent / file if file else REPOSITORY / page
        assert path.exists(), f"{page} links to {target}, which is not there"
        assert not heading or heading in anchors_of(path), f"{page} links to {target}; there is no such heading"


@pytest.mark.parametrize("page", PAGES)
def test_what_is_named_is_there(page):
    text = text_of(page)
    for dotted in DOTTED.findall(text):
        assert is_there(dotted), f"{page} names {dotted}, which is not there"
    for path in PATH.findall(text):
        assert (REPOSITORY / path.rstrip(".")).exists(), f"{page} names {path}, which is not there"
    for code in CODE.findall(text):
        if re.fullmatch(r"[\w/]+\.py", code):
            assert any(f"/{file}".endswith(f"/{code}") for file in FILES), f"{page} names {code}, which is not there"


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_their_options_are_there(page):
    text = text_of(page)
    lines = [line.partition(" # ")[0] for line in text.splitlines()] + CODE.findall(text)
    for words in (line.removeprefix(".venv/bin/").split() for line in map(str.strip, lines)):
        if words[:1] != ["vlmguard"] or len(words) < 2 or not words[1].isalpha():
            continue
        command, rest = main, words[1:]
        while isinstance(command, Group) and rest:
            assert rest[0] in command.commands, f"{page} has {' '.join(words)!r}; there is no {rest[0]}"
            command, rest = command.commands[rest[0]], rest[1:]
        options = {option for parameter in command.params for option in parameter.opts}
        if command.context_settings.get("ignore_unknown_options"):
            continue  # they go to a host
        unknown = [word for word in rest if re.fullmatch(r"--[a-z-]+", word) and word not in options]
        assert not unknown, f"{page} has {' '.join(words)!r}; there is no {unknown[0]}"


def test_python_in_the_documents_imports_what_there_is():
    blocks = [(page, block) for page in PAGES for block in re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL)]
    imported = [
        (page, node.module, name.name)
        for page, block in blocks
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    ]
    assert len(imported) > 3
    for page, module, name in imported:
        assert hasattr(import_module(module), name), f"{page} imports {name} from {module}, which has none"
    package = import_module("vlmguard_plugin")
    for page, block in blocks:
        for name in re.findall(r"\bvg\.(\w+)", block):
            assert name in package.__all__, f"{page} uses vg.{name}, which is not there"


def test_the_rooms_are_those_there_are():
    section = text_of("docs/architecture.md").partition("## The rooms")[2].partition("\n## ")[0]
    described = re.findall(r"^\| `([\w./]+)` \|", section, re.MULTILINE)
    package = REPOSITORY / "vlmguard_plugin"
    folders = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").is_file()}
    files = {path.name for path in package.glob("[a-z]*.py")}
    assert sorted(described) == sorted(folders | files)
    drawn = set(re.findall(r'class="name"[^>]*>(\w+)<', (REPOSITORY / "docs" / "rooms.svg").read_text("utf-8")))
    assert drawn == {Path(name).stem for name in described}, "run `make picture`"


def test_every_data_set_is_described():
    text = text_of("docs/benchmarks-safety.md")
    for label, _ in grouped(BENCHMARKS):
        words = label.replace("<condition>", "*").split("_")
        beginnings = ["_".join(words[:length]) for length in range(1, len(words) + 1)]
        named = any(f"`{name}`" in text for name in (*beginnings, f"{words[0]}_<NAME>"))
        assert named, f"docs/benchmarks-safety.md has no row for {label}"


def test_the_readme_is_short_and_has_every_guard_with_the_figures_of_the_docs():
    text = text_of("README.md")
    assert len(text.splitlines()) < 120
    measured = (
        text_of("docs/guards.md").partition("### All guards, and the paper's reading")[2].partition("\n\n    ")[0]
    )
    figures = {}
    for cells in ([cell.strip() for cell in row.strip("| ").split("|")] for row in measured.splitlines()):
        if len(cells) > 5 and cells[1] in ("", "default", "both", "ours"):
            first = [cell.partition(" ")[0] for cell in cells[2:6]]
            figures[cells[0].strip("`")] = [f"{first[0]} / {first[1]}", f"{first[2]} / {first[3]}"]
    figures["none"] = figures.pop("unguarded")
    rows = re.findall(r"^\| [`*]([\w]+)[`*] \|(?:.*)\| (.*) \| (.*) \|$", text, re.MULTILINE)
    assert {name for name, *_ in rows} == {*guard_classes()} - {"outside"}
    for name, *shown in rows:
        assert shown == figures.get(name, ["not measured"] * 2), (
            f"README.md's row of {name} differs from docs/guards.md"
        )
