"""The bench, tried on a tiny model: its tables and files, and that its ratios tell what costs from what doesn't."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.processes import forked_python
from helpers.tiny_models import tiny_llava, tiny_processor

SCRIPT = Path(__file__).parents[1] / "bench" / "bench.py"


def run(*options):
    return subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, timeout=900)


def median(cell):
    return float(cell.partition(" ")[0])


@pytest.mark.host
def test_every_part_but_the_hosts_runs_on_a_tiny_model(tmp_path):
    small = "--model tiny --guards shiftdc,cmrm,self_reminder --batches 2 --tokens 2 --rounds 1 --answers 500"
    files = ("--json", tmp_path / "b.json", "--markdown", tmp_path / "b.md")
    done = run(*small.split(), "--parts", "start,generation,fit,memory,board", *files)
    assert done.returncode == 0, done.stderr
    parts = json.loads((tmp_path / "b.json").read_text())["parts"]
    assert list(parts) == ["start", "generation", "fit", "memory", "board"]
    assert [row["guard"] for row in parts["generation"]] == ["shiftdc", "cmrm", "self_reminder"]
    assert median(parts["generation"][0]["CPU"]) > 2  # a caption and three more passes
    floors = [float(row["floor"]) for row in parts["generation"]]
    assert floors[0] > 1.5 and floors[1] == 1, "what shiftdc asks, and nothing that cmrm does"
    assert {row["guard"]: row["prompts"] for row in parts["fit"]}["cmrm"] == 32  # 8 pairs as text and beside a blank
    assert [row["guard"] for row in parts["memory"]] == ["cmrm"] and parts["board"][0]["answers"] == 500
    assert all(median(row["wall"]) > 1 for row in parts["start"])
    page = (tmp_path / "b.md").read_text()
    assert all(f"## {part.capitalize()}" in page for part in parts) and "| shiftdc | 2 |" in page


@pytest.mark.host
def test_engines_are_set_side_by_side(tmp_path):
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed (docs/vllm.md)")
    tiny_llava(width=64, heads=2).save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    words = (SCRIPT.with_name("engines.py"), tmp_path, "--dtype", "float32", "--prompts", "4", "--tokens", "4")
    environment = {**os.environ, "VLMGUARD_CACHE": str(tmp_path / "cache"), "VLLM_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [(row["engine"], row["guard"]) for row in rows] == [
        (engine, guard) for engine in ("transformers", "vllm") for guard in ("none", "vlm_guard")
    ]
    counted = [row["tokens"] for row in rows]
    assert counted[:2] == counted[2:] and all(float(row["a CPU second"]) > 0 for row in rows)
    assert [row["answers equal"] for row in rows] == ["", "", 4, 4] and float(rows[3]["states apart"]) < 1e-5


@pytest.mark.host
def test_a_calibration_answers_less_than_in_full(tmp_path):
    file = tmp_path / "b.json"
    done = run("--parts", "calibration", "--model", "tiny", "--guards", "mars,cmrm", "--json", file)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(file.read_text())["parts"]["calibration"]  # cmrm has no gate
    asked, of, most = row["answers"].split()
    assert row["guard"] == "mars" and of == "of" and int(most) == 16 * (row["points"] + 1)
    assert 16 < int(asked) < int(most) and abs(float(row["share"]) - int(asked) / int(most)) < 0.01


def test_what_there_is_not_is_named():
    def said(*options):
        done = forked_python(SCRIPT, *options, check=False)
        assert done.returncode in (1, 2)
        return done.stderr

    assert "there is no speed, nothing; parts are start, generation" in said(
        "--parts", "generation,speed", "--guards", "nothing"
    )
    assert "--batches is 'two'; give whole numbers" in said("--batches", "two")
    assert "--batches is '8,0'; give whole numbers from 1 on" in said("--batches", "8,0")
    assert "0 is not in the range x>=1" in said("--rounds", "0")


def test_a_command_that_fails_is_no_figure(tmp_path, monkeypatch):
    """Nor is one that ends well without its answers, as VLMEvalKit's does where a model breaks."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import commands

    with pytest.raises(RuntimeError, match="ended with 3: no such luck$"):
        commands.run(sys.executable, "-c", "import sys; print('no such luck', file=sys.stderr); sys.exit(3)")
    monkeypatch.setattr(commands, "run", lambda *of, **named: None)
    (tmp_path / "Demo_choice.tsv").write_text("index\tquestion\n1\tWhat?\n2\tAnd?\n")
    with pytest.raises(RuntimeError, match="demo_vlm_vlmguard has answered 0 of 2 questions at batch 8"):
        commands.evaluated(str(tmp_path), "demo_vlm", str(tmp_path), "8")
