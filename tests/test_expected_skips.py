"""Skips that are not on the list fail the run: in a test, a fixture and a module, in one process and in several."""

import os
import subprocess
import sys

import pytest
from helpers.expected_skips import expected_skips
from helpers.places import TESTS

PLANTED = {
    "test_mark.py": "import pytest\n@pytest.mark.skip(reason='no such thing')\ndef test_a(): pass\n",
    "test_fixture.py": (
        "import pytest\n@pytest.fixture\ndef thing(): pytest.skip('no such thing')\n"
        "def test_a(thing): pass\ndef test_b(): pass\n"
    ),
    "test_module.py": "import pytest\npytest.importorskip('nonesuch', reason='no such thing')\ndef test_a(): pass\n",
    "test_failure.py": "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_a(): assert False\n",
}


@pytest.fixture
def run(tmp_path):
    """Runs pytest over the planted files in a process of its own; gives it back with the lines that name skips."""
    for name, text in {"pytest.ini": "[pytest]\nexpected_skips = listed.txt\n", **PLANTED}.items():
        (tmp_path / name).write_text(text)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS), os.environ.get("PYTHONPATH", "")))}
    environment.pop("PYTEST_ADDOPTS", None)

    def start(listed, *options):
        (tmp_path / "listed.txt").write_text(listed)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "helpers.expected_skips", "-p", "no:cacheprovider", *options],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        return done, sorted(line for line in done.stdout.splitlines() if line.startswith("UNEXPECTED SKIP"))

    return start


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_skip_that_is_not_listed_fails_the_run(run, processes):
    """An expected failure is no skip."""
    done, named = run("test_other.py::* -> no such thing\n", "-n", processes)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 passed, 3 skipped, 1 xfailed" in done.stdout
    assert named == [
        "UNEXPECTED SKIP test_fixture.py::test_a: no such thing",
        "UNEXPECTED SKIP test_mark.py::test_a: no such thing",
        "UNEXPECTED SKIP test_module.py: no such thing",
    ]


def test_skips_that_are_listed_do_not(run):
    done, named = run("# why\n\ntest_*.py* -> no such *\n", "-n", "2")
    assert done.returncode == 0 and not named and "3 skipped" in done.stdout, done.stdout + done.stderr


def test_another_reason_than_the_listed_one_fails_the_run(run):
    done, named = run("test_*.py* -> no such place\n", "test_mark.py")
    assert done.returncode == 1 and named == ["UNEXPECTED SKIP test_mark.py::test_a: no such thing"]


def test_a_line_without_a_reason_is_named(tmp_path):
    (tmp_path / "listed.txt").write_text("# a comment\ntest_planted.py::*\n")
    with pytest.raises(ValueError, match="line 2: 'test_planted.py::.*' is not PATTERN -> REASON"):
        expected_skips(tmp_path / "listed.txt")
