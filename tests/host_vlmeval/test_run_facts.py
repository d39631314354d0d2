"""What is written down of VLMEvalKit's runs, whoever answers: seconds, answers, tokens, and how it ended."""

import json
import pickle
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.vlmeval_command import answered, host_place, host_run
from helpers.vlmeval_form import CLONE, VERSION, of_last_run, status_of

import vlmguard_plugin as vg
from vlmguard_plugin.hosts.vlmeval.host_facts import facts_of_host_model
from vlmguard_plugin.runs.facts import RunFacts, facts_file, read_facts

pytestmark = pytest.mark.host

ROWS = 5
MODELS = ["llava", "llava_vlmguard", "Conversing", "Conversing_cmrm"]


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """Two runs over one work directory, the second with nothing left to answer; then others in other places."""
    place = tmp_path_factory.mktemp("facts")
    environment = {**host_place(place, ROWS, "tsv"), "VLMGUARD_DEMO_VLM": str(place / "nowhere")}
    every = ["--data", "Requests_mine_blank", "Talk_tiny", "--model", *MODELS, "--work-dir", place / "out"]
    again = ["--data", "Requests_mine_blank", "--model", "llava_vlmguard", "--reuse", "--work-dir", place / "out"]
    bare = {"model": "Conversing", "guard": "vlm_guard+self_reminder", "class": "GuardedHost"}
    (place / "bare.json").write_text(
        json.dumps(
            {
                "model": {"bare": bare},
                "data": {"Requests_mine_blank": {"class": "SafetyRequests", "dataset": "Requests_mine_blank"}},
            }
        )
    )
    blocked = place / "blocked" / "llava" / "llava_Requests_mine_blank_vlmguard.json"
    (blocked / "in the way").mkdir(parents=True)
    failing = ["--data", "FilmRows_tiny", "--model", "llava", "Conversing", "--work-dir", place / "out"]
    done = host_run(
        environment, *every, "--then", *again, "--then", *failing,
        "--then", "--config", place / "bare.json", "--work-dir", place / "out",
        "--then", "--data", "Requests_mine_blank", "--model", "llava", "--work-dir", place / "blocked",
        "--then", "--data", "Requests_mine_blank", "--model", "demo_vlm_tbop", "--work-dir", place / "out",
    )  # fmt: skip
    return place, environment, done


def facts(place, model, dataset="Requests_mine_blank", out="out"):
    return read_facts(of_last_run(place / out / model, facts_file(Path(f"{model}_{dataset}.json")).name))


@pytest.mark.parametrize("model", MODELS)
def test_what_a_run_was_and_cost(host, model):
    place, _, done = host
    for dataset, answers in (("Requests_mine_blank", ROWS), ("Talk_tiny", 9)):
        (run,) = facts(place, model, dataset)
        assert (run.host, run.host_version, run.model) == ("vlmevalkit", VERSION, model), done.stderr[-2000:]
        session = run.sessions[0]
        assert (session.status, session.error, session.processes, session.answers) == ("complete", None, 1, answers)
        assert 0 < session.seconds < 60
        if model.startswith("llava"):  # a random model writes padding now and then, which doesn't count
            assert 3 * answers < session.tokens <= 4 * answers, "four each, of the answers alone"
        else:
            assert session.tokens is None
    assert run.guard == {"llava_vlmguard": "vlm_guard", "Conversing_cmrm": "cmrm"}.get(model)
    assert run.device == "cpu" and run.dtype == "float32" and run.versions["transformers"]
    assert run.generation == {"max_new_tokens": 4, "do_sample": False}
    if run.guard:
        assert (
            run.guard_fingerprint.startswith(run.guard + "-")
            and run.settings["layers"]
            and run.fingerprint.startswith("llava-")
        )
    assert run.checkpoint == ("llava-hf/llava-1.5-7b-hf" if model.startswith("llava") else "Conversing")


