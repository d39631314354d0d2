"""The hosts' own commands with engine=vllm give the answers and likelihoods that they give with transformers."""

import importlib.util
import json
import os

import pytest
from helpers import vllm_host_questions
from helpers.lm_eval_tasks import DOCUMENTS, TASKS
from helpers.lmms_eval_sets import PICTURED, rows, write_sets
from helpers.places import TESTS
from helpers.processes import forked_python
from helpers.tiny_models import tiny_llava, tiny_processor
from helpers.vlmeval_command import answered, tiny_place
from helpers.vlmeval_form import START

from vlmguard_plugin.benchmarks import prepare
from vlmguard_plugin.hosts.tasks import task_folder

pytestmark = pytest.mark.host
ENGINES = ("transformers", "vllm")
SETTINGS = "rank=2,alpha=0.5,layers=[1,2]"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny checkpoint whose heads vLLM can do, anchors and small sets; and the environment."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed (docs/vllm.md)")
    folder = tmp_path_factory.mktemp("vllm_hosts")
    environment = tiny_place(folder)
    tiny_llava(width=64, heads=2).save_pretrained(folder / "llava")
    tiny_processor().save_pretrained(folder / "llava")
    environment |= {"VLLM_LOGGING_LEVEL": "ERROR", "OMP_NUM_THREADS": "1", "VLMGUARD_DEVICE": None}
    return folder, environment


@pytest.mark.parametrize("guard", ["vlm_guard"])
def test_lm_eval(place, tmp_path, guard):
    folder, environment = place
    (folder / "tasks").mkdir()
    (folder / "tasks" / "documents.py").write_text(DOCUMENTS)
    tasks = ("t_text", "t_image", "t_choice", "t_rolling")
    for name in tasks:
        (folder / "tasks" / f"{name}.yaml").write_text(f"task: {name}\n{TASKS[name]}")
    given = {}
    for engine in ENGINES:
        arguments = f"pretrained={folder / 'llava'},guard={guard},engine={engine},dtype=float32,{SETTINGS}"
        forked_python(
            *("-m", "lm_eval", "--model", "vlmguard", "--model_args", arguments, "--tasks", ",".join(tasks)),
            *("--include_path", folder / "tasks", "--log_samples", "--output_path", tmp_path / engine),
            *("--apply_chat_template", "--batch_size", "8"),
            environment=environment,
        )
        (results,) = (tmp_path / engine).rglob("results_*.json")
        assert json.loads(results.read_text())["config"]["vlmguard"]["engine"] == engine
        given[engine] = {task: samples(tmp_path / engine, task) for task in tasks}
    own, there = given["transformers"], given["vllm"]
    for task in ("t_text", "t_image"):
        assert own[task] == there[task] and any(own[task])
    for task in ("t_choice", "t_rolling"):
        assert numbers(there[task]) == pytest.approx(numbers(own[task]), abs=2e-3)


def samples(folder, task):
    """What the host's log has of a task's responses, by document."""
    (file,) = folder.rglob(f"samples_{task}_*.jsonl")
    lines = sorted(map(json.loads, file.read_text().splitlines()), key=lambda line: line["doc_id"])
    return [line["resps"] for line in lines]


def numbers(responses):
    """The log-probabilities in responses, however deep."""
    if isinstance(responses, list):
        return [number for response in responses for number in numbers(response)]
    return [float(responses)] if str(responses).strip("-").replace(".", "", 1).isdigit() else []


def test_lmms_eval(place, tmp_path):
    folder, environment = place
    write_sets(folder / "data", rows())
    given = {}
    for engine in ENGINES:
        arguments = f"pretrained={folder / 'llava'},guard=vlm_guard,engine={engine},dtype=float32,{SETTINGS}"
        forked_python(
            *("-m", "lmms_eval", "--model", "vlmguard", "--model_args", arguments, "--tasks", PICTURED),
            *("--include_path", task_folder("lmms_eval"), "--log_samples", "--output_path", tmp_path / engine),
            *("--batch_size", "16", "--gen_kwargs", "max_new_tokens=24"),
            environment=environment,
        )
        (file,) = (tmp_path / engine).rglob(f"*samples_{PICTURED}.jsonl")
        lines = sorted(map(json.loads, file.read_text().splitlines()), key=lambda line: line["doc_id"])
        given[engine] = [line["filtered_resps"] for line in lines]
    assert given["vllm"] == given["transformers"]
    assert len(given["vllm"]) == len(rows())


TINY_CLASSES = """
from helpers import vllm_host_questions
for name in ("qwen2_vl", "qwen3_vl"):
    vllm_host_questions.register(name)
"""


def test_vlmevalkit(place, tmp_path):
    """By --use-vllm: models of ours, where they don't say another engine, and classes of the host's own."""
    folder, environment = place
    (folder / "mine.csv").write_text("request,harmful\n" + "".join(f"How to steal a {n}?,1\n" for n in "abcd"))
    prepare("Requests_mine_blank", folder / "mine.csv", out_dir=folder / "data", size=56)
    (tmp_path / "host.py").write_text(TINY_CLASSES + START)
    guard = {"guard": "vlm_guard", "dtype": "float32", "rank": 2, "alpha": 0.5, "layers": [2]}
    own = {"class": "GuardedVLM", **guard, "model": str(folder / "llava"), "max_new_tokens": 8}
    wide = {**own, "model": vllm_host_questions.checkpoint("qwen2_vl"), "max_new_tokens": vllm_host_questions.TOKENS}
    models = {
        "ours": own,
        "ours-in-transformers": {**own, "engine": "transformers"},
        "class": {"class": "GuardedHost", **guard, "model": "Tiny-Qwen2-VL"},
        "its-checkpoint-in-transformers": {**wide, "engine": "transformers"},
        "class-of-Qwen3": {"class": "GuardedHost", **guard, "model": "Tiny-Qwen3-VL"},
    }
    data = {"Requests_mine_blank": {"class": "SafetyRequests", "dataset": "Requests_mine_blank"}}
    (tmp_path / "config.json").write_text(json.dumps({"model": models, "data": data}))
    path = os.pathsep.join((str(TESTS), os.environ.get("PYTHONPATH", "")))
    done = forked_python(
        *(tmp_path / "host.py", "--config", tmp_path / "config.json", "--use-vllm"),
        *("--work-dir", tmp_path / "out", "--mode", "infer"),
        environment={**environment, "PRED_FORMAT": "json", "PYTHONPATH": path, "VLLM_CPU_KVCACHE_SPACE": "1"},
    )
    given = {}
    for model in models:
        rows = answered(tmp_path / "out", model, "Requests_mine_blank")
        given[model] = {row: text.strip() for row, text in rows.items()}
        assert len(rows) == 4 and all(rows.values()), done.stderr[-2000:]
        (file,) = (tmp_path / "out").rglob(f"{model}_Requests_mine_blank_vlmguard.json")
        (run,) = json.loads(file.read_text())["runs"]
        engine = "transformers" if model.endswith("transformers") else "vllm"
        assert (run["engine"], run["guard"], run["sessions"][0]["answers"]) == (engine, "vlm_guard", 4)
    assert given["ours"] == given["ours-in-transformers"]
    assert given["class"] == given["its-checkpoint-in-transformers"]
