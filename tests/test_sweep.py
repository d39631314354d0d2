"""Curves of a setting: points and their names, and a sweep through VLMEvalKit that is killed and goes on."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from click.testing import CliRunner
from helpers.vlmeval_command import ten_requests, tiny_place

from vlmguard_plugin.benchmarks import prepare
from vlmguard_plugin.calibration.sweep import sweep
from vlmguard_plugin.calibration.sweep.host import alone
from vlmguard_plugin.calibration.sweep.points import POINTS, keep_points, points_of
from vlmguard_plugin.calibration.sweep.surroundings import surroundings
from vlmguard_plugin.cli.main import main
from vlmguard_plugin.naming import point_name
from vlmguard_plugin.runs.facts import read_facts

DATA = "Requests_mine_blank"


@pytest.mark.parametrize(
    "guard, settings, name",
    [
        ("cmrm", {"alpha": 0.5}, "llava_cmrm@alpha=0.5"),
        ("cmrm", {"alpha": 1.0}, "llava_cmrm@alpha=1"),
        (
            "vlm_guard",
            {"layers": [15, 16], "alpha": -1, "gate": "zero"},
            "llava_vlmguard@alpha=-1@gate=zero@layers=15,16",
        ),
        ("vlm_guard", {"project": True, "layers": None}, "llava_vlmguard@layers=null@project=true"),
        ("cmrm+self_reminder", {"cmrm": {"alpha": 2}}, "llava_cmrm+self_reminder@cmrm.alpha=2"),
    ],
)
def test_names_of_points(guard, settings, name):
    assert point_name("llava", guard, settings) == name


def test_what_can_stand_in_no_folders_name_is_a_digest():
    names = [
        point_name("llava", "visual_prompt", {"image": image})
        for image in ("/my/picture.png", "/My/picture.png", "C:\\a", "aux.", "x" * 300)
    ]
    assert len({name.casefold() for name in names}) == len(names)
    assert all(name.startswith("llava_visual_prompt@") and len(name) == 28 for name in names)


def test_points_of_a_grid():
    points = points_of(
        "llava", "cmrm", [{"alpha": [10, 2, 2.0, 0.5]}, {"alpha": [2], "positions": ["last"]}], {"layers": [3]}
    )
    assert [point.name.removeprefix("llava_cmrm@") for point in points] == [
        "llava", "alpha=0.5@layers=3", "alpha=2@layers=3", "alpha=2@layers=3@positions=last", "alpha=10@layers=3",
    ]  # fmt: skip
    assert points[0].settings is None and points[1].settings == {"alpha": 0.5, "layers": [3]}
    both = points_of("llava", "cmrm+tbop", [{"cmrm.alpha": [1, 2]}], {"cmrm": {"layers": [0]}, "tbop.rank": 2})
    assert [point.settings for point in both[1:]] == [
        {"cmrm": {"layers": [0], "alpha": alpha}, "tbop": {"rank": 2}} for alpha in (1, 2)
    ]
    for guard, grid, fixed, said in (
        ("cmrm", {"alpha": ["high"]}, {}, "alpha is 'high'"),
        ("cmrm", {"strength": [1]}, {}, "no setting 'strength'"),
        ("nonesuch", {"alpha": [1]}, {}, "no guard 'nonesuch'"),
        ("cmrm", {"alpha": [1]}, {"alpha": 2}, "give it once"),
    ):
        with pytest.raises(ValueError, match=said):
            points_of("llava", guard, [grid], fixed)


def test_a_name_stands_for_one_model(tmp_path):
    """Folders of the same name in two places are two models; host's own names go to the host's wrapper."""
    for place in ("one", "two"):
        (tmp_path / place / "vlm").mkdir(parents=True)
    file = tmp_path / POINTS
    grid = [{"alpha": [1]}]
    first = str(tmp_path / "one" / "vlm")
    points = keep_points(file, first, "cmrm", points_of(first, "cmrm", grid, {}), {})
    assert [point.name for point in points] == ["vlm", "vlm_cmrm@alpha=1"]
    assert json.loads(file.read_text())["model"] == {
        "vlm": {"class": "GuardedVLM", "model": first},
        "vlm_cmrm@alpha=1": {"class": "GuardedVLM", "model": first, "guard": "cmrm", "alpha": 1},
    }
    second = str(tmp_path / "two" / "vlm")
    with pytest.raises(ValueError, match="choose another folder"):
        keep_points(file, second, "cmrm", points_of(second, "cmrm", grid, {}), {})
    keep_points(file, "Qwen2-VL-2B-Instruct", "tbop", points_of("Qwen2-VL-2B-Instruct", "tbop", grid, {}), {})
    models = json.loads(file.read_text())["model"]
    assert (
        models["Qwen2-VL-2B-Instruct_tbop@alpha=1"]["class"] == "GuardedHost" and "Qwen2-VL-2B-Instruct" not in models
    )
    file.write_text("[]")
    with pytest.raises(ValueError, match="can't be read as the points of a sweep"):
        keep_points(file, first, "cmrm", points, {})


@pytest.mark.host
def test_a_folder_holds_answers_of_one_kind(tmp_path, monkeypatch):
    """Other anchors, another number type or other rows under the same name: what is there is not what is asked."""
    monkeypatch.setenv("LMUData", str(tmp_path))
    for variable in ("VLMGUARD_ANCHORS", "VLMGUARD_DTYPE", "VLMGUARD_ENGINE", "VLMGUARD_MAX_NEW_TOKENS"):
        monkeypatch.delenv(variable, raising=False)
    out, grid = tmp_path / "out", [{"alpha": [1]}]
    out.mkdir()
    (tmp_path / "Mine.tsv").write_text("index\tquestion\n1\tHow to bake?\n")
    keep_points(out / POINTS, "llava", "cmrm", points_of("llava", "cmrm", grid, {}), surroundings(["Mine", "NotYet"]))
    (tmp_path / "anchors.csv").write_text("harmful,harmless\nHow to steal?,How to bake?\nHow to lie?,How to sing?\n")
    for variable, value, said in (
        ("VLMGUARD_DTYPE", "float16", "dtype the model's own .now float16"),
        ("VLMGUARD_ANCHORS", str(tmp_path / "anchors.csv"), "anchors"),
        ("VLMGUARD_MAX_NEW_TOKENS", "8", "max_new_tokens"),
    ):
        with monkeypatch.context() as other:
            other.setenv(variable, value)
            with pytest.raises(ValueError, match=f"asked with other {said}.*choose another --out"):
                sweep("llava", "cmrm", ["Mine"], grid, out)
    (tmp_path / "Mine.tsv").write_text("index\tquestion\n1\tHow to steal?\n")
    with pytest.raises(ValueError, match="rows of Mine"):
        sweep("llava", "cmrm", ["Mine"], grid, out)


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_a_sweep_waits_for_the_host_of_one_that_was_stopped(tmp_path, capsys):
    """The lock is held as long as a process lives that was started under it."""
    with alone(tmp_path) as lock:
        host = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.fileno()])
    entered = threading.Event()

    def enter():
        with alone(tmp_path):
            entered.set()

    threading.Thread(target=enter, daemon=True).start()
    assert not entered.wait(0.5) and "waiting for its end" in capsys.readouterr().err
    host.kill()
    host.communicate()
    assert entered.wait(10)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny LLaVA, ten requests, anchors, and the environment."""
    place = tmp_path_factory.mktemp("sweep")
    environment = {**os.environ, **tiny_place(place, checkpoint="tiny vlm")}
    prepare(DATA, ten_requests(place / "mine.csv"), out_dir=place / "data", size=28)
    return place, environment


