"""Benchmarks: rows made here, in the layouts of the original files, through to the host's TSV."""

import base64
import inspect
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from vlmguard_plugin.benchmarks import (
    BENCHMARKS,
    MODULES,
    BenchmarkError,
    Row,
    SourceMissing,
    figstep,
    find_benchmark,
    grouped,
    lmu_data,
    mcq,
    prepare,
    read_sidecar,
    read_tsv,
    requests,
    write_tsv,
)  # fmt: skip
from vlmguard_plugin.benchmarks.picture import beside
from vlmguard_plugin.pictures.meaningless import draw_blank, meaningless
from vlmguard_plugin.query import BlankImage

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def picture_of(cell):
    return Image.open(io.BytesIO(base64.b64decode(cell)))


@pytest.fixture
def red(tmp_path):
    path = tmp_path / "red.png"
    Image.new("RGB", (8, 8), "red").save(path)
    return path


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


def test_rows_become_a_tsv_that_gives_every_cell_back(tmp_path, red):
    rows = [
        Row("a", 'tab\there, "quotes"\nand lines', (red,), "kind", True, "p", condition="picture"),
        Row("b", "None", (red,), "kind", False, "p", condition="picture"),
        Row("c", "caf\u00e9", (Image.new("RGB", (4, 4), "blue"),), harmful=False, condition="picture"),
    ]
    path = write_tsv(rows, tmp_path / "Mine.tsv", "safety", "here", "CC0")
    frame = read_tsv(path)
    assert list(frame["question"]) == [row.request for row in rows]
    assert list(frame["index"]) == ["1", "2", "3"] and list(frame["id"]) == ["a", "b", "c"]
    assert list(frame["harmful"]) == [1, 0, 0] and list(frame["pair"]) == ["p", "p", ""]
    assert picture_of(frame["image"][0]).getpixel((0, 0)) == (255, 0, 0)
    assert frame["image"][1] == "1", "the second row names the row that holds the same picture"
    assert picture_of(frame["image"][2]).getpixel((0, 0)) == (0, 0, 255)
    assert len(set(frame["image_path"])) == 3
    facts = read_sidecar(path)
    assert facts["kind"] == "safety" and facts["rows"] == 3 and facts["columns"] == list(frame.columns)
    assert not list(tmp_path.glob(".*")), "no temporary file is left"


def test_the_picture_cache_name_follows_the_picture(tmp_path, red):
    first = read_tsv(write_tsv([Row("a", "x", (red,), harmful=True)], tmp_path / "M.tsv", "safety", "s", "l"))
    Image.new("RGB", (8, 8), "green").save(red)
    second = read_tsv(write_tsv([Row("a", "x", (red,), harmful=True)], tmp_path / "M.tsv", "safety", "s", "l"))
    assert first["image_path"][0] != second["image_path"][0]


def test_text_rows_have_no_image_column(tmp_path):
    frame = read_tsv(write_tsv([Row("a", "x", harmful=True)], tmp_path / "M.tsv", "safety", "s", "l"))
    assert "image" not in frame


def test_the_host_reads_the_tsv(tmp_path, red, monkeypatch):
    dataset = pytest.importorskip("vlmeval.dataset.image_mcq", reason="VLMEvalKit is not installed")
    monkeypatch.setenv("LMUData", str(tmp_path))
    rows = [Row("a", "Which?", (red,), answer="A", options=("red", "blue"), condition="picture")]
    rows += [Row("b", "Which now?", (red,), answer="C", options=("red", "blue", "green"), condition="picture")]
    write_tsv(rows, tmp_path / "MCQ_tiny.tsv", "mcq", "here", "CC0")
    host = dataset.CustomMCQDataset(dataset="MCQ_tiny")
    for line in range(2):
        message = host.build_prompt(host.data.iloc[line])
        picture = next(part["value"] for part in message if part["type"] == "image")
        assert Image.open(picture).getpixel((0, 0)) == (255, 0, 0)
        assert "A. red" in message[-1]["value"]


def test_sidecar_of_another_tsv_is_refused(tmp_path):
    path = write_tsv([Row("a", "x", harmful=True)], tmp_path / "M.tsv", "safety", "s", "l")
    path.write_text(path.read_text() + "\n")
    with pytest.raises(BenchmarkError, match="sha256 differs"):
        read_sidecar(path)
    path.unlink()
    with pytest.raises(SourceMissing, match="M.tsv"):
        read_sidecar(path)


