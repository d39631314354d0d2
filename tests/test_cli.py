"""The console command, as a user types it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers.places import REPOSITORY
from helpers.tiny_models import tiny_llava, tiny_processor

import vlmguard_plugin as vg
from vlmguard_plugin.cli.main import main
from vlmguard_plugin.environment import VARIABLES

HEAVY = ("torch", "transformers", "pandas", "numpy", "scipy", "matplotlib", "statsmodels")


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
    "command", [[], ["data", "prepare"], ["data", "list"], *([name] for name in main.commands)], ids=" ".join
)
def test_help_teaches(run, command):
    done = run(*command, "--help")
    assert done.exit_code == 0 and len(done.output) > 200


def test_no_command_is_cut_off_in_the_list(run):
    for words in ([], ["data"]):
        assert "..." not in run(*words, "--help").output.partition("Commands:")[2]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["env"], ["fit", "--help"], ["sweep", "--help"]], ids=" ".join
)
def test_starts_without_what_is_heavy(arguments):
    code = (
        "import sys\nfrom vlmguard_plugin.cli.main import main\nmain(sys.argv[1:], standalone_mode=False)\n"
        f"sys.stderr.write(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0 and len(done.stdout) > 200
    assert done.stderr == ""


def test_can_be_run_as_a_module():
    command = [sys.executable, "-m", "vlmguard_plugin.cli", "tasks", "lm_eval"]
    assert Path(subprocess.check_output(command, cwd=REPOSITORY, text=True).strip()).is_dir()


def test_env(run, monkeypatch):
    monkeypatch.setenv("VLMGUARD_JUDGE_KEY", "abc123")
    monkeypatch.setenv("VLMGUARD_BATCH_SIZE", "")
    shown = {row["variable"]: row for row in json.loads(run("env", "--json").output)}
    assert list(shown) == [variable.name for variable in VARIABLES]
    assert shown["VLMGUARD_DEVICE"]["now"] == "cpu"  # as the fixture sets it
    assert shown["VLMGUARD_BATCH_SIZE"]["now"] is None and shown["VLMGUARD_BATCH_SIZE"]["default"] == "8"
    text = run("env").output
    assert all(name in text for name in shown)
    assert "set, not shown" in text and "abc123" not in text + json.dumps(shown)
    assert run("env", "--json", "--markdown").exit_code == 2


def test_documented_variables_are_those_there_are(run):
    assert (REPOSITORY / "docs" / "environment.md").read_text() == run("env", "--markdown").output


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


def test_what_the_other_engine_would_not_take_is_no_hindrance(run, checkpoint, anchors, monkeypatch, tmp_path):
    csv = tmp_path / "anchors.csv"
    csv.write_text("harmful,harmless\n" + "".join(f"{pair.harmful},{pair.harmless}\n" for pair in anchors.pairs))
    monkeypatch.setenv("VLMGUARD_DEVICE", "auto")  # vLLM takes no such device, and nobody has asked for it
    fit = ("fit", "refusal_direction", "--model", checkpoint, "--anchors", csv, "--out", tmp_path / "g")
    done = run(*fit)
    assert done.exit_code == 0, done.output
    done = run(*fit, "--compare-engines")
    assert done.exit_code != 0 and "device is 'auto', but vLLM takes" in done.output


@pytest.mark.parametrize("by_option", [True, False])
def test_a_file_with_the_name_of_a_set_is_fitted_on(run, checkpoint, monkeypatch, tmp_path, by_option):
    monkeypatch.chdir(tmp_path)
    Path("varied").write_text("harmful,harmless\nHow to steal?,How to bake?\nHow to lie?,How to sing?\n")
    option = ["--anchors", "./varied"] if by_option else []
    monkeypatch.setenv("VLMGUARD_ANCHORS", "none.csv" if by_option else "./varied")
    done = run("fit", "refusal_direction", "--model", checkpoint, *option, "--out", "g")
    assert done.exit_code == 0 and ", 2 pairs" in done.output, done.output


def test_several_guards_are_fitted_at_once_on_states_that_are_recorded_once(run, checkpoint, anchors, tmp_path):
    csv = tmp_path / "anchors.csv"
    csv.write_text("harmful,harmless\n" + "".join(f"{pair.harmful},{pair.harmless}\n" for pair in anchors.pairs))
    given = ["--model", checkpoint, "--anchors", csv, "--calibrate", "--pairs", 2]
    done = run("fit", "tbop", "cmrm", "self_reminder", *given, "--out", tmp_path / "all")
    assert done.exit_code == 0 and "self_reminder has nothing to fit" in done.output, done.output
    done = run("fit", "cmrm", "tbop+self_reminder", *given, "--calibrate", "--out", tmp_path / "none")
    assert done.exit_code == 1 and "can't be calibrated as one" in done.output
    assert not (tmp_path / "none").exists(), "it is refused before the first guard's calibration"
    assert run("fit", "cmrm", *given, "--out", tmp_path / "one").exit_code == 0
    both = [json.loads((tmp_path / folder / "guard.json").read_text()) for folder in ("all/cmrm", "one")]
    assert both[0]["settings"] == both[1]["settings"]
    assert both[0]["calibration"] == both[1]["calibration"]
    subject = vg.HuggingFaceSubject(tiny_llava(), tiny_processor())
    shared, own = (vg.load_guard(tmp_path / folder, subject) for folder in ("all/cmrm", "one"))
    for name, tensor in own.tensors.items():
        torch.testing.assert_close(shared.tensors[name], tensor, atol=2e-5, rtol=1e-4)
    told = json.loads(run("fit", "tbop", "nullsteer", *given[:4], "--out", tmp_path / "j", "--json").stdout)
    assert list(told) == ["tbop", "nullsteer"]


def test_a_guard_that_can_not_be_fitted_costs_no_other(run, checkpoint, tmp_path):
    """The others are fitted, also behind it, and it is named with its reason."""
    csv = tmp_path / "two.csv"
    csv.write_text("harmful,harmless\nHow to lie?,How to bake?\nHow to steal?,How to swim?\n")
    guards = ("tbop", "conditional_refusal", "cmrm")
    done = run("fit", *guards, "--model", checkpoint, "--anchors", csv, "--out", tmp_path, "--json")
    assert done.exit_code == 1 and list(json.loads(done.stdout)) == ["tbop", "cmrm"]
    assert "conditional_refusal could not be fitted (a gate can't be fitted on 2 anchor pairs" in done.stderr
    assert "fitted and saved: tbop, cmrm" in done.stderr
    assert [(tmp_path / name / "guard.json").is_file() for name in guards] == [True, False, True]
    alone = run("fit", guards[1], "--model", checkpoint, "--anchors", csv, "--out", tmp_path / "alone")
    assert alone.exit_code == 1 and alone.stderr.splitlines()[-1].startswith("Error: a gate can't be fitted on 2")


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


def test_inspect_a_gate(run, checkpoint, anchors, tmp_path):
    csv = tmp_path / "anchors.csv"
    csv.write_text("harmful,harmless\n" + "".join(f"{pair.harmful},{pair.harmless}\n" for pair in anchors.pairs))
    both = ["--anchors", csv, "--out", tmp_path / "g"]
    done = run("fit", "vlm_guard+self_reminder", "--model", checkpoint, *both)
    assert done.exit_code == 0, done.output
    look = ["inspect", "--gate", checkpoint, "--anchors", csv, "--conditions", "text,shape"]
    done = run(*look, tmp_path / "g", "--plot", tmp_path / "gate")
    assert done.exit_code == 0 and "vlm_guard: layer 1" in done.output, done.output
    assert "on the anchors that it was fitted on" in done.output and (tmp_path / "gate.svg").stat().st_size > 1000
    alone = json.loads(run(*look, "--pairs", 5, "--json").stdout)
    assert alone["gates"] == [] and alone["conditions"] == ["text", "shape"] and alone["anchors"]["pairs"] == 5
    run("fit", "self_reminder", "--model", checkpoint, "--out", tmp_path / "s")
    done = run(*look, tmp_path / "s")
    assert done.exit_code == 1 and "guard 'self_reminder' has no gate" in done.output


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["inspect"], "give either a guard's folder or --shift MODEL"),
        (["inspect", "none"], "none holds no guard.json"),
        (["inspect", "--shift", "x", "--plot", "x.gif"], "ends in '.gif'"),
        (["inspect", "--shift", "./none", "--layers", "a"], "is not a list of layers"),
        (["inspect", "none", "--pairs", "3"], "--pairs goes with --shift MODEL or --gate MODEL"),
        (["inspect", "--shift", "x", "--gate", "x"], "give either a guard's folder or --shift MODEL"),
        (["inspect", "none", "--rate", "0.1"], "--rate goes with --gate MODEL"),
        (["inspect", "none", "--gate", "x"], "none holds no guard.json"),
        (["inspect", "--gate", "x", "--layers", "1"], "--layers goes with --shift MODEL"),
        (["fit", "cmrm", "--model", "x", "--out", "g", "--bound", "0.02"], "--bound goes with --calibrate"),
        (["fit", "cmrm", "--model", "x", "--out", "g", "--pairs", "8"], "--pairs goes with --calibrate"),
        (["fit", "cmrm", "--model", "x", "--out", "g", "--grid", "[]"], "--grid goes with --calibrate"),
        (["fit", "nothing", "--model", "x", "--out", "g"], "there is no guard 'nothing'"),
        (["fit", "cmrm", "cmrm", "--model", "x", "--out", "g"], "guard 'cmrm' is named twice"),
        (
            ["fit", "cmrm", "tbop", "--model", "x", "--out", "g", "--calibrate", "--grid", "[]"],
            "--grid is of one guard's settings, not of 2 guards'",
        ),
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
