"""The site of the documentation: each page has its place, what is made from the code is whole, Markdown is readable."""

import re
import sys
from dataclasses import fields

import pytest
import yaml
from helpers.places import REPOSITORY

from vlmguard_plugin import _PUBLIC
from vlmguard_plugin.cli.main import main
from vlmguard_plugin.guards.core.registry import guard_classes

sys.path.insert(0, str(REPOSITORY / "docs"))
import site_pages

DOCS = REPOSITORY / "docs"


class Loader(yaml.SafeLoader):
    """Reads what names a function as None."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)


@pytest.fixture(scope="module")
def pages():
    return site_pages.pages()


def places(nav):
    if isinstance(nav, str):
        return [nav]
    return [place for part in (nav.values() if isinstance(nav, dict) else nav) for place in places(part)]


def test_every_page_has_its_place(pages):
    config = yaml.load((REPOSITORY / "mkdocs.yml").read_text(), Loader)
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert sorted(places(config["nav"])) == sorted(written | set(pages))
    assert all((REPOSITORY / hook).is_file() for hook in config["hooks"])


@pytest.mark.parametrize("name", guard_classes())
def test_every_setting_of_every_guard_is_explained(name, pages):
    section = re.search(rf"## `{name}`\n(.*?)(?=\n## |\Z)", pages["reference/settings.md"], re.DOTALL)[1]
    rows = {row.split("|")[1].strip(" `"): row for row in section.splitlines() if row.startswith("| `")}
    settings = {field.name for field in fields(guard_classes()[name].Settings)}
    assert set(rows) == settings
    unexplained = [setting for setting, row in rows.items() if len(re.split(r"(?<!\\)\|", row)[4].strip()) < 8]
    assert not unexplained, (
        f"say in the docstring of {name}'s settings what {unexplained[0]} is: '{unexplained[0]}: ...'"
    )


def test_every_command_and_public_name_is_there(pages):
    commands = pages["reference/commands.md"]
    for name, command in main.commands.items():
        assert f"## `vlmguard {name}`" in commands
        for option in (option for each in command.params for option in each.opts if option.startswith("--")):
            assert option in commands
    for name, module in _PUBLIC.items():
        assert f"::: {module}.{name}\n" in pages["reference/api.md"]


def test_links_out_of_the_pages_lead_to_what_they_become():
    linked = site_pages.with_links
    assert linked("[a](../CONTRIBUTING.md#add-a-guard)", "guards.md") == "[a](contributing.md#add-a-guard)"
    assert linked("[a](../../CONTRIBUTING.md)", "how-to/new-guard.md") == "[a](../contributing.md)"
    assert linked("[a](../concepts/gates.md)", "how-to/x.md") == "[a](../concepts/gates.md)"
    assert linked("[a](docs/guards.md#x) [b](bench/gpu_check.py)", "changelog.md") == "[a](guards.md#x) b"
    assert linked("[a](https://example.org) `[b](c.md)`".replace("`", ""), "x.md").startswith(
        "[a](https://example.org)"
    )
    assert linked("```\n[a](../CONTRIBUTING.md)\n```", "x.md") == "```\n[a](../CONTRIBUTING.md)\n```"


def test_lists_and_tables_get_what_the_generator_wants():
    assert site_pages.for_generator("Text:\n- one\n- two") == "Text:\n\n- one\n- two"
    assert site_pages.for_generator("Text:\n| a |\n|---|") == "Text:\n\n| a |\n|---|"
    assert site_pages.for_generator("3. three\n   - inner\n\n   more") == "3. three\n    - inner\n\n    more"
    assert site_pages.for_generator("- one\n  goes on\n- two") == "- one\n  goes on\n- two"
    code = "```\nText:\n- no list\n```"
    assert site_pages.for_generator(code) == code