def test_a_run_that_finds_all_answers_spends_nothing(host):
    place, _, _ = host
    (run,) = facts(place, "llava_vlmguard")
    assert [(session.status, session.answers) for session in run.sessions] == [("complete", ROWS), ("complete", 0)]
    assert run.guard == "vlm_guard" and run.sessions[1].seconds == 0


@pytest.mark.parametrize(
    "model, gated", [("llava_vlmguard", True), ("bare", True), ("llava", False), ("Conversing_cmrm", False)]
)
def test_how_often_the_gate_fired_is_counted_by_mark(host, model, gated):
    """By our own model, which answers ahead, and by the host's, which is asked row by row."""
    place, _, _ = host
    (run,) = facts(place, model)
    gates = run.sessions[0].gates
    if not gated:
        assert gates is None
        return
    assert {kind: decided for kind, (_, decided) in gates.items()} == {"harmful": ROWS}
    if model == "llava_vlmguard":
        talk = facts(place, model, "Talk_tiny")[0].sessions[0].gates
        assert {kind: decided for kind, (_, decided) in talk.items()} == {"unmarked": 9}
        assert run.sessions[1].gates is None, "nothing was left to decide"


def test_a_failed_run_says_why_and_the_error_goes_on(host):
    place, _, _ = host
    (guarded_run,) = facts(place, "llava", "FilmRows_tiny")
    assert guarded_run.sessions[0].status == "failed" and "FilmRows_tiny shows a video" in guarded_run.sessions[0].error
    assert guarded_run.fingerprint and guarded_run.sessions[0].answers == 0
    status = status_of(place / "out" / "llava", "FilmRows_tiny")
    assert "FilmRows_tiny shows a video" in status["error_message"]
    (own_run,) = facts(place, "Conversing", "FilmRows_tiny")
    assert own_run.sessions[0].status == "failed" and own_run.sessions[0].error.startswith("KeyError")


def test_a_model_that_is_handed_over_is_watched_too(host):
    """By `--config`, where the host builds the model beforehand."""
    place, _, _ = host
    (run,) = facts(place, "bare")
    assert (run.guard, run.sessions[0].answers, run.sessions[0].status) == (
        "vlm_guard+self_reminder",
        ROWS,
        "complete",
    )


@pytest.mark.skipif(CLONE is not None, reason="the clone's head names its run folders by the time")
def test_a_record_that_can_not_be_kept_costs_one_line(host):
    place, _, done = host
    assert len(answered(place / "blocked", "llava", "Requests_mine_blank")) == ROWS
    lines = [line for line in done.stderr.splitlines() if "could not be written down" in line]
    assert len(lines) == 1 and lines[0].startswith(
        "vlmguard: what llava spent on Requests_mine_blank could not be written down (IsADirectoryError"
    )


def test_a_model_that_can_not_be_loaded_is_a_failed_run(host):
    place, _, done = host
    (run,) = facts(place, "demo_vlm_tbop")
    assert run.sessions[0].status == "failed" and "nowhere" in run.sessions[0].error, done.stderr[-2000:]
    assert (run.model, run.guard, run.sessions[0].answers) == ("demo_vlm_tbop", None, 0)


def test_a_host_of_another_form_is_left_alone():
    """A version whose job takes other arguments: registration fails, which costs one line and no run."""
    from vlmguard_plugin.hosts.vlmeval.recording import register_inference

    def infer_data_job(model, work_dir, model_name, benchmark):
        return model

    host = SimpleNamespace(__name__="vlmeval.inference", infer_data_job=infer_data_job, supported_VLM={})
    with pytest.raises(TypeError, match="vlmeval.inference.infer_data_job has no dataset, infer_data"):
        register_inference(host)
    assert host.infer_data_job is infer_data_job


