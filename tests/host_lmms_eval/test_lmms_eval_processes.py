"""lmms-eval's own command, in one and in two processes."""

import json
import os
import sqlite3
import subprocess
import sys
from importlib.metadata import version

import pytest
from helpers.lmms_eval_sets import BARE, CHOICE, COLOURS, PICTURED, break_picture, rows, write_sets
from PIL import Image

from vlmguard_plugin.hosts.tasks import task_folder
from vlmguard_plugin.runs.facts import RunFacts, Session

pytestmark = pytest.mark.host


MMBENCH = "mmbench_en_dev_static"  # the host's own

TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")

PACKAGE = '''
import os
from pathlib import Path
from vlmguard_plugin.guards.core.prompt import PromptGuard

class Mortal(PromptGuard):
    """Kills its process where a request names the lamp, for as long as the file in $MORTAL is there."""
    name = "mortal"
    def rewrite(self, query):
        if "lamp" in query.text and Path(os.environ["MORTAL"]).exists():
            Path(os.environ["MORTAL"]).unlink()
            os.kill(os.getpid(), 9)
        return query
'''


def write_mmbench(folder):
    """Three questions of our own where the host's MMBench tasks look for theirs in the working directory `folder`."""
    from datasets import Dataset

    common = {
        "question": "Which colour is it?",
        "hint": "nan",
        "answer": "A",
        "A": "red",
        "B": "blue",
        "C": "nan",
        "D": "nan",
    }
    common |= {"category": "colour", "L2-category": "colour", "source": "ours", "comment": "nan", "split": "dev"}
    made = [{"index": k, "image": Image.new("RGB", (30, 30), colour), **common} for k, colour in enumerate(COLOURS[:3])]
    (folder / "lmms-lab-encoder" / "MMBench" / "en").mkdir(parents=True)
    Dataset.from_list(made).to_parquet(folder / "lmms-lab-encoder" / "MMBench" / "en" / "dev-0.parquet")
    card = "---\nconfigs:\n- config_name: en\n  data_files:\n  - split: dev\n    path: en/dev-*.parquet\n---\n"
    (folder / "lmms-lab-encoder" / "MMBench" / "README.md").write_text(card)


def kept_answers(cache):
    """How many answers lie in the files of a cache's runs."""
    return sum(
        sqlite3.connect(file).execute("select count(*) from responses").fetchone()[0]
        for file in cache.rglob("rank_*.db")
    )


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A small installed package whose lmms-eval entry point fails, and which brings a guard."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / "mortal_guard.py").write_text(PACKAGE)
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "a-mortal-guard"\nversion = "1"\n[tool.setuptools]\npy-modules = ["mortal_guard"]\n'
        '[project.entry-points."lmms_eval.models"]\nbroken = "mortal_guard:nonesuch"\n'
        '[project.entry-points."vlmguard_plugin.guards"]\nmortal = "mortal_guard:Mortal"\n'
    )
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--target", str(site), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    return site


