"""A sweep from its grid to its curve."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Mapping, Sequence

from vlmguard_plugin.calibration.sweep.curve import Curve, entry_of
from vlmguard_plugin.calibration.sweep.host import LOG, alone, pending, run_host
from vlmguard_plugin.calibration.sweep.points import POINTS, asked_with, keep_points, points_of
from vlmguard_plugin.calibration.sweep.surroundings import changed, surroundings
from vlmguard_plugin.leaderboard.board import Board
from vlmguard_plugin.leaderboard.build import build_board
from vlmguard_plugin.runs.answers import OutputError
from vlmguard_plugin.runs.vlmevalkit_command import host_command
from vlmguard_plugin.statistics.levels import MAX_UNKNOWN


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
    host_command()  # before anything is written, where there is none
    out.mkdir(parents=True, exist_ok=True)
    with alone(out) as lock:
        asked = list(dict.fromkeys(datasets))
        around = surroundings(asked)
        lacking = pending(out, points, asked, bool(host_arguments))
        other = changed(asked_with(out / POINTS), around)
        if other and lacking:
            raise ValueError(f"{out} holds points that were asked with other {other}; choose another --out")
        if other:
            print(f"vlmguard: the points in {out} were asked with other {other}", file=sys.stderr)
        everything = keep_points(out / POINTS, model, guard, points, around)
        for to_ask, names in lacking.items():
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
        if not any(block.whole == dataset and entry_of(block, point.name) for block in board.blocks)
    }
    return Curve(model, guard, out, everything, missing, board)


def why_missing(board: Board, model: str, dataset: str, log: Path) -> str:
    """What is known of a point without predictions."""
    for run in board.unfinished:
        if (run.model, run.dataset) == (model, dataset):
            return run.reason
    for skipped in board.skipped:
        if skipped.file.name.startswith(f"{model}_{dataset}."):
            return skipped.reason
    return f"nothing is known of it; see {log}"
