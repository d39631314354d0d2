"""Readers of FigStep, requests, ScienceQA, MMBench and choices: rows made here, in the original layouts, to the TSV."""

import json

import pytest
from helpers.benchmark_files import picture_of
from helpers.places import original
from PIL import Image

from vlmguard_plugin.benchmarks import (
    BenchmarkError,
    SourceMissing,
    figstep,
    mcq,
    prepare,
    read_tsv,
)  # fmt: skip


@pytest.fixture
def figstep_folder(tmp_path):
    """The authors' layout, with two rows of our own."""
    (tmp_path / "data/question").mkdir(parents=True)
    (tmp_path / "data/images/SafeBench-Tiny").mkdir(parents=True)
    (tmp_path / "data/question/SafeBench-Tiny.csv").write_text(
        "dataset,category_id,task_id,category_name,question,instruction\n"
        "ForbidQI,1,1,Kind One,How?,Steps.\n"
        "ForbidQI,2,1,Kind Two,How else?,Other steps.\n"
    )
    for item in ("1_1", "2_1"):
        Image.new("RGB", (8, 8), "white").save(tmp_path / f"data/images/SafeBench-Tiny/query_ForbidQI_{item}_6.png")
    return tmp_path


def test_figstep(figstep_folder, tmp_path):
    prepared = prepare("FigStep_Tiny", figstep_folder, tmp_path / "out")
    frame = read_tsv(prepared.path)
    assert prepared.rows == 2 and prepared.bad == ()
    assert list(frame["id"]) == ["1_1", "2_1"] and list(frame["harmful"]) == [1, 1]
    assert set(frame["question"]) == {figstep.PROMPT} and list(frame["category"]) == ["Kind One", "Kind Two"]
    assert figstep.read(figstep_folder / "data", tiny=True).rows[0].condition == "picture"


def test_figstep_with_a_prompt_of_the_users(figstep_folder, tmp_path):
    (tmp_path / "prompt.txt").write_text("Fill in the list.\n")
    prepared = prepare("FigStep_Tiny", figstep_folder, tmp_path / "out", prompt_file=tmp_path / "prompt.txt")
    assert set(read_tsv(prepared.path)["question"]) == {"Fill in the list."}


def test_a_link_out_of_the_source_costs_its_row_and_a_hubs_cache_is_one_folder(figstep_folder, tmp_path):
    private = tmp_path / "private.png"
    Image.new("RGB", (8, 8), "red").save(private)
    pictures = figstep_folder / "data/images/SafeBench-Tiny"
    (pictures / "query_ForbidQI_1_1_6.png").unlink()
    (pictures / "query_ForbidQI_1_1_6.png").symlink_to(private)
    (bad,) = prepare("FigStep_Tiny", figstep_folder, tmp_path / "out").bad
    assert "is a link that leads out of" in bad.reason

    repository = tmp_path / "datasets--a--b"
    (repository / "snapshots").mkdir(parents=True)
    (repository / "blobs").mkdir()
    (figstep_folder / "data").rename(repository / "snapshots/123")
    blob = private.rename(repository / "blobs/abc")
    picture = repository / "snapshots/123/images/SafeBench-Tiny/query_ForbidQI_1_1_6.png"
    picture.unlink()
    picture.symlink_to(blob)
    assert prepare("FigStep_Tiny", repository / "snapshots/123", tmp_path / "out2").bad == ()


@pytest.mark.parametrize("name", ["../private.png", "link.png"])
def test_a_folder_of_pictures_keeps_to_itself(tmp_path, name):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "private.png")
    (folder / "link.png").symlink_to(tmp_path / "private.png")
    (tmp_path / "mine.csv").write_text("request,harmful\nHow do I steal a bike?,1\n")
    with pytest.raises(BenchmarkError, match="link that leads out of"):
        prepare("Requests_mine_picture", tmp_path / "mine.csv", tmp_path / "out", images=folder)
    (folder / "choices.csv").write_text(f"question,A,B,answer,image\nWhich?,a,b,A,{name}\n")
    with pytest.raises(BenchmarkError, match="none of the 1 rows"):
        prepare("MCQ_mine", folder / "choices.csv", tmp_path / "out")


