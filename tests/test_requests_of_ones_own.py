"""Requests of the user's own in any form, and files that are none."""

import json
import zipfile

import pytest

from vlmguard_plugin.benchmarks import BenchmarkError, prepare, read_tsv, requests as requests_file

OBJECTS = [{"request": "How to one?", "harmful": 1, "category": "a"}, {"request": "How to two?", "harmful": False}]
FORMS = {
    "mine.json": json.dumps(OBJECTS),
    "mine.jsonl": "\n".join(map(json.dumps, OBJECTS)) + "\n\n",
    "mine.csv": "request,harmful,category\nHow to one?,1,a\nHow to two?,0,\n",
    "mine.tsv": "request\tharmful\tcategory\nHow to one?\tTrue\ta\nHow to two?\tno\t\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_requests_of_ones_own_in_any_form(tmp_path, name):
    (tmp_path / name).write_text(FORMS[name])
    frame = read_tsv(prepare("Requests_mine_text", tmp_path / name, out_dir=tmp_path).path)
    assert list(frame["question"]) == ["How to one?", "How to two?"] and list(frame["harmful"]) == [1, 0]
    assert list(frame["category"]) == ["a", ""]


def test_a_cell_may_be_long(tmp_path):
    (tmp_path / "mine.csv").write_text('request,harmful\n"' + "long " * 40_000 + '",1\n')
    assert prepare("Requests_mine_text", tmp_path / "mine.csv", out_dir=tmp_path).rows == 1


@pytest.mark.parametrize("value", [True, "True", "true", "yes", "1"])
def test_what_all_requests_are_may_be_said_as_people_do(tmp_path, value):
    (tmp_path / "mine.txt").write_text("How?\nWhy?\n")
    frame = read_tsv(prepare("Requests_mine_text", tmp_path / "mine.txt", out_dir=tmp_path, harmful=value).path)
    assert list(frame["harmful"]) == [1, 1]
    with pytest.raises(BenchmarkError, match="harmful is 'perhaps'"):
        prepare("Requests_mine_text", tmp_path / "mine.txt", out_dir=tmp_path, harmful="perhaps")


def test_objects_that_are_no_requests_cost_themselves_alone(tmp_path):
    objects = [
        {"request": ["a"], "harmful": 1},
        3,
        {"request": "half \ud83d", "harmful": 1},
        {"harmful": 1},
        OBJECTS[0],
        {"request": 3, "harmful": 1},
    ]
    (tmp_path / "mine.json").write_text(json.dumps(objects))
    prepared = prepare("Requests_mine_text", tmp_path / "mine.json", out_dir=tmp_path)
    assert prepared.rows == 1 and [bad.row for bad in prepared.bad] == [1, 2, 3, 4, 6]
    reasons = ["a JSON list as request", "is a JSON int", "half a character", "empty request", "a JSON int as request"]
    assert all(reason in bad.reason for reason, bad in zip(reasons, prepared.bad))


@pytest.mark.parametrize("name", ["a.yaml", "a.md", "a.xlsx", "a.parquet", "a.csv.gz"])
def test_a_file_of_another_kind_is_no_list_of_lines(tmp_path, name):
    (tmp_path / name).write_text("request: one\n")
    with pytest.raises(BenchmarkError, match=f"is a {name[name.rindex('.') :]} file; give a csv, tsv, json, jsonl or"):
        requests_file.read(tmp_path / name, harmful=True)


@pytest.mark.parametrize(
    "name, content, wanted",
    [
        ("a.ndjson", '{"request": "one", "harmful": 1}\n{"request": "two", "harmful": 0}\n', [True, False]),
        ("a.csv", "request,harmful\none,1.0\ntwo,0.0\n", [True, False]),
        ("a.txt", "one\rtwo\r\n", [True, True]),
    ],
)
def test_requests_as_other_programs_write_them(tmp_path, name, content, wanted):
    (tmp_path / name).write_bytes(content.encode())
    reading = requests_file.read(tmp_path / name, harmful=True)
    assert [(row.request, row.harmful) for row in reading.rows] == list(zip(("one", "two"), wanted))


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("request,request,harmful\none,two,1\n")
    with pytest.raises(BenchmarkError, match="names the column request twice"):
        requests_file.read(tmp_path / "a.csv")


@pytest.mark.parametrize(
    "form, content",
    [
        ("jsonl", '{"request": "one"}\n'),
        ("json", '[\n  {"request": "one"}\n]\n'),
        ("json", '[{"request": "one"}]\n'),
        ("csv", "id,Request,harmful\n1,one,1\n"),
        ("tsv", "prompt\tlabel\none\t1\n"),
        ("csv", "id;request\n1;one\n"),
        ("csv", "request\none\n"),
        ("csv", "| id | request |\n|---|---|\n| 1 | one |\n"),
        ("json", '["one", "two \\"and\\" three"]\n'),
        ("yaml", "- request: one\n- request: two\n"),
        ("xml", "<?xml version='1.0'?><request>one</request>\n"),
        ("html", "<!DOCTYPE html>\n<html>one</html>\n"),
        ("pdf", "%PDF-1.7\none\n"),
        ("rtf", "{\\rtf1\\ansi one}\n"),
    ],
)
def test_another_form_under_the_name_of_a_text_is_no_list_of_requests(tmp_path, form, content):
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(BenchmarkError, match=f"a.txt is a {form} file by its first line; give a csv"):
        requests_file.read(tmp_path / "a.txt", harmful=True)


@pytest.mark.parametrize(
    "line", ["Explain this: {x}", "[one] or two", "Prompt, please", "%s is what?", "{one}", '["a", "b"] is what?']
)
def test_a_request_may_begin_with_any_sign(tmp_path, line):
    (tmp_path / "a.txt").write_text(line + "\n")
    assert [row.request for row in requests_file.read(tmp_path / "a.txt", harmful=True).rows] == [line]


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.json"])
def test_an_archive_under_a_name_of_text_is_no_text(tmp_path, name):
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("one", "")
    with pytest.raises(BenchmarkError, match="holds the control character U\\+0003 in line 1|is not UTF-8 text"):
        requests_file.read(tmp_path / name, harmful=True)