def test_data_folder_is_found_as_the_host_does(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LMUData", str(tmp_path / "absent"))
    assert lmu_data() == tmp_path / "LMUData"
    (tmp_path / "absent").mkdir()
    assert lmu_data() == tmp_path / "absent"


@pytest.mark.parametrize(
    "rows, kind, message",
    [
        ([], "safety", "no rows"),
        ([Row("a", "x")], "safety", "whether it is harmful"),
        ([Row("a", "x"), Row("a", "y")], "open", "has no answer"),
        ([Row("a", "x", harmful=True)] * 2, "safety", "the id 'a'"),
        ([Row("a", "x")], "mcq", "no options"),
        ([Row("a", "x")], "quiz", "kind is 'quiz'"),
    ],
)
def test_rows_that_make_no_data_set(tmp_path, rows, kind, message):
    with pytest.raises(BenchmarkError, match=message):
        write_tsv(rows, tmp_path / "M.tsv", kind, "s", "l")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(request=" "), "empty request"),
        (dict(request="x", options=("a",), answer="A"), "1 options"),
        (dict(request="x", options=("a", "b"), answer="C"), "answer 'C'; it must be one of A, B"),
        (dict(request="x", options=("a", " "), answer="A"), "empty option"),
    ],
)
def test_rows_check_themselves(fields, message):
    with pytest.raises(BenchmarkError, match=message):
        Row("a", **fields)


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


def test_a_row_with_too_many_cells_is_left_out_alone(tmp_path):
    (tmp_path / "mine.csv").write_text("request,harmful\nHow do I bake bread?,0\nA, B or C?,0\nHow do I knit?,0\n")
    prepared = prepare("Requests_mine_text", tmp_path / "mine.csv", tmp_path)
    assert list(read_tsv(prepared.path)["id"]) == ["1", "3"]
    assert [(bad.row, "more cells" in bad.reason) for bad in prepared.bad] == [(3, True)]


def test_requests_without_marks_take_the_option(tmp_path):
    (tmp_path / "plain.txt").write_text("How do I bake bread?\n")
    prepared = prepare("Requests_plain_text", tmp_path / "plain.txt", tmp_path, harmful=False)
    assert list(read_tsv(prepared.path)["harmful"]) == [0]


def test_meaningless_pictures():
    assert meaningless("blank", (4, 4)).getpixel((0, 0)) == (255, 255, 255)
    assert meaningless("black", (4, 4)).getpixel((0, 0)) == (0, 0, 0)
    noise = meaningless("noise", (64, 64))
    assert noise.tobytes() == meaningless("noise", (64, 64)).tobytes()
    values = noise.tobytes()
    assert 120 < sum(values) / len(values) < 136
    assert meaningless("blank").size == (336, 336)
    with pytest.raises(ValueError, match="'sepia'"):
        meaningless("sepia", (4, 4))
    for condition, size, message in (("sepia", 4, "'sepia'"), ("blank", 0, "size is 0")):
        with pytest.raises(BenchmarkError, match=message):
            beside(condition, 1, size)


@pytest.mark.parametrize("kind", ["blank", "noise", "gray"])
def test_sets_and_guards_show_the_same_meaningless_picture(kind):
    ((in_a_set,),) = beside(kind, 1, size=28)
    seen_by_a_guard = draw_blank(BlankImage(kind, (28, 28)), None)
    assert in_a_set.tobytes() == seen_by_a_guard.tobytes()


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


def test_unknown_names_and_options(tmp_path):
    with pytest.raises(BenchmarkError, match="'FigStep_Big' is unknown; did you mean FigStep.*AdvBench_<condition>"):
        prepare("FigStep_Big", tmp_path)
    with pytest.raises(BenchmarkError, match="no option 'size'; it takes prompt_file"):
        prepare("FigStep", tmp_path, size=3)
    assert find_benchmark("Requests_a_b_blank").fixed == {"condition": "blank", "images": None}
    assert all(benchmark.kind in ("safety", "mcq", "open") and benchmark.licence for benchmark in BENCHMARKS.values())
    assert find_benchmark("Requests_a_b_blank").read is requests.read


def test_names_are_distinct_and_known_facts_complete():
    names = [name for module in MODULES for name in module.BENCHMARKS]
    assert len(set(names)) == len(names) == len(BENCHMARKS)
    assert [name for _, members in grouped(BENCHMARKS) for name in members] == names
    for name, benchmark in BENCHMARKS.items():
        assert set(benchmark.fixed) <= set(inspect.signature(benchmark.read).parameters), name
        if benchmark.kind == "safety":
            assert benchmark.attack and benchmark.judge and benchmark.changed and benchmark.harmful, name
    assert grouped(["A_text", "A_blank", "B_text", "C"]) == [
        ("A_{text,blank}", ["A_text", "A_blank"]), ("B_text", ["B_text"]), ("C", ["C"])
    ]  # fmt: skip


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
    if not (DATA / folder).exists():
        pytest.skip(f"the original files are not at {DATA / folder}")
    prepared = prepare(name, DATA / folder, tmp_path)
    assert (prepared.rows, prepared.bad) == (rows, ())
    assert len(read_tsv(prepared.path)) == rows
