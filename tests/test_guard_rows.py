"""No guard is forgotten: each that the registry finds has rows in the tests' matrices and a heading in the docs."""

import pytest
from helpers.guard_rows import COVERED, editing_guards, other_guards, own_guards
from helpers.places import REPOSITORY
from helpers.reference import EDITS

from vlmguard_plugin.naming import guard_names


@pytest.mark.parametrize("table", COVERED)
def test_every_guard_has_a_row(table):
    rows, guards = COVERED[table]
    lacking = [name for name in guards() if not rows.get(name) and rows.get(name) != {}]
    assert not lacking, f"add a row for {', '.join(lacking)} to {table} in tests/helpers/guard_rows.py"
    unknown = [name for name in rows if name not in guards()]
    assert not unknown, f"{table} in tests/helpers/guard_rows.py has rows that no test uses: {', '.join(unknown)}"


def test_every_guard_that_edits_has_its_formula():
    lacking = [name for name in editing_guards() if name not in EDITS]
    assert not lacking, f"say in numpy what {', '.join(lacking)} does, in tests/helpers/reference.py"


def test_the_registry_is_what_is_covered():
    assert len(own_guards()) >= 12 and set(own_guards()) <= set(guard_names())
    assert sorted([*editing_guards(), *other_guards(), "none"]) == own_guards()


@pytest.mark.parametrize("name", own_guards())
def test_every_guard_is_documented(name):
    text = (REPOSITORY / "docs" / "guards.md").read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert any(f"`{name}`" in heading for heading in headings), f"docs/guards.md has no heading for {name}"
