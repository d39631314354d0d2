"""Attacks as conditions through VLMEvalKit's own command: ours, a guard on a model of the host's, and that alone."""

import json
import os

import pytest
from helpers.judge_endpoint import Server
from helpers.places import TESTS
from helpers.processes import forked_python as python
from helpers.vlmeval_command import predictions, ten_requests
from helpers.vlmeval_form import START, status_of

from vlmguard_plugin.benchmarks import prepare
from vlmguard_plugin.guards.moderated import REFUSAL
from vlmguard_plugin.leaderboard import leaderboard

pytestmark = pytest.mark.host

SETS = ("Requests_mine_blank", "Requests_mine_blank+early1", "Requests_mine_template+typography")
RUN = """
import vlmeval.config
from functools import partial
from helpers.host_models import TransformersVLM
vlmeval.config.supported_VLM["Tiny-LLaVA"] = partial(TransformersVLM, architecture="llava")
"""


@pytest.fixture(scope="module")
def ran(place):
    """The folder of one run of the host's command, and the requests that the guard model was asked about."""
    place, environment = place
    mine = ten_requests(place / "mine.csv")
    for name in SETS:
        prepare(name, mine, out_dir=place / "data", **({"size": 28} if "blank" in name else {}))
    server = Server(lambda body, number: {"results": [{"flagged": "steal" in body["input"].lower()}]})
    (place / "attacked.py").write_text(RUN + START)
    models = {
        "plain": {"class": "GuardedVLM", "model": "llava"},
        "plain_moderated": {
            "class": "GuardedVLM", "model": "llava", "guard": "moderated", "guard_model": "filter",
            "base_url": server.url, "looks_at": "input",
        },
        "Tiny-LLaVA_self_reminder": {"class": "GuardedHost", "model": "Tiny-LLaVA", "guard": "self_reminder"},
    }  # fmt: skip
    data = {name: {"class": "SafetyRequests", "dataset": name} for name in SETS}
    (place / "attacked.json").write_text(json.dumps({"model": models, "data": data}))
    paths = {"PYTHONPATH": os.pathsep.join((str(TESTS), os.environ.get("PYTHONPATH", "")))}
    command = ("--config", place / "attacked.json", "--work-dir", place / "attacked")
    python(place / "attacked.py", *command, environment={**environment, **paths}, cwd=place)
    stock = ("--model", "Tiny-LLaVA", "--data", SETS[1], "--work-dir", place / "attacked")
    python(place / "attacked.py", *stock, environment={**environment, **paths}, cwd=place)
    server.stop()
    return place / "attacked", server.requests


def said(out, model, dataset):
    return predictions(out, model, dataset)["prediction"].astype(str).tolist()


def test_features_are_of_the_layer_that_the_name_says(ran):
    out, _ = ran
    for model in ("plain", "Tiny-LLaVA_self_reminder"):
        as_it_is, early = (said(out, model, name) for name in SETS[:2])
        assert len(early) == 10 and early != as_it_is, model


def test_a_model_of_the_hosts_own_is_refused(ran):
    out, _ = ran
    status = status_of(out / "Tiny-LLaVA", SETS[1])
    assert "asks for features of an earlier layer" in status["error_message"]


def test_a_filter_that_reads_words_is_blind_to_drawn_ones(ran):
    out, asked = ran
    harmful = [index for index, text in enumerate(said(out, "plain_moderated", SETS[0])) if text == REFUSAL]
    assert harmful and "steal" in predictions(out, "plain_moderated", SETS[0])["question"][harmful[0]].lower()
    assert REFUSAL not in said(out, "plain_moderated", SETS[2])
    assert len(asked) == 30


def test_the_board_compares_the_conditions_and_counts_the_checks(ran):
    out, _ = ran
    board = leaderboard(out)
    (conditions,) = board.across
    shown = {(row.model, row.condition) for row in conditions.rows}
    assert ("plain", "blank+early1") in shown and ("plain_moderated", "template+typography") in shown
    moderated = next(overall for overall in board.overall if overall.model == "plain_moderated")
    assert moderated.checks["calls"] == 30 and moderated.checks["tokens"] is None
