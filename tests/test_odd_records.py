"""Records of a benchmark's JSON that hold something else than their authors' do: each costs its own row, by name."""

import json

import pytest
from helpers.benchmark_files import paint, read

from vlmguard_plugin.benchmarks import holisafe, mm_harmful_bench, mossbench, vlsafe


@pytest.fixture
def written(tmp_path):
    """Writes HoliSafe's items, each with what is given in the place of its own."""
    paint(tmp_path / "images/plate.png")

    def write(*changes):
        item = {"image": "plate.png", "query": "How?", "type": "SSS", "category": "food"}
        items = [{"id": number, **item, **change} for number, change in enumerate(changes)]
        (tmp_path / "holisafe_bench.json").write_text(json.dumps(items))
        return read(holisafe, "HoliSafe", tmp_path)

    return write


@pytest.mark.parametrize("query", [["How?"], {"text": "How?"}, 3, True])
def test_a_query_that_is_no_text_is_none(written, query):
    reading = written({"query": query}, {})
    assert len(reading.rows) == 1
    assert reading.bad[0].reason == f"holds a JSON {type(query).__name__} as query, where text is expected"


def test_a_name_that_no_picture_can_have_costs_its_row_alone(written):
    names = ["\ud83d.png", "\0.png", "x" * 3000, "plate.png"]
    reading = written(*({"image": name} for name in names))
    assert len(reading.rows) == 1 and [bad.row for bad in reading.bad] == [1, 2, 3]


def test_half_a_character_costs_its_row_alone(written):
    reading = written({"query": "half \ud83d"}, {"category": "\ud83d"}, {})
    assert len(reading.rows) == 1 and ["half a character" in bad.reason for bad in reading.bad] == [True, True]


@pytest.mark.parametrize(
    "module, name, file, record",
    [
        (vlsafe, "VLSafe", "harmlessness_examine.jsonl", {"query": ["How?"], "image_id": "plate.png"}),
        (vlsafe, "VLSafe", "harmlessness_examine.jsonl", {"query": "How?", "image_id": "plate.png", "caption": 7}),
        (mm_harmful_bench, "MMHarmfulBench", "questions.jsonl", {"question": {"text": "How?"}}),
    ],
)
def test_other_texts_that_are_none(tmp_path, module, name, file, record):
    paint(tmp_path / "plate.png")
    (tmp_path / file).write_text(json.dumps(record))
    (bad,) = read(module, name, tmp_path).bad
    assert "where text is expected" in bad.reason


def test_a_question_of_mossbench_that_is_no_text(tmp_path):
    paint(tmp_path / "data/images/1.png")
    cells = {"pid": "1", "image": "images/1.png", "question": 3, "metadata": {"over": "type 1"}}
    table = tmp_path / "data/images_information/information.json"
    table.parent.mkdir(parents=True)
    table.write_text(json.dumps({"1": cells}))
    (bad,) = read(mossbench, "MOSSBench", tmp_path).bad
    assert "a JSON int as question" in bad.reason
