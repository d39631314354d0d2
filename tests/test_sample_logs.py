"""Collecting the logs of lmms-eval and lm-evaluation-harness: our tasks and the hosts' own."""

import json

from helpers.prediction_rows import NO, YES
from helpers.sample_logs import lm_eval_logs, scores, verdicts

from vlmguard_plugin.leaderboard import leaderboard, to_markdown
from vlmguard_plugin.runs.facts import RunFacts


def test_the_logs_of_lm_eval_and_lmms_eval(tmp_path):
    lm_eval_logs(tmp_path / "lm", tasks={"vlmguard_set_blank": verdicts([YES, NO, YES])})
    place = tmp_path / "lmms" / "org__X"
    place.mkdir(parents=True)
    config = {"model": "llava_hf", "model_args": "pretrained=org/X,device=cpu"}
    (place / "20260102_030405_results.json").write_text(
        json.dumps(
            {
                "results": {"vlmguard_set_blank": {}},
                "configs": {"vlmguard_set_blank": {}},
                "config": config,
                "lmms_eval_version": "0.7.3",
            }
        )
    )
    lines = [
        json.dumps({**sample, "filtered_resps": sample["filtered_resps"][0]}) for sample in verdicts([YES, NO, ""])
    ]
    (place / "20260102_030405_samples_vlmguard_set_blank.jsonl").write_text("\n".join(lines))
    board = leaderboard([tmp_path / "lm", tmp_path / "lmms"])
    assert board.models == ("X [lm_eval]", "X [lmms_eval]")
    mine, other = board.blocks[0].entries
    assert mine.counts == {"attack_success": 2, "refusal": 1} and mine.origin.host_version == "0.4.13"
    assert other.counts == {"attack_success": 1, "refusal": 1, "unknown": 1}, (
        "a stock model of lmms-eval that fails leaves an empty answer"
    )


def test_tasks_of_the_hosts_own(tmp_path):
    tasks = {
        "arc": scores([1.0, 0.0, True]),
        "gsm": [*scores([1, 0], "exact_match", filter="strict"), *scores([1, 1], "exact_match", filter="flexible")],
        "bleu": scores([0.31, 0.2], "bleu"),
    }
    lm_eval_logs(tmp_path, tasks=tasks)
    board = leaderboard(tmp_path)
    counts = {block.dataset: (block.kind, block.entries[0].counts) for block in board.blocks}
    assert counts == {"arc": ("task", {"right": 2, "wrong": 1}), "gsm": ("task", {"right": 1, "wrong": 1})}
    (left_out,) = board.not_scored
    assert "bleu has no score of each answer" in left_out.reason and left_out.metrics == {"bleu,none": 0.255}
    assert board.overall[0].rates["accuracy"].n == 5 and "left out of all rates: X on bleu" in to_markdown(board)


def test_scores_between_count_where_their_mean_is_the_hosts_own_figure(tmp_path):
    anls = scores([0.5, 1.0, 0.0, 0.75], "anls")
    pope = scores([{"score": 1.0, "prediction": "yes"}, {"score": 0.0, "prediction": "no"}], "pope_accuracy")
    f1 = scores([1, 1, 0], "pope_f1_score")
    lm_eval_logs(
        tmp_path,
        tasks={"docvqa": anls, "pope": pope, "other": f1},
        figures={"docvqa": {"anls,none": 0.5625}, "pope": {"pope_accuracy,none": 0.5}, "other": {"f1,none": 0.8}},
    )
    board = leaderboard(tmp_path)
    rates = {block.dataset: block.entries[0].rates["accuracy"] for block in board.blocks}
    assert {name: (rate.value, rate.n) for name, rate in rates.items()} == {"docvqa": (0.5625, 4), "pope": (0.5, 2)}
    assert board.blocks[0].entries[0].counts == {"partly": 2, "right": 1, "wrong": 1}
    (left_out,) = board.not_scored
    assert (left_out.dataset, left_out.metrics) == ("other", {"f1,none": 0.8}), "F1 is no mean of right and wrong"


def test_a_group_of_tasks_is_one_data_set_with_categories(tmp_path):
    place = lm_eval_logs(tmp_path, tasks={"mini_a": scores([1, 0]), "mini_b": scores([1, 1]), "other": scores([0])})
    (path,) = place.glob("results_*")
    content = json.loads(path.read_text())
    content["group_subtasks"] = {"mini": ["mini_x"], "mini_x": ["mini_a", "mini_b"], "other": []}
    path.write_text(json.dumps(content))
    board = leaderboard(tmp_path)
    assert {block.dataset: block.entries[0].rates["accuracy"].k for block in board.blocks} == {"mini": 3, "other": 0}
    mini = board.blocks[0].entries[0]
    assert {name: one.n for name, one in mini.by_category["accuracy"].items()} == {"mini_a": 2, "mini_b": 2}


