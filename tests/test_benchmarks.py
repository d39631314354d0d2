"""Benchmarks: rows made here, in the layouts of the original files, through to the host's TSV."""

import hashlib
import inspect
import io
import json
import re
from pathlib import Path

import numpy
import pandas
import pytest
from helpers.benchmark_files import picture_of
from PIL import Image

from vlmguard_plugin import benchmarks
from vlmguard_plugin.benchmarks import (
    BENCHMARKS,
    MODULES,
    BenchmarkError,
    Row,
    SourceMissing,
    find_benchmark,
    grouped,
    lmu_data,
    open_prepared,
    prepare,
    read_sidecar,
    read_tsv,
    requests,
    write_tsv,
)  # fmt: skip
from vlmguard_plugin.benchmarks.picture import beside, encoded
from vlmguard_plugin.benchmarks.tsv import sidecar_path
from vlmguard_plugin.pictures.meaningless import draw_blank, meaningless
from vlmguard_plugin.query import BlankImage


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


@pytest.mark.host
def test_the_host_reads_the_tsv(tmp_path, red, monkeypatch):
    from vlmeval.dataset import image_mcq as dataset

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


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_lines_within_a_cell_tear_no_row(tmp_path, end):
    """Readers of tables, the hosts' among them, take a carriage return for the end of a row."""
    rows = [
        Row(f"r{end}{number}", f"Which{end}one is {number}?", harmful=True, category=f"a{end}b") for number in (1, 2)
    ]
    path = write_tsv(rows, tmp_path / "S.tsv", "safety", "me", "none")
    assert b"\r" not in path.read_bytes()
    frame = open_prepared(path)
    assert list(frame["question"]) == ["Which\none is 1?", "Which\none is 2?"] and list(frame["harmful"]) == [1, 1]
    assert len(pandas.read_csv(path, sep="\t")) == 2


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda text: text.replace("\n2\t", "\n1\t"), "two rows of the same index"),
        (lambda text: text.replace("\t1\n", "\t7\n"), "neither 1 nor 0"),
        (lambda text: text.replace("\t2-", "\t../2-"), "no name of a file"),
        (lambda text: text.replace("2\tb\t1\t", "2\tb\t99\t"), "image '99', which is neither"),
    ],
    ids=["index", "harm", "name", "picture"],
)
def test_rows_that_were_changed_with_their_digest_are_looked_at(tmp_path, red, change, reason):
    rows = [Row(name, "Why?", images=(red,), harmful=True) for name in "ab"]
    path = write_tsv(rows, tmp_path / "S.tsv", "safety", "me", "none")
    open_prepared(path)
    text = change(path.read_text())
    assert text != path.read_text()
    path.write_text(text)
    facts = json.loads(sidecar_path(path).read_text())
    sidecar_path(path).write_text(json.dumps({**facts, "sha256": hashlib.sha256(text.encode()).hexdigest()}))
    with pytest.raises(BenchmarkError, match=reason):
        open_prepared(path)


def test_a_picture_of_16_bits_keeps_its_shades(tmp_path):
    ramp = numpy.linspace(0, 65535, 256).astype(numpy.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    with Image.open(io.BytesIO(encoded(tmp_path / "deep.png"))) as shown:
        assert numpy.abs(numpy.asarray(shown)[..., 0] - ramp / 257).max() <= 1


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


def test_unknown_names_and_options(tmp_path):
    with pytest.raises(BenchmarkError, match="'FigStep_Big' is unknown; did you mean FigStep.*AdvBench_<condition>"):
        prepare("FigStep_Big", tmp_path)
    with pytest.raises(BenchmarkError, match="no option 'size'; it takes prompt_file"):
        prepare("FigStep", tmp_path, size=3)
    assert find_benchmark("Requests_a_b_blank").fixed["condition"] == "blank"
    assert find_benchmark("Requests_a_b_blank").options() == ["harmful", "size"]
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


def test_every_file_with_benchmarks_is_among_the_modules():
    folder = Path(benchmarks.__file__).parent
    with_sets = {path.stem for path in folder.glob("*.py") if re.search(r"^BENCHMARKS\b", path.read_text(), re.M)}
    assert with_sets - {"__init__"} == {module.__name__.rpartition(".")[2] for module in MODULES}
