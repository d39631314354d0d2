"""Runs under one name: repetitions of one run are averaged, all others stand apart, with labels that say why."""

import json
from dataclasses import replace

import pytest
from helpers.prediction_rows import NO, YES, write
from helpers.sample_logs import lm_eval_logs, scores

from vlmguard_plugin.calibration.sweep.curve import entry_of
from vlmguard_plugin.judges.registry import build_judge
from vlmguard_plugin.leaderboard import leaderboard
from vlmguard_plugin.leaderboard.judging import judge_outputs
from vlmguard_plugin.runs.facts import RunFacts, Session, facts_file, record

FACTS = RunFacts("vlmevalkit", "0.0.20", "m_cmrm", "org/m", "fp-1", "cmrm", {"alpha": 0.1}, "cmrm-1")
DONE = Session("2026-01-01T00:00:00+00:00", 1.0, 2)


def run(folder, answers=(YES, NO), day=None, dataset="S", model="m_cmrm", **changed):
    path = write(folder, model, dataset, list(answers), run=day or "", harmful=1)
    record(facts_file(path), replace(FACTS, model=model, **changed), DONE, kept_answers=False)


def seeds(board):
    """By model, how many answers there are and how many repetitions."""
    return {
        entry.model: (entry.rates["attack_success"].n, len(entry.seeds.get("attack_success", ())))
        for entry in board.blocks[0].entries
    }


def test_two_settings_in_one_folder_are_two_models(tmp_path):
    run(tmp_path, day="T20260101-000000")
    run(tmp_path, day="T20260102-000000", settings={"alpha": 9.0}, guard_fingerprint="cmrm-2")
    run(tmp_path, day="T20260103-000000", answers=(NO, NO), settings={"alpha": 9.0}, guard_fingerprint="cmrm-2")
    board = leaderboard(tmp_path)
    assert seeds(board) == {"m_cmrm (alpha=0.1)": (2, 0), "m_cmrm (alpha=9.0)": (2, 0)}
    assert board.blocks[0].entry("m_cmrm (alpha=9.0)").rates["attack_success"].k == 0, "of one run the newest counts"


def test_seeds_in_one_folder_and_in_several(tmp_path):
    run(tmp_path / "a", day="T20260101-000000", seed=1)
    run(tmp_path / "a", day="T20260102-000000", seed=2)
    run(tmp_path / "b", seed=3)
    run(tmp_path / "b", dataset="T", seed=3)
    board = leaderboard([tmp_path / "a", tmp_path / "b"])
    assert board.models == ("m_cmrm",) and seeds(board) == {"m_cmrm": (6, 3)}


def test_the_same_answers_under_the_same_seed_count_once(tmp_path):
    run(tmp_path / "a")
    run(tmp_path / "b")
    assert seeds(leaderboard([tmp_path / "a", tmp_path / "b"])) == {"m_cmrm": (2, 0)}


@pytest.mark.parametrize(
    "changed, labels",
    [
        ({"fingerprint": "fp-2"}, {"m_cmrm (weights fp-1)", "m_cmrm (weights fp-2)"}),
        ({"guard_fingerprint": "cmrm-2"}, {"m_cmrm (fit cmrm-1)", "m_cmrm (fit cmrm-2)"}),
        ({"checkpoint": "run2/checkpoint-500"}, {"m_cmrm (org/m)", "m_cmrm (run2/checkpoint-500)"}),
        ({"settings": {"alpha": 0.1, "layers": [1, 2]}}, {"m_cmrm", "m_cmrm (layers=[1, 2])"}),
        ({"generation": {"temperature": 1.0}}, {"m_cmrm", "m_cmrm (temperature=1.0)"}),
    ],
)
def test_labels_say_what_differs(tmp_path, changed, labels):
    run(tmp_path / "a")
    run(tmp_path / "b", **changed)
    assert set(leaderboard([tmp_path / "a", tmp_path / "b"]).models) == labels


def test_runs_that_nobody_wrote_down_are_never_averaged(tmp_path):
    for folder, answers in (("a", [YES, NO]), ("b", [NO, NO]), ("c", [YES, NO])):
        write(tmp_path / folder, "m", "S", answers, harmful=1)
    board = leaderboard([tmp_path / folder for folder in "abc"])
    assert seeds(board) == {f"m ({tmp_path / 'a'}, {tmp_path / 'c'})": (2, 0), f"m ({tmp_path / 'b'})": (2, 0)}