def test_runs_without_sample_logs_or_with_torn_ones_are_named(tmp_path):
    lm_eval_logs(tmp_path, "A", tasks={"arc": scores([1])}, samples=False)
    place = lm_eval_logs(tmp_path, "B", tasks={"arc": scores([1, 0])})
    (log,) = place.glob("samples_*")
    log.write_text(log.read_text()[:-20])
    (lm_eval_logs(tmp_path, "C", tasks={"arc": scores([1])}) / "results_2026-01-03T00-00-00.0.json").write_text("{")
    board = leaderboard(tmp_path)
    reasons = " / ".join(skip.reason for skip in board.skipped)
    assert board.models == ("C",)
    assert (
        "--log_samples" in reasons
        and "line 2 of samples_arc" in reasons
        and "can't be read as results of lm_eval" in reasons
    )


def test_the_newest_of_several_runs_counts_and_a_limited_one_says_so(tmp_path):
    lm_eval_logs(tmp_path, date="2026-01-02T00-00-00.0", tasks={"arc": scores([0, 0])})
    lm_eval_logs(tmp_path, date="2026-01-03T00-00-00.0", tasks={"arc": scores([1, 1, 1])}, limit=3.0)
    (block,) = leaderboard(tmp_path).blocks
    (entry,) = block.entries
    assert entry.rates["accuracy"].k == 3 and "--limit 3" in entry.origin.problems[0]


def test_our_models_are_named_and_compared_by_what_they_tell(tmp_path):
    told = RunFacts(
        host="lm_eval",
        model="vlmguard",
        checkpoint="org/X",
        guard="cmrm",
        settings={"alpha": 0.5},
        fingerprint="llava-0123",
    ).to_dict()
    session = {"started": "2026-01-01T00:00:00+00:00", "seconds": 6.0, "answers": 3, "tokens": 30}
    lm_eval_logs(
        tmp_path,
        "logs",
        tasks={"vlmguard_set_blank": verdicts([NO, NO, NO])},
        told={**told, "tasks": {"vlmguard_set_blank": session}},
    )
    lm_eval_logs(tmp_path, "X", tasks={"vlmguard_set_blank": verdicts([YES, YES, NO])})
    board = leaderboard(tmp_path)
    assert board.bases == {"X_cmrm": "X"}
    origin = board.blocks[0].entry("X_cmrm").origin
    assert (origin.seconds, origin.tokens, origin.facts[0].settings) == (2.0, 10.0, {"alpha": 0.5})
    assert board.blocks[0].entry("X").origin.seconds is None


def test_choices_scored_by_our_own_tasks_and_what_is_no_set_of_them(tmp_path):
    def quiz(samples):
        for sample in samples:
            sample["verdict"] |= {"harmful": None, "dataset": "MCQ_mine", "label": "right"}
        return samples

    twice, torn = quiz(verdicts([YES, NO])), quiz(verdicts([YES, NO]))
    twice[1]["verdict"] |= {key: twice[0]["verdict"][key] for key in ("index", "question")}
    del torn[1]["verdict"]["label"]
    lm_eval_logs(tmp_path, "whole", tasks={"vlmguard_mcq_mine": quiz(verdicts([YES, NO]))})
    lm_eval_logs(tmp_path, "twice", tasks={"vlmguard_mcq_mine": twice})
    lm_eval_logs(tmp_path, "torn", tasks={"vlmguard_mcq_mine": torn})
    board = leaderboard(tmp_path)
    (block,) = board.blocks
    assert (block.kind, board.models, block.entries[0].counts) == ("mcq", ("whole",), {"right": 2})
    reasons = sorted(skip.reason for skip in board.skipped)
    assert "a sample can't be read (KeyError: 'label')" in reasons[0] and "two rows have the same index" in reasons[1]


def test_answers_scored_by_different_metrics_are_not_compared(tmp_path):
    samples = [
        {**sample, "acc_norm": norm, "metrics": ["acc", "acc_norm"]}
        for sample, norm in zip(scores([1, 0, 1, 1]), [0, 0, 1, 1])
    ]
    lm_eval_logs(tmp_path, "llava", tasks={"t": samples})
    other = {"t": {"acc,none": 0.9, "acc_norm,none": 0.5}}  # so that acc is no mean of the answers' scores
    lm_eval_logs(tmp_path, "llava_cmrm", tasks={"t": samples}, figures=other)
    board = leaderboard(tmp_path)
    base, guarded = board.blocks[0].entries
    assert (base.origin.scoring, guarded.origin.scoring) == ("the host's acc", "the host's acc_norm")
    assert not guarded.differences and all("in another way" in each.origin.problems[0] for each in (base, guarded))
    assert not board.overall[1].differences


def test_the_hosts_figure_of_a_group_is_said_where_it_is_another(tmp_path):
    place = lm_eval_logs(tmp_path, tasks={"g_a": scores([1, 1]), "g_b": scores([0] * 8)})
    (path,) = place.glob("results*.json")
    content = json.loads(path.read_text())
    for figure, told in ((0.5, True), (0.2, False)):
        content |= {"group_subtasks": {"g": ["g_a", "g_b"]}}
        content["results"]["g"] = {"acc,none": figure}
        path.write_text(json.dumps(content))
        entry = leaderboard(tmp_path).blocks[0].entries[0]
        assert entry.rates["accuracy"].value == 0.2
        assert [problem for problem in entry.origin.problems if "of the group is 0.5" in problem] or not told
        assert bool(entry.origin.problems) == told
