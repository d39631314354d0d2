"""The script for a GPU, tried on the CPU with a small shape: every part that runs here, and its files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

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


@pytest.mark.host
def test_a_part_that_fails_costs_no_other_and_no_row(tmp_path, monkeypatch):
    """The files hold what was there before it, and what came after; the command tells and ends in an error."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import gpu_check
    from report import NoTime

    def half(**_):
        """Half a part."""
        yield {"figure": 1}
        assert json.loads((tmp_path / "gpu.json").read_text())["parts"] == {"half": [{"figure": 1}]}, "row by row"
        raise RuntimeError("out of paper")

    def late(until, **_):
        """One that has no time."""
        yield {"figure": 2}
        raise NoTime("the second figure")

    monkeypatch.setattr(gpu_check, "PARTS", {"half": half, "late": late})
    files = ["--json", str(tmp_path / "gpu.json"), "--markdown", str(tmp_path / "gpu.md")]
    done = CliRunner().invoke(gpu_check.main, ["--device", "cpu", "--shape", "tiny", "--parts", "half,late", *files])
    assert done.exit_code == 1 and "Error: half failed: RuntimeError: out of paper" in done.output
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["parts"] == {"half": [{"figure": 1}], "late": [{"figure": 2}]}
    assert found["failed"] == {"half": "RuntimeError: out of paper"} and found["left out"] == ["the second figure"]
    page = (tmp_path / "gpu.md").read_text()
    assert "| 1 |" in page and "time: the second figure" in page
    assert "Failed: half: RuntimeError: out of paper" in page


@pytest.mark.host
def test_a_batch_that_is_too_large_costs_its_own_figure_alone(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import gpu_parts
    from timing import table

    own = gpu_parts.side_by_side

    def side_by_side(ways, *of):
        if len(ways[0].args[4]) > 1:
            raise torch.OutOfMemoryError("4 GiB")
        return own(ways, *of)

    monkeypatch.setattr(gpu_parts, "side_by_side", side_by_side)
    given = {"device": "cpu", "shape": gpu_parts.SHAPES["tiny"], "dtype": torch.float32, "tokens": 2, "rounds": 1}
    rows = list(gpu_parts.overhead(**given, batches=(1, 2), guards=("vlm_guard",), until=float("inf")))
    assert [(row["batch"], row["wall"] == "out of memory") for row in rows] == [(2, True)] * 2 + [(1, False)] * 2
    assert table(rows).count("out of memory") == 2 * 4


@pytest.mark.host
@pytest.mark.parametrize(
    "option, value, said",
    [
        ("--batches", "two", "--batches is 'two'; give whole numbers"),
        ("--batches", "0", "--batches is '0'; give whole numbers"),
        ("--tokens", "0", "0 is not in the range x>=1"),
        ("--rounds", "0", "0 is not in the range x>=1"),
        ("--minutes", "-1", "-1.0 is not in the range x>=0"),
    ],
)
def test_what_can_not_be_measured_is_refused_first(option, value, said, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import gpu_check

    done = CliRunner().invoke(gpu_check.main, ["--device", "cpu", "--shape", "tiny", option, value])
    assert done.exit_code and said in done.output and isinstance(done.exception, SystemExit)
