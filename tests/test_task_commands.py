"""The prepared data sets as tasks of lmms-eval and lm-evaluation-harness, loaded by each and run by its command."""

import json
import os
import subprocess
import sys

import pytest
from helpers.small_sets import is_text_alone, small_rows, write_small_sets
from helpers.tiny_models import tiny_llava, tiny_processor

from vlmguard_plugin.benchmarks import BENCHMARKS, write_tsv
from vlmguard_plugin.hosts import tasks
from vlmguard_plugin.hosts.tasks import task_folder

PICTURED = [name for name in BENCHMARKS if not is_text_alone(name)]

BARE = [name for name in BENCHMARKS if name not in PICTURED]


def listed(names):
    """Tasks of data sets as the hosts' commands take them."""
    return ",".join(map(tasks.task_name, names))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A small set under every registered name in $LMUData, a tiny LLaVA and a tiny text-only model."""
    from transformers import LlamaConfig, LlamaForCausalLM

    place = tmp_path_factory.mktemp("tasks")
    write_small_sets(place / "data")
    tiny_llava(layers=3).save_pretrained(place / "llava")
    tiny_processor().save_pretrained(place / "llava")
    text = LlamaForCausalLM(
        LlamaConfig(vocab_size=340, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    )
    text.save_pretrained(place / "text")
    tiny_processor().tokenizer.save_pretrained(place / "text")
    return place


@pytest.fixture(autouse=True)
def data(place, monkeypatch):
    """$LMUData, for tests in this process."""
    monkeypatch.setenv("LMUData", str(place / "data"))
    return place / "data"


def command(place, *arguments):
    """A host's own command, finished: what it printed, and its sample logs by task."""
    environment = {
        **os.environ, "LMUData": str(place / "data"), "HF_HOME": str(place / "hf"), "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    out = place / f"out-{len(list(place.glob('out-*')))}"
    done = subprocess.run(
        [sys.executable, *map(str, arguments), "--log_samples", "--output_path", str(out)],
        env=environment, cwd=place, capture_output=True, text=True,
    )  # fmt: skip
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-4000:]
    logs = {}
    for path in out.rglob("*samples_vlmguard_*.jsonl"):
        task = next(
            task for task in map(tasks.task_name, sorted(BENCHMARKS, key=len, reverse=True)) if task in path.name
        )
        logs[task] = [json.loads(line) for line in path.read_text().splitlines()]
    assert logs, printed[-4000:]
    return printed, logs


@pytest.mark.host
def test_lm_eval_loads_every_task():
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(task_folder("lm_eval")), include_defaults=False)
    loaded = manager.load([tasks.task_name(name) for name in BENCHMARKS])["tasks"]
    assert set(loaded) == {tasks.task_name(name) for name in BENCHMARKS}
    for name in BENCHMARKS:
        task = loaded[tasks.task_name(name)]
        document = task.eval_docs[0]
        text_alone = is_text_alone(name)
        assert getattr(task, "MULTIMODAL", False) is not text_alone, name
        assert task.doc_to_text(document).startswith("<image>") is not text_alone
        if document.get("harmful") is not None:  # word for word, whatever the model
            assert task.doc_to_text(document).replace("<image>", "") == document["question"]
        assert task.config.generation_kwargs == {"max_gen_toks": 512, "do_sample": False, "until": []}
        assert set(task.process_results(document, ["A"])) == set(task.aggregation())


@pytest.mark.host
@pytest.mark.parametrize("task_type", ["simple", "chat"])
def test_lmms_eval_loads_every_task(task_type, place, monkeypatch):
    import datasets
    from lmms_eval.tasks import TaskManager

    monkeypatch.setattr("lmms_eval.api.task._resolve_hf_datasets_cache_dir", lambda: str(place / "hf"))
    datasets.disable_progress_bars()
    names = list(BENCHMARKS) if task_type == "chat" else ["FigStep_Tiny", "AdvBench_text", "MMBench_Samples"]
    manager = TaskManager("ERROR", include_path=str(task_folder("lmms_eval")), include_defaults=False)
    loaded = manager.load_task_or_group([tasks.task_name(name) for name in names], task_type)
    for name in names:
        task = loaded[tasks.task_name(name)]
        document = task.test_docs()[0]
        assert document["dataset"] == name
        assert len(task.doc_to_visual(document)) == (not is_text_alone(name))
        if document.get("harmful") is not None:  # word for word, whatever the model
            assert task.doc_to_text(document) == document["question"]
            if task_type == "chat":
                (turn,) = task.doc_to_messages(document)
                assert [part["text"] for part in turn["content"] if part["type"] == "text"] == [document["question"]]
        assert set(task.process_results(document, ["A"])) == set(task.aggregation())
        assert task.process_results(document, [""])["unknown"] == 1.0
    if task_type == "chat":
        (turn,) = task.doc_to_messages(document)
        assert [part["type"] for part in turn["content"]] == ["image", "text"]


