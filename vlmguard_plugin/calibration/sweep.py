"""Curves of a guard's settings through VLMEvalKit's own command: one model a point, stopped and gone on at any time.

    curve = sweep("llava", "cmrm", ["FigStep"], [{"alpha": [0, 0.5, 1]}], Path("curve"))
    curve.to_terminal(); print(curve.to_json())

Each point is a model of its own in the host's work directory, so the leaderboard shows it too.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

import pandas

from vlmguard_plugin import environment
from vlmguard_plugin.benchmarks.tsv import lmu_data
from vlmguard_plugin.calibration.calibrate import combinations
from vlmguard_plugin.files import write_whole
from vlmguard_plugin.guards.core.registry import build_guard
from vlmguard_plugin.hosts.models import MODELS
from vlmguard_plugin.judges.refusal import missing_answer
from vlmguard_plugin.leaderboard.board import Block, Board, Entry, measures_of
from vlmguard_plugin.leaderboard.build import build_board
from vlmguard_plugin.naming import flat, nested, point_name
from vlmguard_plugin.runs.answers import OutputError, Predictions
from vlmguard_plugin.runs.readers.vlmevalkit import read
from vlmguard_plugin.statistics.measures import MEASURES
from vlmguard_plugin.statistics.rates import MAX_UNKNOWN

try:
    import fcntl
except ImportError:  # Windows: two sweeps of one folder at once are the user's to avoid
    fcntl = None

if TYPE_CHECKING:
    from rich.console import Console

POINTS, LOG, LOCK = "sweep.json", "sweep.log", "sweep.lock"


@dataclass(frozen=True)
class Point:
    """One model of a sweep. name: on the host. settings: of the guard, as given; None for the unguarded model."""

    name: str
    settings: dict[str, Any] | None


@dataclass(frozen=True)
class Curve:
    """What a sweep has come to. points: the unguarded model first, then by setting; those of earlier sweeps of this
    model and guard in the same folder too. missing: by point and data set, why there are no predictions."""

    model: str
    guard: str
    out: Path
    points: tuple[Point, ...]
    missing: dict[tuple[str, str], str]
    board: Board

    def to_json(self) -> str:
        """Every point with its settings, and by data set its rates and differences from the unguarded model."""
        points = []
        for point in self.points:
            measured = {
                block.dataset: as_json(block, entry)
                for block in self.board.blocks
                if (entry := block.entry(point.name))
            }
            missing = {dataset: reason for (name, dataset), reason in self.missing.items() if name == point.name}
            points.append({"name": point.name, "settings": point.settings, "datasets": measured, "missing": missing})
        facts = {"model": self.model, "guard": self.guard, "out": str(self.out), "judge": self.board.judge}
        return json.dumps({**facts, "notes": self.notes(), "points": points}, indent=2, allow_nan=False)

    def to_terminal(self, console: Console | None = None) -> None:
        """Print one table a data set, a line a point."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        from vlmguard_plugin.leaderboard.outputs.escaping import visible
        from vlmguard_plugin.leaderboard.outputs.tables import WIDTH

        console = console or Console(width=WIDTH)
        columns = list(dict.fromkeys(name for point in self.points for name, _ in flat(point.settings or {})))
        for block in self.board.blocks:
            if not any(block.entry(point.name) for point in self.points):
                continue
            names = measures_of(block.entries)
            table = Table(title=Text(f"{self.model} with {self.guard} on {block.dataset}"), title_justify="left")
            for column in (*columns, *(MEASURES[name] for name in names), "n"):
                table.add_column(column, overflow="fold")
            for point in self.points:
                entry = block.entry(point.name)
                if entry:
                    told = [self.told(point, column) for column in columns]
                    cells = [cell(entry, name) for name in names]
                    table.add_row(*(Text(one) for one in (*told, *cells, str(sum(entry.counts.values())))))
            console.print(table)
        notes = (
            "Rates with 95% intervals, in %. Behind them the difference from the unguarded model in points, and p, corrected "
            "(Holm) for all comparisons of one measure on the leaderboard of this folder."
        )
        console.print(Text(notes), style="dim")
        for note in self.notes():
            console.print(Text(visible(note)), style="yellow")
        for (name, dataset), reason in self.missing.items():
            console.print(Text(visible(f"{name} has no predictions for {dataset}: {reason}")), style="red")

    def notes(self) -> list[str]:
        """What a reader of the curve has to know: runs with problems, and points that were not all asked in the same way."""
        names = {point.name for point in self.points}
        runs = [origin for origin in self.board.origins() if origin.model in names]
        found = [f"{run.model} on {run.dataset}: {'; '.join(run.problems)}" for run in runs if run.problems]
        for what in ("fingerprint", "generation", "dtype"):
            values = [getattr(facts, what) for run in runs for facts in run.facts]
            ways = sorted({json.dumps(value, sort_keys=True, default=str) for value in values if value})
            if len(ways) > 1:
                found.append(
                    f"the points differ in {what} beside the settings ({', '.join(ways)}); to ask all anew choose another --out"
                )
        return found

    def told(self, point: Point, column: str) -> str:
        """A point's value of a setting, as its column shows it."""
        if point.settings is None:
            return "unguarded"
        return next((json.dumps(value) for name, value in flat(point.settings) if name == column), "default")


