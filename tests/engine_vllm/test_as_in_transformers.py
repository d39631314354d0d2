"""A model in vLLM, guarded and not, gives what it gives in transformers: states, answers, likelihoods, fits."""

import pytest
from helpers import vllm_questions as questions
from helpers.guard_rows import HABITS, LIKELIHOODS, editing_guards, own_guards, rows, scoring_guards

from vlmguard_plugin.steering.edit import POSITIONS

BEYOND = ("coca", "eta")
"""Guards that vLLM's subject can't do, and says so."""
WITHIN = [name for name in own_guards() if name not in BEYOND]
UNCHANGED = ("none", "ecso")
"""Guards under which a random model answers as without: ECSO leaves an answer that it does not call unsafe."""
GATED = {"rank": 2, "layers": [1, 2], "gate": "midpoint", "project": True}


def test_states_names_and_depth(ask):
    difference, of_ends = ask(questions.states, "llava")
    assert difference < 1e-5 and of_ends < 1e-5
    own, there = ask(questions.names, "llava")
    assert own == there


@pytest.mark.parametrize("name, settings", rows(HABITS, WITHIN))
def test_every_guards_answers(ask, picture, name, settings):
    if settings == {"steps": 2, "step": 60.0}:
        settings = {"image": picture}  # fitting a border needs gradients; the next test
    unguarded, guarded, here = ask(questions.answers, "llava", name, settings, picture)
    assert here == guarded
    assert (guarded == unguarded) == (name in UNCHANGED)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("model", ["llava", "qwen2_vl", "qwen2_5_vl"])
def test_at_every_position(ask, model, positions):
    unguarded, guarded, here = ask(questions.answers, model, "vlm_guard", {**GATED, "positions": positions})
    assert here == guarded != unguarded


def test_what_has_to_come_after_such_features_is_refused(ask):
    said = ask(questions.refused_answers, "qwen3_vl", "vlm_guard", {**GATED, "layers": [0, 2]})
    assert (
        "adds pictures' features behind decoder layers 0 to 1, and what is done at layers [0] has to come after" in said
    )


def test_two_guards_at_once(ask):
    both = {"vlm_guard": {"rank": 2, "layers": [1, 2]}, "cmrm_sample": {"layers": [1, 2]}}
    unguarded, guarded, here = ask(questions.answers, "llava", "vlm_guard+self_reminder+cmrm_sample", both)
    assert here == guarded != unguarded


@pytest.mark.parametrize("name", BEYOND)
def test_what_vllm_keeps_to_itself_is_refused(ask, name):
    said = ask(questions.refusal, name, HABITS[name][0])
    assert f"guard {name!r}" in said and "VLLMSubject" in said and "engine=transformers" in said


@pytest.mark.parametrize("name, settings", rows(HABITS, ["refusal_direction", "conditional_refusal", "vlm_guard"]))
def test_gates_fire_on_the_same_requests(ask, name, settings):
    own, there = ask(questions.gates, name, settings)
    assert own == there


@pytest.mark.parametrize("name, settings", [(name, HABITS[name][0]) for name in editing_guards()])
def test_a_fit_is_the_same_and_serves_in_both(ask, name, settings):
    difference, (of_transformers, of_vllm) = ask(questions.fits, name, settings)
    assert difference < 1e-3
    assert of_transformers == of_vllm


@pytest.mark.parametrize("name, settings", rows(LIKELIHOODS, [n for n in scoring_guards() if n not in BEYOND]))
def test_likelihoods_are_decided_at_the_last_prompt_token(ask, picture, name, settings):
    if settings == {"steps": 2, "step": 60.0}:
        settings = {"image": picture}
    own, there = ask(questions.likelihoods, name, settings, picture)
    assert [greedy for _, greedy in own] == [greedy for _, greedy in there]
    assert [value for value, _ in there] == pytest.approx([value for value, _ in own], abs=2e-3)


def test_likelihoods_of_tokens(ask):
    own, there = ask(questions.token_likelihoods)
    assert [value for value, _ in there] == pytest.approx([value for value, _ in own], abs=1e-3)


def test_in_a_guards_context_everything_is_guarded(ask):
    close, edited, alike = ask(questions.standing, "vlm_guard", GATED)
    assert close == [True, True] and edited == [True, False, True, False] and not alike


def test_stops_and_sampling(ask):
    own, there, (first, again, other) = ask(questions.stopped)
    assert own == there
    assert first == again != other
