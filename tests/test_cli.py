"""The console command, as a user types it."""

import json

import pytest
from click.testing import CliRunner
from helpers.tiny_models import tiny_llava, tiny_processor

import vlmguard_plugin as vg
from vlmguard_plugin.cli.main import main


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setenv("LMUData", str(tmp_path))
    monkeypatch.setenv("VLMGUARD_DEVICE", "cpu")
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_llava().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


def test_list(run):
    shown = json.loads(run("list", "--json").output)
    assert {"vlm_guard", "cmrm", "cmrm_sample"} <= set(shown["guards"])
    assert {"llava", "demo_vlm", "demo_vlm_control"} <= set(shown["models"]) and "FigStep_Tiny" in shown["datasets"]
    assert shown["guards"]["cmrm_sample"]["settings"]["alpha"] == 0.5
    text = run("list").output
    assert "vlm_guard" in text and "FigStep" in text


@pytest.mark.parametrize(
    "command", [[], ["list"], ["fit"], ["data"], ["data", "prepare"], ["inspect"], ["leaderboard"], ["demo"]]
)
def test_help_teaches(run, command):
    done = run(*command, "--help")
    assert done.exit_code == 0 and len(done.output) > 200


def test_fit(run, checkpoint, anchors, tmp_path):
    csv = tmp_path / "anchors.csv"
    csv.write_text("harmful,harmless\n" + "".join(f"{pair.harmful},{pair.harmless}\n" for pair in anchors.pairs))
    done = run(
        "fit",
        "vlm_guard",
        "--model",
        checkpoint,
        "--anchors",
        csv,
        "--set",
        "layers=[1]",
        "--set",
        "gate=midpoint",
        "--out",
        tmp_path / "g",
        "--json",
    )
    assert done.exit_code == 0, done.output
    subject = vg.HuggingFaceSubject(tiny_llava(), tiny_processor())
    guard = vg.load_guard(tmp_path / "g", subject)
    assert guard.settings.layers == (1,) and guard.settings.gate == "midpoint"
    assert guard.facts["anchors"]["sha256"] == anchors.sha256


def test_inspect(run, checkpoint, anchors, tmp_path):
    csv = tmp_path / "anchors.csv"
    csv.write_text("harmful,harmless\n" + "".join(f"{pair.harmful},{pair.harmless}\n" for pair in anchors.pairs))
    both = ["--model", checkpoint, "--anchors", csv, "--out", tmp_path / "g"]
    done = run("fit", "tbop+self_reminder", *both, "--set", 'tbop={"rank": 2, "layers": [1]}')
    assert done.exit_code == 0 and "tbop+self_reminder" in done.output, done.output
    done = run("inspect", tmp_path / "g", "--plot", tmp_path / "guard.svg")
    assert done.exit_code == 0 and "share taken away" in done.output and (tmp_path / "guard.svg").stat().st_size > 1000
    assert json.loads(run("inspect", tmp_path / "g", "--json").output)["parts"][0]["settings"]["rank"] == 2
    done = run(
        "inspect",
        "--shift",
        checkpoint,
        "--anchors",
        csv,
        "--pairs",
        4,
        "--layers",
        "1,2",
        "--plot",
        tmp_path / "shift",
    )
    assert done.exit_code == 0 and "Harmful told from harmless" in done.output, done.output
    assert (tmp_path / "shift.png").is_file() and (tmp_path / "shift.svg").is_file()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["inspect"], "give either a guard's folder or --shift MODEL"),
        (["inspect", "none"], "none holds no guard.json"),
        (["inspect", "--shift", "x", "--plot", "x.gif"], "ends in '.gif'"),
        (["inspect", "--shift", "./none", "--layers", "a"], "is not a list of layers"),
        (["fit", "nothing", "--model", "x", "--out", "g"], "there is no guard 'nothing'"),
        (["fit", "cmrm", "--model", "x", "--out", "g", "--set", "alpha"], "'alpha' is not NAME=VALUE"),
        (["fit", "cmrm", "--model", "x", "--out", "g", "--set", "alpha=high"], "alpha is 'high'"),
        (["fit", "cmrm", "--model", "./none", "--out", "g"], "no checkpoint folder"),
        (["fit", "cmrm", "--model", "./none", "--anchors", "none.csv", "--out", "g"], "no anchors file none.csv"),
        (["leaderboard", "none"], "none is not a directory"),
        (["data", "prepare", "Nothing", "--source", "x"], "benchmark 'Nothing' is unknown"),
        (["data", "prepare", "FigStep", "--source", "none"], "none is not there"),
    ],
)
def test_errors_are_one_line(run, arguments, message):
    done = run(*arguments)
    assert done.exit_code != 0 and message in done.output and "Traceback" not in done.output


def test_prepare_lists_what_it_leaves_out(run, tmp_path):
    source = tmp_path / "mine.csv"
    source.write_text("request,harmful\nHow to whistle?,0\nHow to hum?,maybe\n")
    done = run("data", "prepare", "Requests_mine_blank", "--source", source)
    assert done.exit_code == 0 and "row 3: harmful is 'maybe'" in done.output and "1 rows in" in done.output
    ready = [row for row in json.loads(run("data", "list", "--json").output) if row["ready"]]
    assert ready == []  # the user's own sets are found by their files, not in this list