def cell(entry: Entry, name: str) -> str:
    """A rate with its interval; below it the difference and the corrected p."""
    from vlmguard_plugin.leaderboard.outputs.wording import p_text, points, rate_text

    if name not in entry.rates:
        return "-"
    one = entry.differences.get(name)
    return rate_text(entry.rates[name]) + (f"\n{points(one.difference)}, {p_text(one.p_corrected)}" if one else "")


def as_json(block: Block, entry: Entry) -> dict[str, Any]:
    """One point on one data set as plain values."""
    return {
        "kind": block.kind,
        "answers": entry.origin.answers,
        "problems": list(entry.origin.problems),
        "counts": entry.counts,
        "rates": {name: asdict(rate) | {"value": rate.value} for name, rate in entry.rates.items()},
        "differences": {
            name: asdict(one) | {"significant": bool(one.significant)} for name, one in entry.differences.items()
        },
    }


def sweep(
    model: str,
    guard: str,
    datasets: Sequence[str],
    grid: Sequence[dict[str, list[Any]]],
    out: Path,
    fixed: Mapping[str, Any] | None = None,
    judge: str = "rules",
    max_unknown: float = MAX_UNKNOWN,
    host_arguments: Sequence[str] = (),
) -> Curve:
    """Run the unguarded model and every point of the grid on the data sets, and compare each point with it.

    model: of `vlmguard list`, a save_pretrained folder, a hub name, or a model of VLMEvalKit's own.
    grid: list of {setting: values}, each in every combination of its values; of a composed guard, "guard.setting".
    fixed: settings that all points share. out: the host's work directory; what has been answered there stays.
    judge, max_unknown: see build_board. host_arguments: go to the host's command as they are.
    A setting that the guard has not is an error before anything runs; a point that fails in the run costs itself alone.
    RuntimeError with the log's place where no point at all has predictions.
    """
    points = points_of(model, guard, grid, fixed or {})
    if find_spec("vlmeval") is None:
        raise ImportError(
            "a sweep runs through VLMEvalKit, which is not installed; pip install 'vlmguard_plugin[vlmeval]'"
        )
    out.mkdir(parents=True, exist_ok=True)
    with alone(out) as lock:
        everything = keep_points(out / POINTS, model, guard, points)
        asked = list(dict.fromkeys(datasets))
        for to_ask, names in pending(out, points, asked, bool(host_arguments)).items():
            run_host(out, names, to_ask, host_arguments, lock)
        try:
            board = build_board(out, judge=judge, max_unknown=max_unknown)
        except OutputError as error:
            raise RuntimeError(
                f"VLMEvalKit has no predictions of any point ({error}); its log is {out / LOG}"
            ) from error
    missing = {
        (point.name, dataset): why_missing(board, point.name, dataset, out / LOG)
        for point in points
        for dataset in asked
        if not any(block.whole == dataset and block.entry(point.name) for block in board.blocks)
    }
    return Curve(model, guard, out, everything, missing, board)


def points_of(
    model: str, guard: str, grid: Sequence[dict[str, list[Any]]], fixed: Mapping[str, Any]
) -> tuple[Point, ...]:
    """The unguarded model and the points of a grid; ValueError for a setting that the guard has not, or can't have so."""
    base = base_name(model)
    found = {}
    for settings in combinations(grid, ()):
        twice = fixed.keys() & settings.keys()
        if twice:
            raise ValueError(f"{', '.join(sorted(twice))}: in the grid and set for all points; give it once")
        whole = nested({**fixed, **settings})
        build_guard(guard, **whole)
        found[point_name(base, guard, whole)] = whole
    return Point(base, None), *(
        Point(name, settings) for name, settings in sorted(found.items(), key=lambda one: order_of(one[1]))
    )


def order_of(settings: Mapping[str, Any]) -> list[tuple]:
    """Sorts points by their settings, numbers as numbers."""
    number = (int, float)
    return [
        (name, (0, value, "") if type(value) in number else (1, 0, json.dumps(value))) for name, value in flat(settings)
    ]


