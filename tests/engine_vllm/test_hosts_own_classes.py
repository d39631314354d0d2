"""VLMEvalKit's own classes on vLLM under a guard: in the class's engine, by its prompts, answers of transformers."""

import pytest
from helpers import vllm_host_questions as questions
from helpers.guard_rows import HABITS, ON_HOST_MODELS

pytestmark = pytest.mark.host
HELPED = "breaks on a request without a picture"
TEXT_ALONE = [place for place, message in enumerate(questions.messages()) if len(message) == 1]


@pytest.fixture(scope="module", params=["qwen2_vl", "gemma3"])
def given(request, ask):
    """What a class gives in vLLM and its checkpoint in transformers, and the messages whose states are the same.

    Beside pictures, Gemma 3's are not on a CPU, guarded or not: vLLM has no picture's tokens look ahead there.
    """
    told = ask(questions.answers, request.param)
    places = range(len(questions.messages()))
    return request.param, told, [place for place in places if request.param == "qwen2_vl" or place in TEXT_ALONE]


def test_guarded_answers_are_those_of_transformers(given):
    _, told, same = given
    assert told["prompts are alike"] and max(told["states differ by"][place] for place in same) < 1e-5
    for own, there in (("one by one", "transformers"), ("unguarded", "unguarded, transformers")):
        assert [told[own][place] for place in same] == [told[there][place] for place in same]


def test_all_are_guarded_one_by_one_and_together(given):
    _, told, _ = given
    assert told["alone"] is None and told["one by one"] == told["together"]
    assert sum(own != unguarded for own, unguarded in zip(told["one by one"], told["unguarded"])) >= 6


def test_the_facts_say_engine_and_guard(given):
    _, told, _ = given
    assert told["facts"] == ("vllm", "vlm_guard", "float32", True, told["fitted"])
    assert len(set(told["fingerprints"])) == 1


def test_a_class_that_reckons_with_a_picture_is_helped(given):
    name, told, _ = given
    assert (HELPED in told["said"]) == (name == "qwen2_vl")


def test_without_a_guard_the_class_answers_as_by_itself(ask):
    told = ask(questions.answers, "qwen2_vl")
    pictured = [text for place, text in enumerate(told["unguarded"]) if place not in TEXT_ALONE]
    assert ask(questions.answers_alone, "qwen2_vl") == pictured


KINDS = ("cmrm_sample", "shiftdc", "conditional_refusal", "ecso")
GUARDS = [
    *((name, ON_HOST_MODELS.get(name, HABITS[name][0])) for name in KINDS),
    ("refusal_direction+self_reminder", {"refusal_direction": {"layers": [1], "alpha": 3.0}}),
]


@pytest.mark.parametrize("guard, settings", GUARDS)
def test_guards_of_every_kind(ask, guard, settings):
    """That look at each request first, decide by several layers, reword, and look at answers."""
    unguarded, own, there, fired, fired_there = ask(questions.answers_under, "qwen2_vl", guard, settings)
    assert own == there and fired == fired_there
    assert (own == unguarded) == (guard == "ecso"), "ECSO leaves what it does not call unsafe"


def test_a_guard_that_does_not_act_is_an_error(ask):
    told, as_before = ask(questions.what_goes_wrong, "qwen2_vl")
    assert "after decoder layers [1] is not finite" in told["not finite"]
    assert "RuntimeError: decoder layer 1 could not be edited (IndexError: of a guard)" in told["breaks"]
    assert "Qwen2VLChat has answered without asking its engine" in told["not asked"]
    assert "past the subject that guards its answers" in told["past generate"]
    assert "puts 2 prompts to its engine for one question" in told["several"]
    assert as_before