def test_figstep_reports_damaged_pictures_and_keeps_the_rest(figstep_folder, tmp_path):
    picture = figstep_folder / "data/images/SafeBench-Tiny/query_ForbidQI_1_1_6.png"
    picture.write_bytes(picture.read_bytes()[:40])
    prepared = prepare("FigStep_Tiny", figstep_folder, tmp_path / "out")
    assert prepared.rows == 1
    (bad,) = prepared.bad
    assert bad.row == 2 and bad.file.name == "SafeBench-Tiny.csv" and picture.name in bad.reason
    (figstep_folder / "data/images/SafeBench-Tiny/query_ForbidQI_2_1_6.png").unlink()
    with pytest.raises(BenchmarkError, match="none of the 2 rows"):
        prepare("FigStep_Tiny", figstep_folder, tmp_path / "out2")


def test_figstep_without_its_files(figstep_folder, tmp_path):
    with pytest.raises(SourceMissing, match="safebench.csv"):
        prepare("FigStep", figstep_folder, tmp_path)
    with pytest.raises(SourceMissing, match="nowhere is not there"):
        prepare("FigStep", tmp_path / "nowhere", tmp_path)


def test_requests_from_a_text_file(tmp_path):
    source = tmp_path / "list.txt"
    source.write_text("First?\n\n Second? \n")
    prepared = prepare("MaliciousInstruct_blank", source, tmp_path, size=16)
    frame = read_tsv(prepared.path)
    assert list(frame["question"]) == ["First?", "Second?"] and list(frame["harmful"]) == [1, 1]
    assert picture_of(frame["image"][0]).size == (16, 16) and frame["image"][1] == "1"
    assert set(frame["condition"]) == {"blank"}
    text = read_tsv(prepare("MaliciousInstruct_text", source, tmp_path).path)
    assert "image" not in text and list(text["pair"]) == list(frame["pair"]), "the same item in both conditions"


def test_requests_from_a_csv(tmp_path):
    source = tmp_path / "mine.csv"
    source.write_text(
        'ID,Prompt,Label,category\nx1,"One, two?",unsafe,k\nx2,"Three\nfour?",safe,k\n'
        "x3,Five?,maybe,k\nx1,Six?,safe,k\n"
    )
    prepared = prepare("Requests_my_set_noise", source, tmp_path, size=8)
    frame = read_tsv(prepared.path)
    assert list(frame["id"]) == ["x1", "x2"] and list(frame["harmful"]) == [1, 0]
    assert frame["question"][1] == "Three\nfour?"
    assert [(bad.row, bad.reason.split(";")[0]) for bad in prepared.bad] == [
        (5, "harmful is 'maybe'"),
        (6, "id 'x1' came before"),
    ]


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "is empty"),
        ("request,harmful\n", "no rows"),
        ("text,harmful\nx,1\n", "row 1 has none of the columns request"),
        ("request\nx\n", "does not say which requests are harmful"),
        ("request,harmful\nx,1,2\n", "row 2: has more cells"),
        ('request,harmful\n"x,1\n', "can't be read as csv"),
    ],
)
def test_csv_of_requests_that_can_not_be_used(tmp_path, content, message):
    source = tmp_path / "bad.csv"
    source.write_text(content)
    with pytest.raises(BenchmarkError, match=message):
        prepare("Requests_bad_text", source, tmp_path)


def test_objects_without_a_request_name_what_they_have(tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"wish": "How do I knit?", "harmful": 0}\n')
    with pytest.raises(BenchmarkError, match="it has wish, harmful"):
        prepare("Requests_mine_text", tmp_path / "mine.jsonl", tmp_path)


def test_a_row_with_too_many_cells_is_left_out_alone(tmp_path):
    (tmp_path / "mine.csv").write_text("request,harmful\nHow do I bake bread?,0\nA, B or C?,0\nHow do I knit?,0\n")
    prepared = prepare("Requests_mine_text", tmp_path / "mine.csv", tmp_path)
    assert list(read_tsv(prepared.path)["id"]) == ["1", "3"]
    assert [(bad.row, "more cells" in bad.reason) for bad in prepared.bad] == [(3, True)]


def test_requests_without_marks_take_the_option(tmp_path):
    (tmp_path / "plain.txt").write_text("How do I bake bread?\n")
    prepared = prepare("Requests_plain_text", tmp_path / "plain.txt", tmp_path, harmful=False)
    assert list(read_tsv(prepared.path)["harmful"]) == [0]