def command(place, out, *arguments, launcher=(), outside=None, **environment):
    """The host's own command in a folder of its own; the results file, and the answers by task and document."""
    search_path = os.pathsep.join(filter(None, [outside, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "lmms_eval", "--include_path", str(task_folder("lmms_eval")),
         "--output_path", str(out), "--log_samples", "--gen_kwargs", "max_new_tokens=6", *map(str, arguments)],
        env={**os.environ, **environment, "PYTHONPATH": search_path},
        cwd=place, capture_output=True, text=True,
    )  # fmt: skip
    files = list(out.rglob("*_results.json"))
    answers = {
        task: {
            row["doc_id"]: row["filtered_resps"]
            for file in out.rglob(f"*_samples_{task}.jsonl")
            for row in map(json.loads, file.open())
        }
        for task in (PICTURED, BARE, CHOICE, MMBENCH)
    }
    return done, json.loads(files[0].read_text()) if files else None, answers


def test_two_processes_killed_and_taken_up_again(place, outside, expected, tmp_path):
    """Through the host's own command, while another package's entry point fails: the answers are one process's."""
    arguments = [
        "--model",
        "llava_vlmguard+mortal",
        "--model_args",
        'vlm_guard={"layers": [1, 2], "alpha": 6},device=cpu',
    ]
    arguments += [
        "--tasks",
        ",".join((PICTURED, BARE, CHOICE, MMBENCH)),
        "--batch_size",
        1,
        "--use_cache",
        tmp_path / "cache",
    ]
    extra = {
        "launcher": TWO,
        "outside": str(outside),
        "MORTAL": str(tmp_path / "mortal"),
        "VLMGUARD_CACHE": str(tmp_path / "fits"),
    }
    (tmp_path / "mortal").touch()
    write_mmbench(place)
    killed, results, _ = command(place, tmp_path / "out", *arguments, **extra)
    kept = kept_answers(tmp_path / "cache")
    assert killed.returncode != 0 and results is None and "-9" in killed.stderr and 1 <= kept < 16
    assert killed.stderr.count("fit vlm_guard: harmful anchors:   0%") == 1, "the guard is fitted once"

    done, results, answers = command(place, tmp_path / "out", *arguments, **extra)
    assert "Failed to load model entry-point manifests" in done.stdout and results, (
        done.stdout[-3000:] + done.stderr[-3000:]
    )
    for task in (PICTURED, BARE):
        assert [answers[task][document] for document in range(len(expected["guarded"][task]))] == expected["guarded"][
            task
        ]
    assert (
        len(answers[CHOICE]) == 1
        and len(answers[MMBENCH]) == 3
        and "gpt_eval_score,none" in results["results"][MMBENCH]
    )
    facts = results["config"]["vlmguard"]
    assert sum(task["answers"] for task in facts["tasks"].values()) == 16 - kept
    run = RunFacts.from_dict(facts)
    assert (run.host, run.model, run.guard, run.batch_size) == (
        "lmms_eval",
        "llava_vlmguard+mortal",
        "vlm_guard+mortal",
        1,
    )
    assert run.host_version == version("lmms_eval") and run.generation == {"max_new_tokens": 6, "do_sample": False}
    session = Session(**{name: value for name, value in facts["tasks"][PICTURED].items() if name != "generation"})
    for task, kind in ((PICTURED, "harmful"), (BARE, "harmless"), (MMBENCH, "unmarked")):
        decided = {name: counts[1] for name, counts in (facts["tasks"][task]["gates"] or {}).items()}
        assert decided == ({kind: facts["tasks"][task]["answers"]} if facts["tasks"][task]["answers"] else {})
    assert session.processes == 2 and session.seconds > 0 and 0 < session.tokens <= 6 * session.answers


TWO_RANKS = """
import sys
from accelerate import Accelerator
from lmms_eval import evaluator
from lmms_eval.tasks import TaskManager
Accelerator()
tasks, cache, task = sys.argv[1:]
evaluator.simple_evaluate(
    model="llava_vlmguard", model_args="device=cpu", batch_size=2, use_cache=cache, gen_kwargs="max_new_tokens=6",
    task_manager=TaskManager("ERROR", include_path=tasks, include_defaults=False), tasks=[task],
    distributed_executor_backend="torchrun",
)
"""


def test_a_failure_in_one_of_two_processes_ends_both(place, tmp_path):
    write_sets(tmp_path / "data", rows())
    break_picture(tmp_path / "data" / "FigStep_Tiny.tsv", 7)
    (tmp_path / "run.py").write_text(TWO_RANKS)
    done = subprocess.run(
        [sys.executable, *TWO, str(tmp_path / "run.py"), str(task_folder("lmms_eval")), str(tmp_path / "cache"),
         PICTURED],
        env={**os.environ, "LMUData": str(tmp_path / "data")}, capture_output=True, text=True,
    )  # fmt: skip
    assert f"RequestFailed: task {PICTURED}, document 7: " in done.stderr, done.stderr[-3000:]
    assert f"RequestFailed: rank 1 of 2: task {PICTURED}, document 7: " in done.stderr
    logged = [
        line for file in (tmp_path / "cache").rglob("rank_*.audit.jsonl") for line in file.read_text().splitlines()
    ]
    assert len(logged) == 5 + 2, "the other process has answered its share, this one its first batch"
