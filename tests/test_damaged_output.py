"""Output folders that were damaged, or made to do harm: what can't be read costs itself alone, and is named."""

import json
import os
import subprocess

import pandas
import pytest
from helpers.prediction_rows import NO, YES, write
from helpers.sample_logs import lm_eval_logs, scores

from vlmguard_plugin.judges.judgements import FOLDER
from vlmguard_plugin.leaderboard import leaderboard, to_html, to_json
from vlmguard_plugin.runs.collect import collect, read_folders
from vlmguard_plugin.runs.facts import FORMAT, facts_file

LOG = "results_2026-01-02T03-04-05.000006.json"
PLACE = "/srv/of/somebody/llava"


def good(folder):
    return write(folder, "m", "Good", [NO, YES], harmful=[1, 1])


def with_groups(groups):
    def damage(folder):
        (path,) = lm_eval_logs(folder / "logs", tasks={"arc": scores([1, 0])}).glob("results_*")
        path.write_text(json.dumps(json.loads(path.read_text()) | {"group_subtasks": groups}))

    return damage


def with_task(name):
    def damage(folder):
        (path,) = lm_eval_logs(folder / "logs", tasks={"arc": scores([1, 0])}).glob("results_*")
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"results": {name: {"acc,none": 1}}, "configs": {name: {}}}))

    return damage


def pipe(name):
    def damage(folder):
        (folder / "m").mkdir(exist_ok=True)
        os.mkfifo(folder / "m" / name)

    return damage


def endless(name):
    return lambda folder: (folder / "m" / name).symlink_to("/dev/zero")


def sparse(name, size=1 << 42):
    def damage(folder):
        (folder / "m" / name).touch()
        os.truncate(folder / "m" / name, size)

    return damage


def deep_folders(folder):
    here = os.getcwd()
    os.chdir(folder)
    for _ in range(1200):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(here)


def many_columns(folder):
    names = "\t".join(f"c{number}" for number in range(200_000))
    (folder / "m" / "m_Wide.tsv").write_text(f"index\tprediction\tharmful\t{names}\n")


def rows(name, records):
    return lambda folder: (folder / "m" / f"m_{name}.json").write_text(json.dumps(records))


CHOICE = {"prediction": "A", "answer": "A", "A": "x", "B": "y", "question": "q"}


@pytest.mark.parametrize(
    "damage, reason",
    [
        pytest.param(pipe("status.json"), None, id="pipe as status"),
        pytest.param(endless("status.json"), None, id="endless status"),
        pytest.param(pipe("m_Pipe.tsv"), None, id="pipe as predictions"),
        pytest.param(pipe(LOG), None, id="pipe as results"),
        pytest.param(endless(LOG), None, id="endless results"),
        pytest.param(sparse("m_Large.tsv"), "4,398,046,511,104 bytes", id="large table"),
        pytest.param(sparse("m_Large.xlsx"), "4,398,046,511,104 bytes", id="large workbook"),
        pytest.param(sparse(LOG), "4,398,046,511,104 bytes", id="large results"),
        pytest.param(many_columns, "200,003 columns", id="many columns"),
        pytest.param(with_groups({"a": ["b"], "b": ["a"]}), None, id="groups within themselves"),
        pytest.param(
            with_groups({f"g{n}": [f"g{n + 1}"] * 2 for n in range(60)} | {"g60": ["arc"]}), None, id="doubled"
        ),
        pytest.param(with_groups({f"g{n}": [f"g{n + 1}"] for n in range(3000)} | {"g3000": ["arc"]}), None, id="far"),
        pytest.param(with_groups({"g": [{"a": 1}]}), "results of lm_eval", id="a group of no names"),
        pytest.param(with_task("../../x"), "no sample log", id="a task that leads out"),
        pytest.param(with_task("x" * 300), "File name too long", id="a long task"),
        pytest.param(deep_folders, None, id="folders within folders"),
        pytest.param(rows("MMBench", [{"index": "\u00b2", **CHOICE}]), None, id="index of another script"),
        pytest.param(rows("MMBench", [{"index": "9" * 5000, **CHOICE}]), None, id="long index"),
        pytest.param(rows("Odd", [{"index": 1, "prediction": "x", "harmful": [1]}]), "harmful", id="a list as a mark"),
    ],
)
def test_one_bad_file_costs_itself_alone(tmp_path, damage, reason, request):
    good(tmp_path)
    damage(tmp_path)
    request.addfinalizer(lambda: subprocess.run(["rm", "-rf", str(tmp_path)]))  # Python's own rmtree is not deep enough
    found = read_folders(tmp_path)
    assert "Good" in [predictions.dataset for predictions in found.predictions]
    reasons = [skip.reason for skip in found.skipped]
    assert (len(reasons) == 1 and reason in reasons[0]) if reason else not reasons
    json.loads(to_json(leaderboard(tmp_path)))


