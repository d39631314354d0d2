"""Through VLMEvalKit's own, unchanged command, in processes of their own."""

import json

import pandas as pd
import pytest
from helpers.processes import forked_python, python
from helpers.tiny_models import tiny_llava, tiny_processor
from helpers.vlmeval_command import predictions
from helpers.vlmeval_form import WORDS

from vlmguard_plugin.leaderboard import leaderboard

pytestmark = pytest.mark.host

SETS = {"Requests_mine_text": 10, "Requests_mine_blank": 10, "MCQ_tiny": 4}
MODELS = ["llava", "llava_vlmguard", "llava_cmrm", "llava_cmrm_sample"]


@pytest.fixture(scope="module")
def run_of_all(place):
    place, environment = place
    command = [
        *WORDS,
        "--data",
        *SETS,
        "--model",
        *MODELS,
    ]
    done = python(*command, "--work-dir", place / "out", environment=environment)
    return place / "out", done


def test_the_unchanged_command(run_of_all):
    out, done = run_of_all
    for model in MODELS:
        for dataset, rows in SETS.items():
            assert len(predictions(out, model, dataset)) == rows
            assert (out / model / f"{model}_{dataset}_score.csv").is_file()
        status = json.loads((out / model / "status.json").read_text())
        outcomes = {
            dataset: (entry["status"], entry.get("error_message")) for dataset, entry in status["datasets"].items()
        }
        assert outcomes == {dataset: ("done", None) for dataset in SETS}, done.stdout[-2000:]
    scores = pd.read_csv(out / "llava" / "llava_Requests_mine_blank_score.csv")
    assert scores["measure"].tolist() == ["attack_success", "over_refusal", "degeneration"]
    assert scores["n"].tolist() == [5, 5, 10]


def test_text_alone_is_left_alone_by_cmrm(run_of_all):
    out, _ = run_of_all
    unguarded = predictions(out, "llava", "Requests_mine_text")["prediction"].tolist()
    for model in ("llava_cmrm", "llava_cmrm_sample"):
        assert predictions(out, model, "Requests_mine_text")["prediction"].tolist() == unguarded
    pictured = predictions(out, "llava", "Requests_mine_blank")["prediction"].tolist()
    assert predictions(out, "llava_cmrm", "Requests_mine_blank")["prediction"].tolist() != pictured


def test_answers_are_those_of_the_library(run_of_all, place):
    import vlmguard_plugin as vg

    out, _ = run_of_all
    place, environment = place
    subject = vg.HuggingFaceSubject(tiny_llava(), tiny_processor(), batch_size=1)
    guard = vg.build_guard("vlm_guard").fit(subject, vg.load_anchors(environment["VLMGUARD_ANCHORS"]))
    answered = predictions(out, "llava_vlmguard", "Requests_mine_text")
    expected = guard.respond(subject, [vg.Query(text) for text in answered["question"]], max_new_tokens=4)
    readable = [(wanted, given) for wanted, given in zip(expected, answered["prediction"]) if wanted.isprintable()]
    assert len(readable) >= 3 and all(wanted == str(given).strip() for wanted, given in readable)


def test_a_guard_is_fitted_once(run_of_all, place):
    out, _ = run_of_all
    place, environment = place
    guards = sorted(path.name.split("-")[0] for path in (place / "cache" / "guards").iterdir() if path.is_dir())
    assert guards == ["cmrm", "cmrm_sample", "vlm_guard"]
    again = forked_python(
        *WORDS,
        "--data",
        "Requests_mine_text",
        "--model",
        "llava_cmrm",
        "--work-dir",
        place / "again",
        environment=environment,
    )
    assert "fit cmrm" not in again.stderr
    assert "fit cmrm" in run_of_all[1].stderr


def test_the_leaderboard_reads_it(run_of_all):
    board = leaderboard(run_of_all[0])
    assert set(board.models) == set(MODELS) and set(board.bases) == set(MODELS[1:])
    assert {block.dataset for block in board.blocks} == {"Requests_mine_text", "Requests_mine_blank", "MCQ_tiny"}