def base_name(model: str) -> str:
    """The unguarded model's name on the host: its own there, else the checkpoint's last part, fit for a folder."""
    if model in MODELS or is_hosts_own(model):
        return model
    return re.sub(
        r"[^A-Za-z0-9._+-]+", "-", Path(model).resolve().name if Path(model).is_dir() else model.rpartition("/")[2]
    ).strip(".-")


def is_hosts_own(model: str) -> bool:
    """Whether a model can only be one of VLMEvalKit's own: no name of ours, no folder, no hub name."""
    return model not in MODELS and not Path(model).is_dir() and "/" not in model


def keep_points(path: Path, model: str, guard: str, points: Sequence[Point]) -> tuple[Point, ...]:
    """Write the points down beside those of earlier sweeps, and give all of this model and guard.

    The file is what $VLMGUARD_MODELS takes. ValueError where a name stands there for another model or settings.
    """
    content = {"model": {}, "sweep": []}
    if path.is_file():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            earlier = {one["name"]: one for one in content["sweep"]}
            content["model"].items()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} can't be read as the points of a sweep ({error!r}); choose another folder"
            ) from error
    else:
        earlier = {}
    checkpoint = str(Path(model).resolve()) if model not in MODELS and Path(model).is_dir() else model
    own = is_hosts_own(model)
    for point in points:
        its_guard = guard if point.settings is not None else None
        mine = {"name": point.name, "model": checkpoint, "guard": its_guard, "settings": point.settings}
        if earlier.setdefault(point.name, mine) != mine:
            raise ValueError(
                f"{path} has {point.name} as {json.dumps(earlier[point.name])}; choose another folder for this sweep"
            )
        if point.settings is not None:
            wrapper = "GuardedHost" if own else "GuardedVLM"
            content["model"][point.name] = {"class": wrapper, "model": checkpoint, "guard": guard, **point.settings}
        elif not own and model not in MODELS:
            content["model"][point.name] = {"class": "GuardedVLM", "model": checkpoint}
    content["sweep"] = list(earlier.values())
    write_whole(path, json.dumps(content, indent=1))
    mine = [one for one in earlier.values() if one["model"] == checkpoint and one["guard"] == guard]
    mine.sort(key=lambda one: order_of(one["settings"]))
    return points[0], *(Point(one["name"], one["settings"]) for one in mine)


@contextmanager
def alone(out: Path) -> Iterator[Any]:
    """While open, no other sweep works in the folder; one that does is waited for.

    The host holds the lock too: one whose sweep was killed goes on to its end, and its answers count.
    """
    with (out / LOCK).open("a") as lock:
        if fcntl:
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
    done = set() if all_of_them else {(one.model, one.dataset) for one in read(out).predictions if is_whole(one)}
    found: dict[tuple[str, ...], list[str]] = {}
    for point in points:
        lacking = tuple(dataset for dataset in datasets if (point.name, dataset) not in done)
        if lacking:
            found.setdefault(lacking, []).append(point.name)
    return found


def is_whole(predictions: Predictions) -> bool:
    """Whether every row of the data set, as it lies in $LMUData now, has an answer, by a run that has ended well."""
    path = lmu_data() / f"{predictions.dataset}.tsv"
    if not path.is_file() or not predictions.runs or predictions.problems:
        return False
    rows = {str(index) for index in pandas.read_csv(path, sep="\t", usecols=["index"], dtype=str)["index"]}
    answered = {item.key[0] for item in predictions.items if not missing_answer(item.case.answer)}
    return rows <= answered


def run_host(out: Path, models: Sequence[str], datasets: Sequence[str], arguments: Sequence[str], lock: Any) -> None:
    """VLMEvalKit's own command on these points and data sets; what it has answered there already it does not ask again."""
    command = [
        sys.executable,
        "-m",
        "vlmeval.run",
        "--data",
        *datasets,
        "--model",
        *models,
        "--work-dir",
        str(out),
        "--reuse",
    ]
    command += arguments
    print(f"vlmguard: {environment.MODELS.name}={out / POINTS} {' '.join(command)}", file=sys.stderr)
    variables = {**os.environ, environment.MODELS.name: str(out / POINTS), "PYTHONUNBUFFERED": "1"}
    inherited = {"pass_fds": (lock.fileno(),)} if fcntl else {}
    log = out / LOG
    with log.open("ab") as stream:
        host = subprocess.Popen(command, env=variables, stdout=stream, stderr=subprocess.STDOUT, **inherited)
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


def why_missing(board: Board, model: str, dataset: str, log: Path) -> str:
    """What is known of a point without predictions."""
    for one in board.unfinished:
        if (one.model, one.dataset) == (model, dataset):
            return one.reason
    for one in board.skipped:
        if one.file.name.startswith(f"{model}_{dataset}."):
            return one.reason
    return f"nothing is known of it; see {log}"