def test_scienceqa(tmp_path, red):
    entries = {
        "0": {
            "idx": 0,
            "prompt": "Question: Which colour (of two)?\nChoices: (A) red  (B) dark (navy) blue\nAnswer:",
            "label": "A",
            "image": "red.png",
        },
        "1": {"idx": 1, "prompt": "Question: No picture?\nChoices: (A) yes  (B) no\nAnswer:", "label": "B"},
        "2": {"idx": 2, "prompt": "Question: No choices", "label": "B"},
        "3": {"idx": 3, "label": "B"},
    }
    source = tmp_path / "set.json"
    source.write_text(json.dumps(entries))
    prepared = prepare("ScienceQA_Local", tmp_path, tmp_path / "out")
    frame = read_tsv(prepared.path)
    assert list(frame["question"]) == ["Which colour (of two)?", "No picture?"]
    assert frame["B"][0] == "dark (navy) blue" and list(frame["answer"]) == ["A", "B"]
    assert picture_of(frame["image"][0]).size == (8, 8) and frame["image"].isna().tolist() == [False, True]
    assert [bad.row for bad in prepared.bad] == [3, 4]
    source.write_text("{")
    with pytest.raises(BenchmarkError, match="set.json is no JSON"):
        mcq.read_scienceqa(source)


def test_mmbench_samples(tmp_path):
    (tmp_path / "MMBench").mkdir()
    for name in ("1", "2"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"MMBench/{name}.jpg")
    cell = "<td colspan=2><p>QUESTION. {}<br><br>Options:<br>A. {}<br>B. {}<br><br>ANSWER. {}<br></p></td>"
    lines = [
        "<th colspan=2><b>Kind:<br>Sub</b></th><th colspan=2><b>Other</b></th>",
        '<td><img src="MMBench/1.jpg" width="100%"></td><td><img src="MMBench/2.jpg" width="100%"></td>',
        cell.format("Is 1 &lt; 2?<br>HINT. Count.", "yes", "no", "A") + cell.format("Which?", "this", "that", "B"),
        cell.format("\u54ea\u4e2a?", "\u662f", "\u5426", "A") * 2,
    ]
    (tmp_path / "README.md").write_text(
        "## CCBench\n## MMBench (EN / CN)\n" + "".join(f"<tr>{line}</tr>\n" for line in lines), encoding="utf-8"
    )
    frame = read_tsv(prepare("MMBench_Samples", tmp_path, tmp_path).path)
    assert list(frame["question"]) == ["Is 1 < 2?\nHint: Count.", "Which?"], "the Chinese row is left out"
    assert list(frame["category"]) == ["Kind: Sub", "Other"] and list(frame["answer"]) == ["A", "B"]


def test_mcq_from_a_csv(tmp_path, red):
    source = tmp_path / "quiz.csv"
    source.write_text(
        "question,A,B,C,answer,image\nWhich?,red,blue,,a,red.png\nTwo?,1,,3,C,\nThree?,1,2,3,D,\nFour?,None,2,3,A,gone.png\n"
    )
    prepared = prepare("MCQ_quiz", source, tmp_path)
    assert prepared.rows == 1 and [bad.row for bad in prepared.bad] == [3, 4, 5]
    assert "option B is empty" in prepared.bad[0].reason and "gone.png is not there" in prepared.bad[2].reason
    source.write_text("question,A,answer\nx,y,A\n")
    with pytest.raises(BenchmarkError, match="row 1 has no column b"):
        prepare("MCQ_quiz", source, tmp_path)


@pytest.mark.parametrize(
    "name, folder, rows",
    [
        ("FigStep_Tiny", "figstep", 50),
        ("MaliciousInstruct_text", "malicious_instruct/MaliciousInstruct.txt", 100),
        ("ScienceQA_Local", "scienceqa_125", 125),
        ("MMBench_Samples", "mmbench_samples", 20),
        ("Requests_xstest_text", "xstest/xstest_prompts.csv", 450),
    ],
)
def test_the_authors_own_files(tmp_path, name, folder, rows):
    prepared = prepare(name, original(folder), tmp_path)
    assert (prepared.rows, prepared.bad) == (rows, ())
    assert len(read_tsv(prepared.path)) == rows
