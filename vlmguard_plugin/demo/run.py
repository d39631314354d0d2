"""The demo from end to end: test sets, the host's own command, the leaderboard."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, TextIO

from vlmguard_plugin.demo.vlms import DEMO_VLMS
from vlmguard_plugin.files import cache_directory, write_whole
from vlmguard_plugin.leaderboard import leaderboard, to_html
from vlmguard_plugin.naming import split_guarded
from vlmguard_plugin.runs.vlmevalkit_command import host_command

if TYPE_CHECKING:
    from vlmguard_plugin.leaderboard.board import Board

NEEDS = ("torchvision", "gguf", "pandas", "python_calamine", "statsmodels", "jinja2")
GUARDS = ("vlmguard", "cmrm", "cmrm_sample")
"""Suffixes of the guarded models that are compared with the unguarded one."""
SEEN = 60
"""Visual questions, open and multiple choice each, at most: three for two harmful requests."""


def compared(model: str = "demo_vlm") -> tuple[str, ...]:
    """The names of a demo VLM, unguarded and guarded, that the demo compares."""
    return (model, *(f"{model}_{guard}" for guard in GUARDS))


def run_demo(out: Path, pairs: int, models: tuple[str, ...]) -> Board:
    """Run the comparison and return its board.

    out: the host's work directory; predictions that lie there are kept and not asked for again.
    pairs: harmful and harmless requests per condition, at most 120.
    Raises ImportError naming what is not installed, RuntimeError with the log's place where the host fails.
    """
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise ImportError(f"the demo needs {', '.join(missing)}; run `pip install vlmguard_plugin[demo]`")
    words = host_command()
    from vlmguard_plugin.demo.build import build_demo_vlm
    from vlmguard_plugin.demo.datasets import write_demo_datasets

    cache = cache_directory()
    data = Path(os.environ.get("LMUData") or cache / "LMUData")
    data.mkdir(parents=True, exist_ok=True)
    names = write_demo_datasets(data, pairs, min(SEEN, 3 * pairs // 2))
    for model in DEMO_VLMS:
        if any(name == model or (split_guarded(name, DEMO_VLMS.__contains__) or ("",))[0] == model for name in models):
            build_demo_vlm(model)
    if out.is_dir() and any(out.iterdir()):
        print(f"vlmguard: answers already in {out} are kept; remove the folder to ask again", file=sys.stderr)
    out.mkdir(parents=True, exist_ok=True)
    command = [*words, "--data", *names, "--model", *models]
    command += ["--work-dir", str(out), "--reuse"]
    environment = {
        "HF_HUB_OFFLINE": "1",  # everything is here; no look-ups
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin cost several times the work on few cores
        "GOMP_SPINCOUNT": "0",
        "VLMGUARD_BATCH_SIZE": "16",
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        **os.environ,
        "LMUData": str(data),
    }
    print(f"vlmguard: {' '.join(command)}", file=sys.stderr)
    log = out / "vlmeval.log"
    with log.open("w") as stream:
        host = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )
        follow(host.stdout or (), stream)
    board = leaderboard(out) if host.wait() == 0 else None
    absent = sorted(set(models) - set(board.models)) if board else list(models)
    if board is None or absent:
        raise RuntimeError(f"VLMEvalKit has no predictions for {', '.join(absent)}; its log is {log}")
    page = out / "leaderboard.html"
    write_whole(page, to_html(board))
    print(f"vlmguard: the same as a page: {page}", file=sys.stderr)
    return board


def follow(output: Iterable[str], log: TextIO) -> None:
    """Copy the host's output to its log, and show its progress: a bar moves in its line, or stands there once done."""
    done = ""
    for line in output:
        log.write(line)
        shown = line.rsplit("\r", 1)[-1].strip()
        bar, is_bar, _ = shown.partition("%|")
        if not shown.startswith(("Infer ", "fit ", "vlmguard:")) and "=====" not in shown or bar == done:
            continue
        if is_bar and not bar.endswith("100"):
            if sys.stderr.isatty():
                print(shown, end="\r", file=sys.stderr, flush=True)
            continue
        done = bar if is_bar else ""
        print(shown, file=sys.stderr)
