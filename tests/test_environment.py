"""The table of VLMGUARD_* variables: complete, and strict about what it reads."""

import re

import pytest
from helpers.places import REPOSITORY

from vlmguard_plugin import environment
from vlmguard_plugin.environment import BATCH_SIZE, CACHE, DTYPE, JUDGE_KEY, SECRET, VARIABLES, as_markdown

NAMES = [variable.name for variable in VARIABLES]


def test_every_variable_that_the_package_or_its_docs_name_stands_in_the_table():
    files = [
        *(REPOSITORY / "vlmguard_plugin").rglob("*.py"),
        *(REPOSITORY / "docs").glob("*.md"),
        REPOSITORY / "README.md",
    ]
    named = {name: file for file in files for name in re.findall(r"VLMGUARD_[A-Z_]*[A-Z]", file.read_text("utf-8"))}
    assert len(named) > 10
    for name, file in named.items():
        assert name in NAMES, f"{file} names {name}, which is not in vlmguard_plugin/environment.py"


def test_no_variable_is_read_past_the_table():
    for file in (REPOSITORY / "vlmguard_plugin").rglob("*.py"):
        if file.name not in ("environment.py", "autoload.py"):  # autoload runs at every start of Python
            reads = re.findall(r"environ[^\n]*VLMGUARD_\w+|getenv[^\n]*VLMGUARD_\w+", file.read_text("utf-8"))
            assert not reads, f"{file}: {reads}"


def test_the_table_has_each_variable_once_and_says_what_it_means():
    assert len(set(NAMES)) == len(NAMES)
    constants = [value for value in vars(environment).values() if isinstance(value, environment.Variable)]
    assert {variable.name for variable in constants} <= set(NAMES)
    for variable in VARIABLES:
        assert variable.kind and variable.default and variable.meaning.endswith("."), variable.name
    rows = [line for line in as_markdown().splitlines() if line.startswith("| `")]
    assert len(rows) == len(VARIABLES) and all(row.count(" | ") == 3 for row in rows)


def test_an_empty_value_counts_as_none(monkeypatch):
    monkeypatch.delenv(CACHE.name, raising=False)
    assert CACHE.value() is None and CACHE.path() is None and CACHE.shown() == ""
    monkeypatch.setenv(CACHE.name, "")
    assert CACHE.value() is None and CACHE.path() is None
    monkeypatch.setenv(CACHE.name, "~/guards")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert CACHE.value() == "~/guards" and str(CACHE.path()) == "/home/somebody/guards"


def test_choices_are_checked(monkeypatch):
    monkeypatch.setenv(DTYPE.name, "bfloat16")
    assert DTYPE.value() == "bfloat16"
    monkeypatch.setenv(DTYPE.name, "float7")
    with pytest.raises(ValueError, match=r"\$VLMGUARD_DTYPE is 'float7'; choose one of float32, bfloat16, float16"):
        DTYPE.value()


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "many", " 3", "\u0663"])
def test_whole_numbers_are_whole(monkeypatch, value):
    monkeypatch.setenv(BATCH_SIZE.name, value)
    with pytest.raises(ValueError, match=r"\$VLMGUARD_BATCH_SIZE is .*; give a whole number of at least 1"):
        BATCH_SIZE.whole()


def test_a_whole_number_is_read(monkeypatch):
    monkeypatch.setenv(BATCH_SIZE.name, "12")
    assert BATCH_SIZE.whole() == 12
    monkeypatch.delenv(BATCH_SIZE.name)
    assert BATCH_SIZE.whole() is None


def test_a_secret_is_never_shown(monkeypatch):
    monkeypatch.setenv(JUDGE_KEY.name, "sk-secret")
    assert JUDGE_KEY.shown() == SECRET and "sk-secret" not in JUDGE_KEY.shown()
    monkeypatch.delenv(JUDGE_KEY.name)
    assert JUDGE_KEY.shown() == ""