@pytest.mark.host
@pytest.mark.parametrize("host", tasks.HOSTS)
def test_a_set_of_the_users_takes_three_lines(host, tmp_path, monkeypatch):
    monkeypatch.setenv("LMUData", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    write_tsv(small_rows("FigStep"), tmp_path / "Requests_mine_blank.tsv", "safety", "s", "l")
    rows = {
        "lm_eval": "dataset_kwargs: {dataset: Requests_mine_blank}",
        "lmms_eval": "dataset_name: Requests_mine_blank",
    }[host]
    (tmp_path / "mine.yaml").write_text(f"include: {task_folder(host)}/_safety.yaml\ntask: vlmguard_mine\n{rows}\n")
    if host == "lm_eval":
        from lm_eval.tasks import TaskManager

        task = TaskManager(include_path=str(tmp_path), include_defaults=False).load(["vlmguard_mine"])["tasks"][
            "vlmguard_mine"
        ]
    else:
        from lmms_eval.tasks import TaskManager

        manager = TaskManager("ERROR", include_path=str(tmp_path), include_defaults=False)
        task = manager.load_task_or_group(["vlmguard_mine"])["vlmguard_mine"]
    assert [document["id"] for document in task.test_docs()] == ["a", "b", "c"]


@pytest.mark.host
def test_lm_eval_command_with_pictures(place):
    printed, logs = command(
        place, "-m", "lm_eval", "--model", "hf-multimodal",
        "--model_args", f"pretrained={place / 'llava'},dtype=float32",
        "--device", "cpu", "--tasks", listed(PICTURED), "--include_path", task_folder("lm_eval"),
        "--apply_chat_template", "--gen_kwargs", "max_gen_toks=8", "--limit", "3", "--batch_size", "12",
    )  # fmt: skip
    assert set(logs) == {tasks.task_name(name) for name in PICTURED}
    check_safety_log(printed, logs["vlmguard_figstep_tiny"])
    assert logs["vlmguard_figstep_tiny"][2]["doc"]["pictures"] == 2
    check_choice_log(logs["vlmguard_mmbench_samples"])


@pytest.mark.host
def test_lm_eval_command_with_a_text_only_model(place):
    printed, logs = command(
        place, "-m", "lm_eval", "--model", "hf", "--model_args", f"pretrained={place / 'text'},dtype=float32",
        "--device", "cpu", "--tasks", listed(BARE), "--include_path", task_folder("lm_eval"),
        "--gen_kwargs", "max_gen_toks=8", "--limit", "2",
    )  # fmt: skip
    assert set(logs) == {tasks.task_name(name) for name in BARE}
    log = logs["vlmguard_advbench_text"]
    check_safety_log(printed, log, 2)
    assert log[0]["verdict"]["condition"] == "text" and "|attack_success|" in printed


@pytest.mark.host
def test_lmms_eval_command(place):
    printed, logs = command(
        place, "-m", "lmms_eval", "--model", "llava_hf",
        "--model_args", f"pretrained={place / 'llava'},device=cpu,device_map=cpu,dtype=float32",
        "--tasks", listed(PICTURED), "--include_path", task_folder("lmms_eval"),
        "--gen_kwargs", "max_new_tokens=8", "--limit", "3",
    )  # fmt: skip
    assert set(logs) == {tasks.task_name(name) for name in PICTURED}
    assert "in generating" not in printed, "the host writes an empty answer where its model fails"
    check_safety_log(printed, logs["vlmguard_figstep_tiny"])
    check_choice_log(logs["vlmguard_mmbench_samples"])


def check_safety_log(printed, log, rows=3):
    """One verdict a row, in order, and rates that follow from them."""
    assert [sample["verdict"]["id"] for sample in log] == ["a", "b", "c"][:rows]
    assert [sample["verdict"]["harmful"] for sample in log] == [True, False, True][:rows]
    assert {sample["verdict"]["label"] for sample in log} <= {
        "attack_success",
        "refusal",
        "safe",
        "degenerate",
        "unknown",
    }
    assert all(sample["filtered_resps"] for sample in log), "the model has answered"
    assert [sample["attack_success"] is None for sample in log] == [False, True, False][:rows]
    assert tasks.counts([sample["verdict"] for sample in log]) in printed


def check_choice_log(log):
    assert [sample["verdict"]["id"] for sample in log] == ["a", "b"]
    assert {sample["verdict"]["label"] for sample in log} <= {"right", "wrong", "unparsed", "unknown"}
    assert [sample["target"] for sample in log] == ["A", "C"]
