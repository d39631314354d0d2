"""The prepared data sets as tasks of lmms-eval and lm-evaluation-harness, through each host's own command."""

import base64
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.small_sets import HARMFUL, HARMLESS, picture, png, reseal, small_rows, write_small_sets

from vlmguard_plugin.benchmarks import BENCHMARKS, BenchmarkError, Row, SourceMissing, read_tsv, write_tsv
from vlmguard_plugin.cli.main import main
from vlmguard_plugin.hosts import tasks

REFUSAL = "I'm sorry, but I can't help with that."

ANSWER = "First, take off the wheel. Then patch the tube and put the wheel back on."


@pytest.fixture(scope="module")
def small_sets(tmp_path_factory):
    """$LMUData with a small set under every registered name."""
    return write_small_sets(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(autouse=True)
def data(small_sets, monkeypatch):
    """$LMUData, for tests in this process."""
    monkeypatch.setenv("LMUData", str(small_sets))
    return small_sets


def folder(host):
    done = CliRunner().invoke(main, ["tasks", host])
    assert done.exit_code == 0 and Path(done.output.strip()).is_dir(), done.output
    return done.output.strip()


@pytest.mark.parametrize("host", tasks.HOSTS)
def test_every_data_set_has_its_task_file(host):
    there = {path.name: path.read_text() for path in Path(folder(host)).glob("*.yaml") if not path.name.startswith("_")}
    remedy = "run `python -m vlmguard_plugin.hosts.tasks`"
    assert set(there) == set(tasks.task_files(host)), remedy
    assert there == tasks.task_files(host), remedy
    assert len(there) == len(BENCHMARKS) + len(tasks.OF_VLMEVALKIT), "two data sets differ in case alone"


def test_files_are_written_again(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "task_folder", lambda host: tmp_path)
    monkeypatch.setattr(tasks, "HOSTS", ("lm_eval",))
    (tmp_path / "_safety.yaml").write_text("by hand")
    (tmp_path / "gone.yaml").write_text("of a data set that is no more")
    tasks.write_task_files()
    assert {path.name for path in tmp_path.iterdir()} == {"_safety.yaml", *tasks.task_files("lm_eval")}
    assert "include: _safety_text.yaml" in (tmp_path / "mmsafety_text_tiny.yaml").read_text()


def test_an_unknown_host():
    done = CliRunner().invoke(main, ["tasks", "vlmeval"])
    assert done.exit_code != 0 and "choose one of lmms_eval, lm_eval" in done.output


@pytest.mark.host
def test_documents_hold_what_logs_need_and_no_pictures(data):
    first, second, third = tasks.documents("FigStep_Tiny")
    assert (
        first["dataset"] == "FigStep_Tiny"
        and first["id"] == "a"
        and first["harmful"] is True
        and first["category"] == "theft"
    )
    assert second["harmful"] is False and second["intent"] == "Ask" and second["condition"] == "picture"
    assert [len(tasks.pictures(document)) for document in (first, second, third)] == [1, 1, 2]
    assert "image" not in first and len(json.dumps(first)) < 400
    assert tasks.pictures(second)[0].getpixel((0, 0)) == (255, 0, 0), "the second row shares the first one's picture"
    assert tasks.pictures(third)[1].size == (30, 20)
    assert tasks.placed_request(third) == f"<image><image>{HARMFUL}" and tasks.request(third) == HARMFUL


def test_pictures_are_rgb(tmp_path, monkeypatch):
    monkeypatch.setenv("LMUData", str(tmp_path))
    for number, mode in enumerate(("L", "P", "RGBA")):
        picture("white", mode).save(tmp_path / f"{number}.png")
    rows = [Row(str(number), HARMFUL, (tmp_path / f"{number}.png",), harmful=True) for number in range(3)]
    write_tsv(rows, tmp_path / "VLSafe.tsv", "safety", "s", "l")
    shown = [tasks.pictures(document)[0] for document in tasks.prepared("VLSafe").documents]
    assert [(image.mode, image.getpixel((0, 0))) for image in shown] == [("RGB", (255, 255, 255))] * 3


def test_a_set_that_was_prepared_again_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setenv("LMUData", str(tmp_path))
    path = write_tsv(small_rows("VLSafe"), tmp_path / "VLSafe.tsv", "safety", "s", "l")
    assert len(tasks.prepared("VLSafe").documents) == 3
    write_tsv([Row("new", HARMFUL, (picture("green"),), harmful=True)], path, "safety", "s", "l")
    os.utime(path, ns=(1, 1))
    (document,) = tasks.prepared("VLSafe").documents
    assert document["id"] == "new" and tasks.pictures(document)[0].getpixel((0, 0)) == (0, 128, 0)


@pytest.mark.host
def test_a_set_that_is_not_prepared_or_damaged(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setenv("LMUData", str(tmp_path))
    remedy = "run `vlmguard data prepare FigStep --source"
    with pytest.raises(SourceMissing, match=remedy):
        tasks.lm_eval_documents("FigStep")
    placeholder = datasets.Dataset.from_dict({"x": [1]}, info=datasets.DatasetInfo(config_name="FigStep"))
    with pytest.raises(BenchmarkError, match=remedy):
        tasks.request(tasks.lmms_eval_documents(placeholder)[0])
    table = tmp_path / "FigStep.tsv"
    table.write_text("index\tquestion\n1\tx\n")
    with pytest.raises(SourceMissing, match="FigStep.vlmguard.json must both be there"):
        tasks.prepared("FigStep")
    reseal(table)
    with pytest.raises(BenchmarkError, match="lacks the column harmful or answer"):
        tasks.prepared("FigStep")
    write_tsv([Row("a", "x", (picture("red"),), harmful=True)], table, "safety", "s", "l")
    table.write_text(table.read_text().replace("iVBOR", "AAAAA"))
    with pytest.raises(BenchmarkError, match="sha256 differs"):
        tasks.prepared("FigStep")
    reseal(table)
    with pytest.raises(BenchmarkError, match="picture of row 'a' can't be read"):
        tasks.pictures(tasks.prepared("FigStep").documents[0])


@pytest.mark.parametrize("column", ["index", "image_path"])
@pytest.mark.parametrize("name", ["../../x", "/x", "a\\b", ".."])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, monkeypatch, column, name):
    monkeypatch.setenv("LMUData", str(tmp_path))
    table = write_tsv([Row("a", "x", (picture("red"),), harmful=True)], tmp_path / "FigStep.tsv", "safety", "s", "l")
    frame = read_tsv(table)
    frame[column] = name
    frame.to_csv(table, sep="\t", index=False)
    reseal(table)
    with pytest.raises(BenchmarkError, match=f"{column} .* is no name of a file"):
        tasks.prepared("FigStep")


@pytest.mark.host
def test_text_and_pictures_are_not_mixed(tmp_path, monkeypatch):
    monkeypatch.setenv("LMUData", str(tmp_path))
    rows = [Row("a", "x", (picture("red"),), harmful=True), Row("b", "y", harmful=True)]
    write_tsv(rows, tmp_path / "AdvBench_text.tsv", "safety", "s", "l")
    with pytest.raises(BenchmarkError, match=r"rows \['b'\] have no picture"):
        tasks.lm_eval_documents("AdvBench_text")
    with pytest.raises(BenchmarkError, match="text-only task would drop"):
        tasks.lm_eval_text_documents("AdvBench_text")


def results_of(judge, name, answers):
    """By metric, one value for each answer to the rows of a set."""
    documents = tasks.prepared(name).documents
    rows = [judge(document, [answer]) for document, answer in zip(documents, answers, strict=True)]
    return {metric: [row[metric] for row in rows] for metric in rows[0]}


def test_safety_rates_take_the_rows_they_are_about(data):
    scores = results_of(tasks.judge_safety, "FigStep_Tiny", [ANSWER, REFUSAL, REFUSAL])
    assert scores["attack_success"] == [1.0, None, 0.0] and tasks.mean_score(scores["attack_success"]) == 0.5
    assert scores["over_refusal"] == [None, 1.0, None] and tasks.mean_score(scores["over_refusal"]) == 1.0
    assert tasks.mean_score(scores["degeneration"]) == 0.0 and tasks.mean_score(scores["unknown"]) == 0.0
    assert tasks.counts(scores["verdict"]) == "refusal 2, attack_success 1"
    expected = {"dataset": "FigStep_Tiny", "index": "2", "id": "b", "harmful": False, "category": "theft", "pair": "p"}
    asked = {"question": HARMLESS, "condition": "picture", "intent": "Ask", "shown": ""}
    assert scores["verdict"][1] == {**expected, **asked, "label": "refusal"}


@pytest.mark.host
def test_mmbench_as_vlmevalkit_downloads_it(tmp_path, monkeypatch):
    """Its TSV: a hint before the question, options that not every row has, a picture that a later row names."""
    monkeypatch.setenv("LMUData", str(tmp_path))
    with pytest.raises(SourceMissing, match="let VLMEvalKit download it"):
        tasks.documents("MMBench_DEV_EN")
    cell = base64.b64encode(png(picture("red"))).decode()
    header = ["index", "question", "hint", "A", "B", "C", "answer", "category", "image"]
    rows = [
        ["7", "Which?", "Look.", "red", "blue", "", "A", "colour", cell],
        ["1000007", "Which?", "", "blue", "red", "None", "B", "colour", "7"],
    ]
    (tmp_path / "MMBench_DEV_EN.tsv").write_text("\n".join("\t".join(row) for row in [header, *rows]) + "\n")
    first, second = tasks.documents("MMBench_DEV_EN")
    assert (first["id"], first["options"], second["options"]) == ("7", ["red", "blue"], ["blue", "red", "None"])
    assert tasks.request(first).splitlines()[:3] == ["Look.", "Which?", "A. red"] and tasks.request(second).startswith(
        "Which?"
    )
    assert [image.getpixel((0, 0)) for image in tasks.pictures(second)] == [(255, 0, 0)]
    assert tasks.judge_choice(second, ["B"])["accuracy"] == 1.0


def test_unknown_answers_are_counted_and_left_out_of_rates(data):
    scores = results_of(
        tasks.judge_safety,
        "FigStep_Tiny",
        [None, "Failed to obtain answer via API.", "la la la la la la la la la la la la"],
    )
    assert scores["attack_success"] == [None, None, 0.0] and scores["degeneration"] == [None, None, 1.0]
    assert tasks.mean_score(scores["unknown"]) == pytest.approx(2 / 3)
    assert tasks.mean_score(scores["over_refusal"]) == "N/A"
    assert tasks.counts(scores["verdict"]) == "unknown 2, degenerate 1"


def test_lmms_eval_writes_an_empty_answer_where_its_model_fails(data):
    scores = results_of(tasks.lmms_eval_judge_safety, "FigStep_Tiny", ["", REFUSAL, ANSWER])
    assert tasks.counts(scores["verdict"]) == "attack_success 1, refusal 1, unknown 1"
    assert tasks.counts(results_of(tasks.judge_safety, "FigStep_Tiny", ["", REFUSAL, ANSWER])["verdict"]).startswith(
        "attack_success 1, degen"
    )
    scores = results_of(tasks.lmms_eval_judge_choice, "MMBench_Samples", ["", "C"])
    assert scores["accuracy"] == [None, 1.0]


def test_choices_are_judged_exactly(data):
    scores = results_of(tasks.judge_choice, "MMBench_Samples", ["A", "B. 3"])
    assert scores["accuracy"] == [1.0, 0.0] and tasks.counts(scores["verdict"]) == "right 1, wrong 1"
    scores = results_of(tasks.judge_choice, "MMBench_Samples", [None, "Who knows?"])
    assert scores["accuracy"] == [None, 0.0] and scores["unknown"] == [1.0, 0.0]
    assert tasks.counts(scores["verdict"]) == "unknown 1, unparsed 1"


@pytest.mark.host
def test_prompts_are_those_of_vlmevalkit(data):
    from vlmguard_plugin.benchmarks import read_tsv
    from vlmguard_plugin.hosts.vlmeval import datasets as host

    for name, line_class in (("MMBench_Samples", host.ExactChoice), ("FigStep_Tiny", host.SafetyRequests)):
        lines = read_tsv(data / f"{name}.tsv").to_dict("records")
        documents = tasks.prepared(name).documents
        assert [tasks.request(document) for document in documents] == [line_class.request(None, line) for line in lines]


@pytest.mark.parametrize("name", ["Requests_my_text_picture", "Requests_text_typography", "MCQ_my_text"])
def test_text_in_a_name_of_the_users_takes_no_picture_away(name, tmp_path):
    assert "_text.yaml" not in tasks.own_task_file("lm_eval", name, tmp_path).read_text()
    assert "_safety_text.yaml" in tasks.own_task_file("lm_eval", "Requests_x_picture_text", tmp_path).read_text()


def test_a_task_file_is_never_another_ones(tmp_path):
    path = tasks.own_task_file("lm_eval", "Requests_mine_typography", tmp_path)
    assert tasks.own_task_file("lm_eval", "Requests_mine_typography", tmp_path) == path
    for host, name in (("lm_eval", "Requests_Mine_typography"), ("lmms_eval", "Requests_mine_typography")):
        with pytest.raises(BenchmarkError, match="is not the task of"):
            tasks.own_task_file(host, name, tmp_path)
    assert "Requests_mine_typography" in path.read_text()
