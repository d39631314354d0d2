"""The script for a GPU, tried on the CPU with a small shape: every part that runs here, and its files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "bench" / "gpu_check.py"


def run(*options):
    return subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, timeout=900)


@pytest.mark.host
def test_the_gpu_check_runs_on_a_cpu_with_a_small_shape(tmp_path):
    small = "--device cpu --shape tiny --batches 2 --rounds 1 --tokens 2 --minutes 60 --guards vlm_guard,shiftdc"
    done = run(
        *small.split(),
        "--parts",
        "same,overhead,fit",
        "--json",
        tmp_path / "gpu.json",
        "--markdown",
        tmp_path / "gpu.md",
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert list(found["parts"]) == ["same", "overhead", "fit"] and found["left out"] == []
    assert all(row["equal answers"] == "6 of 6" for row in found["parts"]["same"])
    assert {row["guard"] for row in found["parts"]["overhead"]} == {"vlm_guard", "shiftdc"}
    assert min(float(row["fastest"]) for row in found["parts"]["overhead"] if row["guard"] == "shiftdc") > 1
    page = (tmp_path / "gpu.md").read_text()
    assert all(f"## {part}" in page for part in found["parts"]) and "| shiftdc |" in page


@pytest.mark.host
def test_what_there_is_no_time_for_is_named(tmp_path):
    done = run("--device", "cpu", "--shape", "tiny", "--minutes", "0", "--json", tmp_path / "gpu.json")
    assert done.returncode == 0 and "left out, after 0.0 minutes: same, overhead" in done.stdout
    assert json.loads((tmp_path / "gpu.json").read_text())["left out"][:2] == ["same", "overhead"]
