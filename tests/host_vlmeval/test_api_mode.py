"""VLMEvalKit's `--api-mode` and `--base-url`: facts are kept, requests stay as they are, guards are never left out."""

import json

import pytest
from helpers.processes import forked_python as python, python as real_python
from helpers.vlmeval_command import clone_of_host
from helpers.vlmeval_form import COMMAND_FILE, START, WORDS

from vlmguard_plugin.hosts.vlmeval.command import CLASSES, check_command, is_hosts_command
from vlmguard_plugin.hosts.vlmeval.datasets import PreparedDataset

pytestmark = pytest.mark.host

WITH_API = """
from functools import partial

import vlmeval.config
from vlmeval.api.base import BaseAPI

class LocalAPI(BaseAPI):
    is_api = True

    def use_custom_prompt(self, dataset):
        return True

    def build_prompt(self, line, dataset=None):
        return [{"type": "text", "value": "words of the model's own"}]

    def generate_inner(self, inputs, **_):
        asked = " | ".join(part["value"] for part in inputs if part["type"] == "text")
        return 0, f"asked: {asked}", ""

vlmeval.config.supported_VLM["LocalAPI"] = partial(LocalAPI, retry=1, wait=0)
"""


def run(place, work_dir, *arguments, script=WORDS):
    words = [*script, "--data", "Requests_mine_text", "--work-dir", work_dir, "--mode", "infer", *arguments]
    return python(*words, environment={**place[1], "PRED_FORMAT": "json"}, check=False)


def test_requests_stay_and_facts_are_kept(place, tmp_path):
    script = tmp_path / "api.py"
    script.write_text(WITH_API + START)
    done = run(place, tmp_path / "out", "--model", "LocalAPI", "--api-mode", script=(script,))
    (folder,) = (tmp_path / "out" / "LocalAPI").glob("T*")
    rows = json.loads((folder / "LocalAPI_Requests_mine_text.json").read_text())
    assert len(rows) == 10, done.stderr[-2000:]
    assert all(row["prediction"] == f"asked: {row['question']}" for row in rows)
    (facts,) = json.loads((folder / "LocalAPI_Requests_mine_text_vlmguard.json").read_text())["runs"]
    assert facts["model"] == "LocalAPI" and [session["status"] for session in facts["sessions"]] == ["complete"]


@pytest.mark.parametrize(
    "words, named",
    [
        (["--model", "Qwen2-VL-2B-Instruct_vlmguard", "--base-url", "http://127.0.0.1:9/v1"], "unguarded"),
        (["--model", "llava_vlmguard", "--base-url=http://127.0.0.1:9/v1", "--api-mode"], "unguarded"),
        (["--api-mode", "--model", "llava_vlmguard"], "leave --api-mode out"),
        (["--api-mode", "--model", "GPT4o_self_reminder"], "leave --api-mode out"),
        (["--base-u", "http://127.0.0.1:9/v1", "--model", "llava_vlmguard"], "unguarded"),
    ],
)
def test_commands_that_would_leave_the_guard_out(place, tmp_path, words, named):
    done = run(place, tmp_path / "out", *words)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("vlmguard: ") and named in last, done.stderr[-2000:]
    assert not (tmp_path / "out").exists()


def test_only_the_hosts_own_command_is_looked_at(tmp_path):
    clone = clone_of_host(tmp_path / "a clone")
    for program in (clone / "run.py", COMMAND_FILE):
        assert is_hosts_command([str(program), "--x"], ["python", str(program), "--x"]), program
    for program in (tmp_path / "run.py", "train.py", "-c", "", tmp_path / "vlmeval" / "other.py"):
        assert not is_hosts_command([str(program), "--x"], ["python", str(program), "--x"]), program


def test_a_module_is_known_by_how_it_was_started():
    """`python -m` says which only in what the interpreter was given, as long as the package is imported."""
    for words, its in (
        (["-m", "vlmeval.run"], True),
        (["-u", "-m", "vlmeval.run", "--model", "x"], True),
        (["-mvlmeval.run", "-m", "y"], True),
        (["-X", "dev", "-m", "vlmeval"], True),
        (["-m", "train", "-m", "vlmeval.run"], False),
        (["-m", "vlmeval.inference"], False),
    ):
        start = next(place for place, word in enumerate(words) if word.startswith("-m"))
        rest = words[start + 1 if words[start] != "-m" else start + 2 :]
        assert is_hosts_command(["-m", *rest], ["python", *words]) is its, words


@pytest.mark.parametrize(
    "words",
    [
        WORDS,
        [str(COMMAND_FILE)],
        ["-m", "vlmguard_plugin", "run", "vlmeval"],
    ],
)
def test_a_real_interpreter_is_looked_at(words):
    done = real_python(*words, "--data", "x", "--model", "llava_cmrm", "--api-mode", check=False)
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1].endswith("leave --api-mode out")


def test_other_commands_are_left_alone():
    for words in (
        ["--model", "some-endpoint", "--base-url", "http://127.0.0.1:9/v1"],
        ["--model", "llava_vlmguard", "--data", "FigStep"],
        ["--api-mode", "--model", "GPT4o"],
        ["positional", "--unknown", "--model"],
        ["--api-mode=1", "--base-url"],
    ):
        check_command(words, {"GPT4o"}.__contains__)


def aliased(**entry):
    return ["--data", "mine", "--data-config", json.dumps({"mine": entry})]


def test_a_set_of_ours_keeps_its_name():
    """The head writes the answers to a set under its own name, and looks for them under the other."""
    for name in CLASSES:
        with pytest.raises(SystemExit, match="--data-config calls FigStep mine.*; call it FigStep"):
            check_command(aliased(**{"class": name, "dataset": "FigStep"}), set().__contains__)
    for words in (
        aliased(**{"class": "SafetyRequests"}),
        aliased(**{"class": "VideoMME", "dataset": "Video-MME"}),
        ["--data-config", "{"],
        ["--data-config", "[1]"],
        ["--data", "FigStep"],
    ):
        check_command(words, set().__contains__)


def test_the_classes_are_the_data_sets_own():
    kinds = {one.__name__ for one in PreparedDataset.__subclasses__()}
    assert set(CLASSES) == kinds