@pytest.mark.parametrize(
    "facts",
    [
        {"device": ["cpu"]},
        {"batch_size": {"a": 1}},
        {"dtype": 3},
        {"sessions": [{"started": "x", "seconds": 10**400, "answers": 2}]},
        {"sessions": [{"started": ["x"], "seconds": 1, "answers": 2}]},
        {"sessions": [{"started": "x", "seconds": 1, "answers": 2, "status": {"a": 1}}]},
    ],
    ids=["device", "batch size", "precision", "seconds", "start", "status"],
)
def test_facts_of_other_kinds_cost_settings_alone(tmp_path, facts):
    path = good(tmp_path)
    facts_file(path).write_text(json.dumps({"format": FORMAT, "runs": [{"host": "vlmevalkit", **facts}]}))
    board = leaderboard(tmp_path)
    assert board.blocks[0].entries[0].counts == {"refusal": 1, "attack_success": 1}
    to_html(board)


def test_lines_that_are_no_judgements_are_passed_over(tmp_path):
    path = good(tmp_path)
    (tmp_path / FOLDER).mkdir()
    whole = {"case": "x", "judge": "mine", "version": "1", "label": "refusal", "reason": "", "raw": ""}
    others = [{"case": [1]}, {"version": 3}, {"judge": None}, {"raw": {"a": 1}}, {"label": ["refusal"]}]
    lines = [json.dumps(line) for line in (whole, *(whole | other for other in others))]
    (tmp_path / FOLDER / "mine.jsonl").write_text("\n".join([*lines, "[" * 5000, "\xe9"]) + "\n")
    (predictions,) = collect(tmp_path, judge="mine").predictions
    assert predictions.file == path and {item.label for item in predictions.items} == {"unknown"}


def test_the_page_names_no_place_of_a_machine(tmp_path):
    path = good(tmp_path)
    settings = {"image": f"{PLACE}.png", "inner": {"file": "C:\\Users\\somebody\\llava.png"}}
    session = {"started": "x", "seconds": 1, "answers": 2, "status": "failed", "error": f"no file {PLACE}/x.json"}
    run = {
        "host": "vlmevalkit",
        "guard": "visual_prompt",
        "settings": settings,
        "checkpoint": PLACE,
        "sessions": [session],
    }
    facts_file(path).write_text(json.dumps({"format": FORMAT, "runs": [run]}))
    (tmp_path / "m" / "status.json").write_text(
        json.dumps({"datasets": {"Other": {"error_message": f"{PLACE} lacks it"}}})
    )
    logs = lm_eval_logs(tmp_path / "logs", tasks={"arc": scores([1, 0])})
    (results,) = logs.glob("results_*")
    content = json.loads(results.read_text())
    content["config"]["model_args"] = f"pretrained={PLACE},dtype=float32"
    results.write_text(json.dumps(content))
    page = to_html(leaderboard(tmp_path))
    assert "somebody" not in page and "llava.png" in page and "x.json" in page


def test_what_models_said_keeps_its_paths(tmp_path):
    write(tmp_path, "m", "Good", ["It lies in /usr/share/dict/words, as ever.", YES], harmful=[0, 1])
    assert "/usr/share/dict/words" in to_html(leaderboard(tmp_path), answers=True)


def test_a_cell_before_the_names_is_no_index(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "m_Shifted.tsv").write_text("index\tquestion\tprediction\tharmful\n1\tq\tx\t1\tmore\n")
    good(tmp_path)
    assert [one.dataset for one in read_folders(tmp_path).predictions] == ["Good"]


def test_tables_are_read_alike_from_all_formats(tmp_path):
    path = good(tmp_path)
    frame = pandas.read_excel(path, dtype=str, keep_default_na=False)
    for suffix, separator in ((".tsv", "\t"), (".csv", ",")):
        frame.to_csv(path.with_name("m_Same" + suffix), sep=separator, index=False)
        (same,) = [one for one in read_folders(tmp_path).predictions if one.dataset == "Same"]
        (whole,) = [one for one in read_folders(tmp_path).predictions if one.dataset == "Good"]
        assert [item.case.answer for item in same.items] == [item.case.answer for item in whole.items]
        path.with_name("m_Same" + suffix).unlink()
