"""VLMEvalKit's own classes on vLLM under a guard: in the class's engine, by its prompts, answers of transformers."""

import json

import pytest
from helpers import vllm_host_questions as questions
from helpers.places import TESTS
from helpers.processes import python
from helpers.vlmeval_command import answered, tiny_place
from helpers.vlmeval_form import START

from vlmguard_plugin.benchmarks import prepare

pytestmark = pytest.mark.host
HELPED = "breaks on a request without a picture"


@pytest.fixture(scope="module", params=["qwen2_vl", "gemma3"])
def given(request, ask):
    """What a class gives in vLLM and its checkpoint in transformers."""
    return request.param, ask(questions.answers, request.param)


def test_guarded_answers_are_those_of_transformers(given):
    _, told = given
    assert told["prompts are alike"] and told["states differ by"] < 1e-4
    assert told["one by one"] == told["transformers"] == told["together"]
    assert told["unguarded"] == told["unguarded, transformers"] != told["transformers"]
    assert told["alone"] is None


def test_the_facts_say_engine_and_guard(given):
    _, told = given
    assert told["facts"] == ("vllm", "vlm_guard", "float32", True, told["fitted"])
    assert len(set(told["fingerprints"])) == 1


def test_a_class_that_reckons_with_a_picture_is_helped(given):
    name, told = given
    assert (HELPED in told["said"]) == (name == "qwen2_vl")


def test_without_a_guard_the_class_answers_as_by_itself(ask):
    told = ask(questions.answers, "qwen2_vl")
    pictured = [place for place, message in enumerate(questions.messages()) if len(message) == 2]
    assert ask(questions.class_alone, "qwen2_vl") == [told["unguarded"][place] for place in pictured]


def test_a_guard_that_does_not_act_is_an_error(ask):
    told, as_before = ask(questions.what_goes_wrong, "qwen2_vl")
    assert "after decoder layers [1] is not finite" in told["not finite"]
    assert "Qwen2VLChat has answered without asking its engine" in told["not asked"]
    assert "past the subject that guards its answers" in told["past generate"]
    assert "puts 2 prompts to its engine for one question" in told["several"]
    assert as_before


SCRIPT = """
from helpers import vllm_host_questions as questions
questions.register("qwen2_vl")
"""


def test_the_hosts_command_with_use_vllm(ask, tmp_path):
    environment = tiny_place(tmp_path)
    (tmp_path / "mine.csv").write_text("request,harmful\n" + "".join(f"How to steal a {n}?,1\n" for n in "abcd"))
    prepare("Requests_mine_blank", tmp_path / "mine.csv", out_dir=tmp_path / "data", size=56)
    (tmp_path / "any.py").write_text(SCRIPT + START)
    base, out = questions.CLASSES["qwen2_vl"][0], tmp_path / "out"
    models = (f"{base}_none", f"{base}_vlmguard")
    words = ("--model", *models, "--data", "Requests_mine_blank", "--work-dir", out, "--mode", "infer", "--use-vllm")
    environment |= {"PRED_FORMAT": "json", "PYTHONPATH": TESTS, "VLLM_LOGGING_LEVEL": "ERROR", "VLMGUARD_DEVICE": None}
    done = python(tmp_path / "any.py", *words, environment=environment)
    own, guarded = (answered(out, model, "Requests_mine_blank") for model in models)
    assert len(own) == len(guarded) == 4 and all(own.values()) and own != guarded, done.stderr[-2000:]
    for model, guard in zip(models, ("none", "vlm_guard")):
        (file,) = out.rglob(f"{model}_Requests_mine_blank_vlmguard.json")
        (run,) = json.loads(file.read_text())["runs"]
        assert (run["engine"], run["guard"], run["sessions"][0]["answers"]) == ("vllm", guard, 4)
