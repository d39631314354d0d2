"""What goes on inside the engine: compiled models, many requests at once, little memory, and what goes wrong."""

import pytest
from helpers import vllm_questions as questions

from vlmguard_plugin.steering.edit import POSITIONS

GATED = {"rank": 2, "layers": [1, 2], "gate": "midpoint", "project": True}


def test_many_at_once_are_answered_as_one_by_one(ask):
    together, alone = ask(questions.many_at_once, 64, 256)
    assert together == alone and len(set(together)) > 10


def test_requests_that_are_put_off_for_memory_come_back_guarded(ask):
    together, alone, put_off = ask(questions.with_little_memory, 12)
    assert put_off and together == alone


def test_a_request_that_fails_leaves_the_engine_and_its_guard(ask):
    (kind, too_long), (_, unreadable), alike = ask(questions.after_an_error)
    assert kind == "AnswersCutShort" and "maximum" in too_long
    assert "query 2: " in unreadable and "/nowhere.png" in unreadable
    assert alike


def test_an_edit_that_is_not_finite_stops(ask):
    kind, said = ask(questions.not_finite)
    assert kind == "AnswersCutShort" and "after decoder layers [1] is not finite" in said


def test_a_layer_that_is_not_reached_is_an_error(ask):
    assert "decoder layers [2] were not reached in a pass" in ask(questions.passed_by, 2)


def test_a_pass_in_which_no_layer_is_heard_is_an_error(ask):
    """As where answers are decoded by a graph that holds the whole model: their first token came from another pass."""
    assert "no decoder layer was reached in a pass" in ask(questions.passed_by, None)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"num_beams": 2}, "num_beams is 2, which vLLM does not follow"),
        ({"guidance_scale": 2.0}, "guidance_scale is 2.0"),
        ({"suppress_tokens": [5]}, "suppress_tokens is [5]"),
        ({"nonsense": 1}, "nonsense is 1"),
    ],
)
def test_arguments_that_would_not_be_followed_are_refused(ask, arguments, said):
    kind, message = ask(questions.error_of, "generate", [], **arguments)
    assert kind == "ValueError" and message.startswith(said) and "engine=transformers" in message


def test_of_a_checkpoints_own_arguments_too(ask):
    said = ask(questions.of_own_arguments)
    assert said["no_repeat_ngram_size"].startswith("no_repeat_ngram_size is 3 in the checkpoint's generation_config")
    own, there = said["repetition_penalty"]
    assert own == there


@pytest.mark.slow
@pytest.mark.parametrize("positions", POSITIONS)
def test_compiled_it_is_the_same(ask, positions):
    settings = {**GATED, "positions": positions}
    unguarded, guarded, here = ask(questions.answers, "llava", "vlm_guard", settings, eager=False)
    assert here == guarded != unguarded


@pytest.mark.slow
def test_compiled_states_are_the_same(ask):
    difference, of_ends = ask(questions.states, "llava", eager=False)
    assert difference < 1e-5 and of_ends < 1e-5


@pytest.mark.slow
def test_over_two_workers_it_is_the_same(ask):
    rows = [("vlm_guard", GATED), ("cmrm_sample", {"layers": [1]}), ("refusal_direction", {"layers": [1]})]
    answers, difference = ask(questions.over_two_workers, rows)
    assert all(own == there for own, there in answers) and difference < 1e-5