def command(place, grid, *more):
    arguments = [
        "sweep",
        place / "tiny vlm",
        "cmrm",
        "--data",
        DATA,
        "--grid",
        json.dumps(grid),
        "--out",
        place / "curve",
        "--json",
        *more,
    ]
    return [sys.executable, "-m", "vlmguard_plugin.cli", *map(str, arguments)]


def answered(place, name):
    """How many answers all sessions together have given for a point."""
    runs = read_facts(place / "curve" / name / f"{name}_{DATA}_vlmguard.json")
    return sum(session.answers or 0 for run in runs for session in run.sessions)


@pytest.fixture(scope="module")
def curves(place):
    """A sweep that is killed when its first point is done; then the same with more points, one of which must fail."""
    place, environment = place
    done = place / "curve" / "tiny-vlm" / f"tiny-vlm_{DATA}_score.csv"
    first = subprocess.Popen(
        command(place, {"alpha": [0, 1]}),
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not done.is_file() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    said, _ = first.communicate()
    assert done.is_file(), said[-3000:]
    assert first.returncode == -signal.SIGKILL
    before = done.with_name(f"tiny-vlm_{DATA}.xlsx").stat().st_mtime_ns
    grid = [{"alpha": [0, 0.5, 1]}, {"layers": [[9]]}]
    second = subprocess.run(command(place, grid), env=environment, capture_output=True, text=True)
    return place, second, before


def test_it_goes_on_where_it_was_killed(curves):
    place, second, before = curves
    assert (place / "curve" / "tiny-vlm" / f"tiny-vlm_{DATA}.xlsx").stat().st_mtime_ns == before
    curve = json.loads(second.stdout)
    assert [(point["settings"] or {}).get("alpha") for point in curve["points"]] == [None, 0, 0.5, 1, None], (
        second.stderr[-3000:]
    )
    for point in curve["points"][:4]:
        assert answered(place, point["name"]) == 10 == point["datasets"][DATA]["answers"]
    base, nothing, half, _ = (point["datasets"][DATA] for point in curve["points"][:4])
    assert base["differences"] == {} and base["counts"] == nothing["counts"]
    assert (
        nothing["differences"]["attack_success"]["only_model"]
        == 0
        == nothing["differences"]["attack_success"]["only_base"]
    )
    assert half["rates"]["attack_success"]["n"] + half["rates"]["attack_success"]["unknown"] == 5
    assert half["differences"]["over_refusal"]["p_holm"] is not None


def test_a_failing_point_costs_itself_alone(curves):
    place, second, _ = curves
    assert second.returncode == 1
    failed = json.loads(second.stdout)["points"][-1]
    assert failed["name"] == "tiny-vlm_cmrm@layers=9" and not failed["datasets"]
    assert "layers [9] are beyond the model's 4 decoder layers" in failed["missing"][DATA]


def test_all_points_share_one_fit(curves):
    place, _, _ = curves
    assert len(list((place / "cache" / "guards").glob("cmrm-*/guard.json"))) == 1


def test_a_finished_sweep_loads_no_model_and_shows_the_curve(curves):
    place, _, _ = curves
    log = place / "curve" / "sweep.log"
    size = log.stat().st_size
    arguments = [argument for argument in command(place, {"alpha": [0, 1]}) if argument != "--json"]
    environment = {
        **os.environ,
        "LMUData": str(place / "data"),
        "VLMGUARD_CACHE": str(place / "cache"),
        "VLMGUARD_DEVICE": "no such device",
    }
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout
    assert "unguarded" in table and "0.5" in table and "attack success" in table and "over-refusal" in table
    assert log.stat().st_size == size  # the host was not even started
    assert answered(place, "tiny-vlm_cmrm@alpha=1") == 10


def test_wrong_arguments_are_said_before_anything_runs(tmp_path):
    for arguments, said in (
        (
            ["llava", "cmrm", "--data", "D", "--grid", '{"alpha": "1"}', "--out", str(tmp_path / "o")],
            "is not a list of",
        ),
        (
            ["llava", "cmrm", "--data", "D", "--grid", '{"strong": [1]}', "--out", str(tmp_path / "o")],
            "has no setting 'strong'",
        ),
        (["llava", "cmrm", "--grid", '{"alpha": [1]}', "--out", str(tmp_path / "o")], "--data"),
    ):
        done = CliRunner().invoke(main, ["sweep", *arguments])
        assert done.exit_code != 0 and said in done.output and not (tmp_path / "o").exists()
