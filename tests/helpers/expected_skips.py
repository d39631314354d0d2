"""A pytest plugin: a run fails where a test, or a whole module, is skipped that is not on the list of expected skips.

The list is `expected_skips.txt` (the ini option `expected_skips`), one line each, both sides being patterns with *:

    tests/page/*::* -> chromium and chromedriver are not installed*
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ARROW = " -> "
UNEXPECTED = pytest.StashKey[list[tuple[str, str]]]()


def pytest_addoption(parser):
    parser.addini("expected_skips", "the file that lists them", default="tests/expected_skips.txt")


def pytest_configure(config):
    if hasattr(config, "workerinput"):  # of pytest-xdist; the process that started it hears of all skips
        return
    config.stash[UNEXPECTED] = []
    config.pluginmanager.register(SkipWatcher(config), "skip-watcher")


def expected_skips(path: Path) -> list[tuple[str, str]]:
    """The list as (pattern of the test, pattern of the reason); ValueError names a line that is neither."""
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            test, arrow, reason = line.partition(ARROW)
            if not (test.strip() and arrow and reason.strip()):
                raise ValueError(f"{path}, line {number}: {line!r} is not PATTERN{ARROW}REASON")
            entries.append((test.strip(), reason.strip()))
    return entries


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why something was skipped, in its own words."""
    longrepr = report.longrepr
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")


class SkipWatcher:
    """Listens to the reports of one run."""

    def __init__(self, config: pytest.Config) -> None:
        self.expected = expected_skips(config.rootpath / config.getini("expected_skips"))
        self.unexpected = config.stash[UNEXPECTED]

    def hear(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            skip = (report.nodeid, reason_of(report))
            listed = any(fnmatchcase(skip[0], test) and fnmatchcase(skip[1], reason) for test, reason in self.expected)
            if not listed and skip not in self.unexpected:
                self.unexpected.append(skip)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.hear(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.hear(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unexpected and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter, config: pytest.Config) -> None:
        if self.unexpected:
            terminalreporter.section("unexpected skips", red=True, bold=True)
            for test, reason in self.unexpected:
                terminalreporter.write_line(f"UNEXPECTED SKIP {test}: {reason}", red=True)
            terminalreporter.write_line(
                f"These fail the run. Expected ones stand in {config.getini('expected_skips')}."
            )