def test_empty_answers_are_counted(tmp_path):
    """A workbook can't tell them from answers that its writer has left out."""
    from vlmguard_plugin.hosts.vlmeval.recording import DatasetRun, ProcessShare, sum_of

    run = DatasetRun(str(tmp_path), "m", "S")
    said = iter(["", "A cat.", "", " "])
    ask = run.timed(lambda: next(said))
    for _ in range(4):
        ask()
    assert (run.share(None).answers, run.share(None).empty) == (4, 2)
    assert sum_of([run.share(None), ProcessShare(1.0, 3, None, empty=1)]).empty == 3
    assert sum_of([run.share(None), ProcessShare(None, None, None)]).empty is None


def test_answers_that_the_host_has_moved_keep_their_facts(tmp_path):
    """Its head gives each run a folder of its own, and copies what is answered so far, without our facts of it."""
    from vlmguard_plugin.hosts.vlmeval.recording import DatasetRun, ProcessShare

    before, now = tmp_path / "T20260101-000000", tmp_path / "T20260102-000000"
    first = DatasetRun(str(before), "m", "S")
    first.begin()
    asked = RunFacts(host="vlmevalkit", model="m", guard="cmrm", settings={"alpha": 1.0})
    first.write(asked, "running", ProcessShare(None, None, None))
    now.mkdir()
    (now / "01_S.pkl").write_bytes(pickle.dumps({1: "an answer"}))
    (now / "status.json").write_text(json.dumps({"datasets": {"S": {"source_run": before.name}}}))
    again = DatasetRun(str(now), "m", "S")
    again.begin()
    with pytest.raises(ValueError, match="holds answers of m to S with another settings"):
        again.check_kept(replace(asked, settings={"alpha": 0.5}).identity)
    again.check_kept(asked.identity)
    again.write(asked, "complete", ProcessShare(1.0, 2, None))
    (run,) = read_facts(again.path)
    assert [session.status for session in run.sessions] == ["running", "complete"]


def test_the_first_process_to_know_its_model_names_the_run(tmp_path, monkeypatch):
    """The one that records may still be loading when another has answered and ends."""
    from vlmguard_plugin.hosts.vlmeval.recording import DatasetRun

    class Model:
        def run_facts(self, name):
            return RunFacts(host="vlmevalkit", model=name, guard="cmrm", settings={"alpha": 1.0})

    monkeypatch.setenv("WORLD_SIZE", "2")
    processes = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        processes.append(DatasetRun(str(tmp_path), "m", "S"))
        processes[rank].begin()
    recording, other = processes
    (unnamed,) = read_facts(recording.path)
    assert unnamed.guard is None
    with ExitStack() as stack:
        other.watch(Model(), stack)
        (named,) = read_facts(recording.path)
        assert (named.guard, named.sessions) == ("cmrm", unnamed.sessions)
        recording.watch(Model(), stack)
        (run,) = read_facts(recording.path)
        assert [session.started for session in run.sessions] == [recording.started]
        monkeypatch.setattr(Model, "run_facts", lambda self, name: replace(named, settings={"alpha": 2.0}))
        other.watch(Model(), stack)
    assert read_facts(recording.path) == (run,), "a run that has a name keeps it"
    assert not recording.broken and not other.broken


def test_a_guard_that_is_on_every_vllm_engine_is_no_unguarded_model(subject, anchors, tmp_path, monkeypatch):
    guard = vg.build_guard("vlm_guard", layers=[1]).fit(subject, anchors)
    guard.save(tmp_path)
    for folder, engine, expected in (
        (None, {"use_vllm": True}, None),
        (str(tmp_path), {}, None),  # it runs in transformers
        (str(tmp_path), {"use_vllm": True}, guard.fingerprint),
    ):
        monkeypatch.setenv("VLMGUARD_VLLM_GUARD", folder or "")
        facts = facts_of_host_model(SimpleNamespace(model_path="a/b", **engine), "name")
        assert (facts.guard_fingerprint, facts.guard) == (expected, expected and "vlm_guard")
