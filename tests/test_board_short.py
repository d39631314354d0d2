"""A board in short: the table over all data sets, the verdict, and what is left out."""

import pytest
from click.testing import CliRunner
from helpers.page_boards import write_outputs

from vlmguard_plugin.cli.main import main


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What the command prints of an output folder, with further arguments."""
    outputs = write_outputs(tmp_path_factory.mktemp("outputs"))
    return lambda *arguments: CliRunner().invoke(main, ["leaderboard", str(outputs), *arguments]).output


def test_one_table_the_verdict_and_what_is_left_out(shown):
    whole, short = shown(), shown("--short")
    tables = whole.count("\u250c")
    assert tables > 3 and short.count("\u250c") == 1 and "All data sets, each answer counting once" in short
    assert f"Left out here: {tables - 1} tables" in short and "Left out here" not in whole
    assert whole.splitlines()[-1] == short.splitlines()[-1] and whole.splitlines()[0] == short.splitlines()[0]
    assert len(short.splitlines()) < len(whole.splitlines()) / 2


def test_it_goes_with_a_page_and_not_with_other_forms(shown, tmp_path):
    assert "written: " in shown("--short", "--html", str(tmp_path / "a.html"))
    assert "--short goes with the tables in the terminal alone" in shown("--short", "--csv")
