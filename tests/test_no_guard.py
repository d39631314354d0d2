"""The guard `none`: the unguarded model by way of the guards' code, and the base of a board."""

import pytest
from helpers.prediction_rows import NO, YES, write

import vlmguard_plugin as vg
from vlmguard_plugin.leaderboard import leaderboard
from vlmguard_plugin.runs.facts import RunFacts, Session, facts_file, record


def test_it_answers_as_the_model_alone(subject, pictures):
    asked = [vg.Query("What is this?", (pictures[0],)), vg.Query("Just a text")]
    guard = vg.build_guard("none")
    unguarded = subject.generate(asked, max_new_tokens=6)
    assert guard.respond(subject, asked, max_new_tokens=6) == unguarded
    with guard.on(subject):
        assert subject.generate(asked, max_new_tokens=6) == unguarded and not subject.is_edited
    assert guard.rewrite(asked[0]) == asked[0] and guard.is_fitted
    with pytest.raises(ValueError, match="has no setting 'alpha'"):
        vg.build_guard("none", alpha=1.0)


def test_it_needs_no_decoder():
    class Api:
        def generate(self, message, dataset=None):
            return "No."

    assert vg.build_guard("none").respond(vg.HostSubject(Api()), [vg.Query("Hello")]) == ["No."]


def run(folder, model, engine, answers):
    path = write(folder, model, "Set_blank", answers, harmful=[1] * len(answers), condition="blank")
    guard = model.partition("_")[2] or None
    if engine is not None:
        facts = RunFacts(host="vlmevalkit", model=model, guard=guard, fingerprint="ab", engine=engine)
        record(facts_file(path), facts, Session("2026-01-01", 1.0, len(answers)), kept_answers=False)


@pytest.mark.parametrize(
    "plain, none, base",
    [
        (None, "transformers", "big_none"),
        ("vllm", "transformers", "big_none"),
        ("transformers", "transformers", "big"),
        ("", "transformers", "big"),
        ("vllm", None, "big"),
    ],
    ids=["the model alone is not there", "on another engine", "on the same", "on who knows which", "no other base"],
)
def test_the_board_takes_it_for_the_base(tmp_path, plain, none, base):
    if plain is not None:
        run(tmp_path, "big", plain, [YES] * 20)
    if none is not None:
        run(tmp_path, "big_none", none, [YES] * 20)
    run(tmp_path, "big_cmrm", "transformers", [NO] * 20)
    board = leaderboard(tmp_path)
    assert board.bases == {"big_cmrm": base}
    change = board.blocks[0].entry("big_cmrm").differences["attack_success"]
    assert (change.n, change.only_base) == (20, 20)


def test_it_is_a_base_without_facts_too(tmp_path):
    for model, answer in (("big_none", YES), ("big_cmrm", NO)):
        run(tmp_path, model, None, [answer] * 4)
    assert leaderboard(tmp_path).bases == {"big_cmrm": "big_none"}


def test_of_the_same_weights_under_other_names(tmp_path):
    """A registered name of the user's own says nothing of its base; weights and engine do."""
    for model, engine in (("big", "vllm"), ("big_none", "transformers")):
        run(tmp_path, model, engine, [YES] * 4)
    path = write(tmp_path, "mine", "Set_blank", [NO] * 4, harmful=[1] * 4, condition="blank")
    facts = RunFacts(host="vlmevalkit", model="mine", guard="cmrm", fingerprint="ab", engine="transformers")
    record(facts_file(path), facts, Session("2026-01-01", 1.0, 4), kept_answers=False)
    assert leaderboard(tmp_path).bases == {"mine": "big_none"}
