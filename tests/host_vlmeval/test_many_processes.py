"""VLMEvalKit in several processes, killed in mid-run and taken up again: every row once, and as one process answers."""

import pickle
from pathlib import Path

import pytest
from helpers.vlmeval_command import answered, host_by_torchrun, host_place, host_run, predictions
from helpers.vlmeval_form import CLONE, of_last_run, status_of

from vlmguard_plugin.runs.facts import facts_file, read_facts

pytestmark = pytest.mark.host

ROWS = 25  # an odd number; the host keeps answers in tens
MODEL, SET = "llava_vlmguard", "Requests_mine_blank"
TORN = {"VLMGUARD_BATCH_SIZE": "2"}


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """The place, its environment, the rows as one process answers them, and how to run."""
    place = tmp_path_factory.mktemp("many")
    environment = host_place(place, ROWS, "tsv")

    def run(out, *options, processes=1, torchrun=False, **variables):
        arguments = ["--data", SET, "--model", MODEL, "--work-dir", place / out, *options]
        if torchrun:
            return host_by_torchrun({**environment, **variables}, *arguments)
        return host_run({**environment, **variables}, *arguments, processes=processes)

    run("one")
    return place, run, answered(place / "one", MODEL, SET)


def sessions(place, out):
    (run,) = read_facts(of_last_run(place / out / MODEL, facts_file(Path(f"{MODEL}_{SET}.tsv")).name))
    return run.sessions


def test_one_process_answers_every_row_once(host):
    place, _, alone = host
    assert len(alone) == ROWS
    (session,) = sessions(place, "one")
    assert (session.processes, session.answers, session.status) == (1, ROWS, "complete")
    assert len(set(map(str, alone.values()))) > 3, "rows must differ for a mix-up to show"


def test_two_processes_fit_once_and_answer_the_same(host, tmp_path):
    place, run, alone = host
    done = run("two", torchrun=True, VLMGUARD_CACHE=str(tmp_path / "cache"))
    assert answered(place / "two", MODEL, SET) == alone, done.stderr[-3000:]
    assert len([path for path in (tmp_path / "cache" / "guards").iterdir() if path.is_dir()]) == 1
    bars = [
        line
        for line in done.stderr.replace("\r", "\n").splitlines()
        if "fit vlm_guard: harmful anchors" in line and "0/4" in line
    ]
    assert len(bars) == 1, "one process fits, the other waits and reads"
    (session,) = sessions(place, "two")
    (single,) = sessions(place, "one")
    assert (session.processes, session.answers, session.tokens, session.status) == (2, ROWS, single.tokens, "complete")
    assert 0 < session.seconds and not list((place / "two" / MODEL).glob(".*of2.json"))


def test_killed_and_taken_up_again(host):
    """SIGKILL in the sixth batch of three: ten rows are on disk, and the record says that the run is under way.

    Nor does a run of another kind go on with them, also where the host has moved them into a folder of its own.
    """
    place, run, alone = host
    assert run("killed", DIE_AT="6").returncode == -9
    (session,) = sessions(place, "killed")
    assert (session.status, session.answers) == ("running", None)
    other = run("killed", "--reuse", VLMGUARD_MAX_NEW_TOKENS="3")
    assert f"holds answers of {MODEL} to {SET} with another generation" in other.stdout + other.stderr
    done = run("killed", "--reuse")
    assert answered(place / "killed", MODEL, SET) == alone, done.stderr[-3000:]
    dead, refused, rest = sessions(place, "killed")
    assert (dead.status, refused.status, refused.answers) == ("running", "failed", 0)
    assert (rest.status, rest.answers) == ("complete", ROWS - 10)


def test_one_of_two_processes_killed_and_taken_up_again(host):
    """Its launcher ends the other; what both had on disk is kept, and the rest alone is asked again."""
    place, run, alone = host
    assert run("torn", processes=2, DIE_AT="6", DIE_RANK="1", **TORN).returncode != 0
    (session,) = sessions(place, "torn")
    assert session.processes == 2
    assert session.status in ("running", "failed"), (
        "failed: the other was done, and heard at the host's barrier that this one is gone"
    )
    done = run("torn", "--reuse", processes=2, **TORN)
    assert answered(place / "torn", MODEL, SET) == alone, done.stderr[-3000:]
    rest = sessions(place, "torn")[-1]
    assert (rest.status, rest.processes) == ("complete", 2) and rest.answers <= ROWS - 10, (
        "the host keeps answers in tens"
    )
    status = status_of(place / "torn" / MODEL, SET)
    assert status["status"] == "done"


@pytest.mark.parametrize("processes", [1, 2])
def test_what_was_left_half_written_is_written_again(host, processes):
    """A workbook and a cached picture that a killed process has cut: the host itself would end at them for ever."""
    place, run, alone = host
    out, as_workbook = f"half {processes}", {"PRED_FORMAT": "xlsx"}
    run(out, **as_workbook)
    file = place / out / MODEL / f"{MODEL}_{SET}.xlsx"
    whole = predictions(place / out, MODEL, SET)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    picture = next((place / "data" / "images").rglob("*.png"))
    content = picture.read_bytes()
    picture.write_bytes(content[: len(content) // 2])
    done = run(out, "--reuse", processes=processes, **as_workbook)
    assert done.returncode == 0, done.stderr[-3000:]
    assert picture.read_bytes() == content
    again = predictions(place / out, MODEL, SET)
    assert list(again["prediction"]) == list(whole["prediction"]) and len(again) == ROWS
    said = [line for line in done.stderr.splitlines() if line.startswith("vlmguard:") and "answered again" in line]
    assert len(said) == 1 and f"{file.name}.damaged" in said[0]


@pytest.mark.parametrize("name, cut", [(f"01_{SET}.pkl", 0), (f"{MODEL}_{SET}_PREV.pkl", 7)])
def test_answers_so_far_that_were_left_half_written_are_set_aside(host, name, cut):
    place, run, alone = host
    out = place / f"part {cut}" / MODEL / ("T20200101-000000" if CLONE else "")
    out.mkdir(parents=True)
    (out / name).write_bytes(pickle.dumps({1: "an answer"})[:cut])
    done = run(f"part {cut}", "--reuse")
    assert answered(place / f"part {cut}", MODEL, SET) == alone, done.stderr[-3000:]
    if CLONE and "PREV" in name:  # its head takes none from another run
        return
    assert list((place / f"part {cut}" / MODEL).rglob(f"{name}.damaged")) and "was left half written" in done.stderr
