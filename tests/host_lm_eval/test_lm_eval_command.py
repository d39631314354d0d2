"""lm-evaluation-harness's cache, command and many processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lm_eval
import pytest
from helpers.lm_eval_tasks import NOUNS, answers, built, evaluated

import vlmguard_plugin as vg

# The host's cache


def test_the_cache_serves_the_same_guard_and_refuses_another(place, manager, tmp_path):
    settings = {"rank": 2, "layers": [1, 2]}
    options = {"use_cache": str(tmp_path / "answers"), "apply_chat_template": True}
    tasks = ["t_text", "t_image", "t_choice", "t_rolling"]
    first = built(place, "llava-vlmguard", alpha=0.5, **settings)
    expected = evaluated(first, manager, tasks, **options)
    again = built(place, "llava-vlmguard", alpha=0.5, **settings)
    served = evaluated(again, manager, tasks, **options)
    assert all(answers(served, task) == answers(expected, task) for task in tasks) and again.guarded.meter.spent == {}
    for another in (
        built(place, "llava-vlmguard", alpha=0.6, **settings),
        built(place),
        built(place, "llava-cmrm", layers=[1]),
    ):
        with pytest.raises(ValueError, match="holds answers of another model, guard or setting"):
            evaluated(another, manager, tasks, **options)


def command(place, *words):
    arguments = f"pretrained={place / 'tiny'},anchors={place / 'anchors.csv'},rank=2,alpha=0.5,layers=[1,2]"
    return [
        "-m",
        "lm_eval",
        "--model",
        "llava-vlmguard",
        "--model_args",
        arguments,
        "--include_path",
        str(place / "tasks"),
        "--apply_chat_template",
        *words,
    ]


RUN = """
import sys
import lm_eval
import lm_eval.models
from lm_eval.tasks import TaskManager

place, cache = sys.argv[1:]
manager = TaskManager(include_path=f"{place}/tasks", include_defaults=False)
arguments = {"pretrained": f"{place}/tiny", "anchors": f"{place}/anchors.csv"}
arguments |= {"rank": 2, "alpha": 0.5, "layers": [1, 2]}
options = {"task_manager": manager, "use_cache": cache, "apply_chat_template": True}
options |= {"batch_size": 2, "device": "cuda:0"}
lm_eval.simple_evaluate(model="llava-vlmguard", model_args=arguments, tasks=["t_many"], **options)
"""


@pytest.mark.host
def test_a_killed_run_goes_on_where_it_was(place, manager, tmp_path):
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(place), str(tmp_path / "answers")], stderr=subprocess.DEVNULL
    )
    cache = tmp_path / "answers_rank0.db"
    deadline = time.time() + 120
    while time.time() < deadline and run.poll() is None and not (cache.exists() and rows_in(cache) > 20):
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    kept = rows_in(cache)
    model = built(place, "llava-vlmguard", rank=2, alpha=0.5, layers=[1, 2])
    results = evaluated(model, manager, ["t_many"], use_cache=str(tmp_path / "answers"), apply_chat_template=True)
    assert 20 < kept < 201 and model.guarded.meter.spent["t_many"].answers <= 201 - kept
    queries = [
        vg.Query(f"What is a {noun}?" + " Say it well." * (i % 3) + f" {turn}")
        for turn in range(40)
        for i, noun in enumerate(NOUNS)
    ]
    expected = model.guarded.guard.respond(model.subject, queries, max_new_tokens=8)
    assert [answer for (answer,) in answers(results, "t_many")] == expected


def rows_in(cache: Path) -> int:
    import sqlite3

    try:
        with sqlite3.connect(f"file:{cache}?mode=ro", uri=True) as connection:
            return connection.execute("select count(*) from unnamed").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


# The host's command and many processes


@pytest.mark.host
def test_two_processes_give_what_one_gives(place, manager, guarded, tmp_path):
    tasks = ["t_text", "t_image", "t_choice", "t_rolling"]
    words = ["--tasks", ",".join(tasks), "--batch_size", "8", "--log_samples", "--output_path", str(tmp_path)]
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        *command(place, *words),
    ]
    run = subprocess.run(launch, capture_output=True, text=True, timeout=200, env=os.environ)
    assert run.returncode == 0, run.stderr[-3000:]
    expected = evaluated(guarded, manager, tasks, apply_chat_template=True)
    for task in tasks:
        (file,) = tmp_path.glob(f"*/samples_{task}_*.jsonl")
        samples = sorted(map(json.loads, file.read_text().splitlines()), key=lambda sample: sample["doc_id"])
        assert len(samples) == 5
        for sample, wanted in zip(samples, answers(expected, task)):
            given = [responses[0] for responses in sample["resps"]]
            if task in ("t_text", "t_image"):
                assert given == wanted
            else:
                given = [float(value[0] if isinstance(value, list) else value) for value in given]
                assert given == pytest.approx(
                    [value[0] if isinstance(value, tuple) else value for value in wanted], abs=1e-4
                )
    (file,) = tmp_path.glob("*/results_*.json")
    told = json.loads(file.read_text())["config"]["vlmguard"]["tasks"]
    assert told["t_text"]["processes"] == 2
    assert (told["t_text"]["answers"], told["t_text"]["tokens"], told["t_choice"]["answers"]) == (5, 40, 15)


def test_a_wrong_argument_is_the_reason_the_host_gives(place, manager):
    """As a string, the way the command hands it on."""
    arguments = f"pretrained={place / 'tiny'},anchors={place / 'anchors.csv'},alhpa=1"
    with pytest.raises(ValueError, match="guard 'vlm_guard' has no setting 'alhpa'"):
        lm_eval.simple_evaluate(
            model="llava-vlmguard", model_args=arguments, tasks=["t_text"], task_manager=manager, batch_size=1
        )


@pytest.mark.host
def test_no_other_host_is_imported_and_a_broken_one_costs_a_line():
    """A process that only imports the host has nothing of the others; a failing registration is told in one line."""
    code = (
        "import sys, lm_eval.models; from lm_eval.api.registry import model_registry as r; "
        "assert 'llava-vlmguard' in r; assert not {'vlmeval', 'lmms_eval'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    code = (
        "import lm_eval.api.registry as r; r.model_registry.register('vlmguard', target='some:Other'); "
        "import lm_eval.models; assert 'hf' in r.model_registry"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (
        run.returncode == 0
        and len(run.stderr.splitlines()) == 1
        and "could not register with lm_eval.models" in run.stderr
    )