def test_each_guarded_model_has_the_base_of_its_own_weights(tmp_path):
    for folder, weights in (("a", "fp-1"), ("b", "fp-2")):
        run(tmp_path / folder, fingerprint=weights)
        run(tmp_path / folder, model="m", fingerprint=weights, guard=None, settings={}, guard_fingerprint=None)
    board = leaderboard([tmp_path / "a", tmp_path / "b"])
    assert board.bases == {f"m_cmrm (weights fp-{n})": f"m (weights fp-{n})" for n in (1, 2)}
    run(tmp_path / "c")
    run(tmp_path / "c", model="m", fingerprint="fp-3", guard=None, settings={}, guard_fingerprint=None)
    assert leaderboard(tmp_path / "c").bases == {}


def logs(folder, date, right, pretrained="/data/run1/checkpoint-500", arguments="", **config):
    lm_eval_logs(
        folder, "X", f"2026-01-0{date}T00-00-00.0", {"arc": scores(right)},
        model_args=f"pretrained={pretrained}{arguments}", **config,
    )  # fmt: skip


def accuracies(board):
    return {entry.model: (entry.rates["accuracy"].k, entry.rates["accuracy"].n) for entry in board.blocks[0].entries}


def test_checkpoints_of_two_trainings_in_logs_without_our_facts(tmp_path):
    logs(tmp_path / "a", 1, [1, 1])
    logs(tmp_path / "b", 2, [0, 0], "/data/run2/checkpoint-500")
    logs(tmp_path / "c", 3, [1, 0], "/other/run2/checkpoint-500")
    board = leaderboard([tmp_path / folder for folder in "abc"])
    first, *others = sorted(accuracies(board).items())
    assert first == ("run1/checkpoint-500", (2, 2)) and [figures for _, figures in others] in (
        [(0, 2), (1, 2)],
        [(1, 2), (0, 2)],
    )
    assert all(label.startswith("run2/checkpoint-500 (arguments ") for label, _ in others)
    assert "/data" not in json.dumps([origin.facts[0].to_dict() for origin in board.origins()])


def test_settings_of_logs_without_our_facts(tmp_path):
    logs(tmp_path, 1, [1, 1])
    logs(tmp_path, 2, [0, 0], arguments=",load_in_4bit=True,device=cpu")
    logs(tmp_path, 3, [1, 0], arguments=",load_in_4bit=True,device=cuda,hf_token=secret")
    assert accuracies(leaderboard(tmp_path)) == {
        "run1/checkpoint-500": (2, 2),
        "run1/checkpoint-500 (load_in_4bit=True)": (1, 2),
    }


def test_what_changes_answers_is_told_apart_though_it_is_not_shown(tmp_path):
    for folder, arguments in (("a", ",tokenizer=x"), ("b", ",max_new_tokens=8"), ("c", "")):
        logs(tmp_path / folder, 1, [1, 0], arguments=arguments)
    labels = leaderboard([tmp_path / folder for folder in "abc"]).models
    assert len(labels) == 3 and any("max_new_tokens=8" in label for label in labels) and "tokenizer" not in str(labels)


def test_seeds_and_prompting_of_logs_without_our_facts(tmp_path):
    for folder, right in (("a", [1, 1]), ("b", [0, 0])):
        logs(tmp_path / folder, 1, right, torch_seed=ord(folder))
    (entry,) = leaderboard([tmp_path / "a", tmp_path / "b"]).blocks[0].entries
    assert entry.seeds["accuracy"] == (1.0, 0.0)
    for folder, shots in (("c", 0), ("d", 5)):
        logs(tmp_path / folder, 1, [1, 0])
        (path,) = (tmp_path / folder).rglob("results_*")
        path.write_text(json.dumps({**json.loads(path.read_text()), "n-shot": {"arc": shots}}))
    board = leaderboard([tmp_path / "c", tmp_path / "d"])
    assert set(board.models) == {"run1/checkpoint-500", "run1/checkpoint-500 (num_fewshot=5)"}


def test_a_sweep_takes_the_newest_run_of_a_point(tmp_path):
    run(tmp_path, day="T20260101-000000")
    path = write(tmp_path, "m_cmrm", "S", [NO, NO], run="T20260102-000000", harmful=1)
    newer = replace(DONE, started="2026-01-02T00:00:00+00:00")
    record(facts_file(path), replace(FACTS, guard_fingerprint="cmrm-2"), newer, kept_answers=False)
    (block,) = leaderboard(tmp_path).blocks
    assert len(block.entries) == 2 and entry_of(block, "m_cmrm").rates["attack_success"].k == 0
    assert entry_of(block, "m") is None


def test_judging_names_runs_as_the_board_does(tmp_path):
    run(tmp_path, day="T20260101-000000")
    run(tmp_path, day="T20260102-000000", settings={"alpha": 9.0})
    report = judge_outputs(tmp_path, [build_judge("rules")])
    assert {each.model for each in report.judged} == {"m_cmrm (alpha=0.1)", "m_cmrm (alpha=9.0)"}
