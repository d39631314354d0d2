"""VLMEvalKit's own command on the points of a sweep: what is asked, alone in its folder, and how far it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Iterator, Sequence

import pandas

from vlmguard_plugin import environment
from vlmguard_plugin.benchmarks.tsv import lmu_data
from vlmguard_plugin.calibration.sweep.points import POINTS, Point
from vlmguard_plugin.hosts.vlmeval.judge_key import masked
from vlmguard_plugin.judges.said import missing_answer
from vlmguard_plugin.runs.answers import Predictions
from vlmguard_plugin.runs.readers.vlmevalkit import read
from vlmguard_plugin.runs.vlmevalkit_command import host_command

LOCKS = sys.platform != "win32"  # on Windows two sweeps of one folder at once are the user's to avoid
if LOCKS:
    import fcntl

LOG, LOCK = "sweep.log", "sweep.lock"


@contextmanager
def alone(out: Path) -> Iterator[IO[str]]:
    """While open, no other sweep works in the folder; one that does is waited for.

    The host holds the lock too: one whose sweep was killed goes on to its end, and its answers count.
    """
    with (out / LOCK).open("a") as lock:
        if LOCKS:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                still = "another sweep, or the host of one that was stopped, still works"
                print(f"vlmguard: {still} in {out}; waiting for its end", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def pending(
    out: Path, points: Sequence[Point], datasets: Sequence[str], all_of_them: bool
) -> dict[tuple[str, ...], list[str]]:
    """Points that the host has to be asked for, by the data sets that each lacks.

    The host would pass over finished ones by itself, but it reads their answers back, and takes empty ones for none.
    all_of_them: even so, as with arguments of the host, which may change what is asked and judged.
    """
    newest: dict[tuple[str, str], Predictions] = {}
    for run in () if all_of_them else read(out).predictions:  # of one point and data set the newest comes first
        newest.setdefault((run.model, run.dataset), run)
    done = {asked for asked, run in newest.items() if is_whole(run)}
    to_ask: dict[tuple[str, ...], list[str]] = {}
    for point in points:
        lacking = tuple(dataset for dataset in datasets if (point.name, dataset) not in done)
        if lacking:
            to_ask.setdefault(lacking, []).append(point.name)
    return to_ask


def is_whole(predictions: Predictions) -> bool:
    """Whether every row of the data set, as it lies in $LMUData now, has an answer, by a run that has ended well."""
    path = lmu_data() / f"{predictions.dataset}.tsv"
    if not path.is_file() or not predictions.runs or predictions.problems:
        return False
    rows = {str(index) for index in pandas.read_csv(path, sep="\t", usecols=["index"], dtype=str)["index"]}
    answered = {item.key[0] for item in predictions.items if not missing_answer(item.case.answer)}
    return rows <= answered


def run_host(
    out: Path, models: Sequence[str], datasets: Sequence[str], arguments: Sequence[str], lock: IO[str]
) -> None:
    """VLMEvalKit's own command on these points and data sets.

    What it has answered there already it does not ask again. lock: of `alone`, which the host holds too.
    """
    command = [*host_command(), "--data", *datasets, "--model", *models]
    command += ["--work-dir", str(out), "--reuse", *arguments]
    print(f"vlmguard: {environment.MODELS.name}={out / POINTS} {' '.join(masked(command))}", file=sys.stderr)
    variables = {**os.environ, environment.MODELS.name: str(out / POINTS), "PYTHONUNBUFFERED": "1"}
    inherited = (lock.fileno(),) if LOCKS else ()
    log = out / LOG
    with log.open("ab") as stream:
        host = subprocess.Popen(command, env=variables, stdout=stream, stderr=subprocess.STDOUT, pass_fds=inherited)
    try:
        with log.open(encoding="utf-8", errors="replace") as stream:
            stream.seek(0, os.SEEK_END)
            while host.poll() is None:
                time.sleep(1)
                show_progress(stream.read())
    finally:
        if host.poll() is None:  # interrupted
            host.terminate()
        if host.wait():
            print(f"vlmguard: VLMEvalKit ended with {host.returncode}; its log is {log}", file=sys.stderr)


def show_progress(text: str) -> None:
    """Of the host's output of one second: what is being done, and how far it is by now."""
    lines = re.split(r"[\r\n]+", text)
    for line in lines:
        if line.startswith("vlmguard:") or "=====" in line:
            print(line, file=sys.stderr)
    for last in [line for line in lines if line.startswith(("Infer ", "fit "))][-1:]:
        print(last, file=sys.stderr)
