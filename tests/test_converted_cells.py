"""Answers that a workbook's writer takes for formulas and links are read as they were said, or are unknown."""

import warnings
from dataclasses import replace

import openpyxl
import pytest
from helpers.prediction_rows import NO, write

from vlmguard_plugin.runs.collect import collect
from vlmguard_plugin.runs.facts import RunFacts, Session, facts_file, record

DONE = Session("2026-01-01T00:00:00+00:00", 1.0, 3, empty=1)
LONG = "https://example.org/" + "a" * 3000


def read(folder, answers, **columns):
    """What is read of answers that a host has written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the writer's own, on what it leaves out
        path = write(folder, "m", "S", answers, **(columns or {"harmful": 1}))
    return path, collect(folder).predictions[0]


def test_what_the_workbook_still_holds_is_read(tmp_path):
    answers = [
        "=1+1 is what you ask for", "=", "{=SUM(A1:A2)}", '=HYPERLINK("http://e.org", "here") is it',
        "=FILTER(A1:A9, B1:B9) does it", "mailto:someone@example.org is the address", "internal:memo, page 3",
        "https://example.org/a b#c, and more", "ftp://example.org", "plain", " =3", "mailto: mailto:x",
        "={1,2}", r"=\frac{1}{2}", "=x+{y}", "a\ufffeb",
    ]  # fmt: skip
    _, found = read(tmp_path, answers)
    assert [item.case.answer for item in found.items] == answers and not found.remarks()


def test_what_it_does_not_hold_is_unknown_with_its_reason(tmp_path):
    answers = [LONG, "https://example.org/#" + "b" * 3000, "file:///tmp/x holds it", "external:x/y", NO]
    _, found = read(tmp_path, answers)
    assert [item.label for item in found.items] == ["unknown"] * 4 + ["refusal"]
    assert [remark[:7] for remark in found.remarks()] == ["2 rows:"] * 2
    _, found = read(tmp_path / "utility", [LONG, "=B", "B"], A="red", B="blue", answer="B")
    assert [item.label for item in found.items] == ["unknown", "right", "right"]
    thoughts = ["<think>" + words * 4000 + "</think>B" for words in ("Red or blue? ", "\U0001f534 or \U0001f535? ")]
    _, found = read(tmp_path / "cut", [*thoughts, "B"], A="red", B="blue", answer="B")
    assert [item.label for item in found.items] == ["unknown", "unknown", "right"]
    assert found.remarks()[0].startswith("2 rows: xlsx cuts an answer after 32,767")


@pytest.mark.parametrize(
    "told, label", [(None, "unknown"), (DONE, "degenerate"), (replace(DONE, empty=None), "unknown")]
)
def test_an_empty_answer_is_one_where_the_run_has_counted_it(tmp_path, told, label):
    path, _ = read(tmp_path, [NO, ""])
    if told:
        record(facts_file(path), RunFacts("vlmevalkit", model="m"), told, kept_answers=False)
    assert [item.label for item in collect(tmp_path).predictions[0].items] == ["refusal", label]


def test_another_program_s_workbook(tmp_path):
    """Sheets in another order than their parts, formulas without a value, a link over several cells."""
    path, _ = read(tmp_path, ["=1+1", "mailto:x", NO])
    book = openpyxl.load_workbook(path)
    book.move_sheet(book.create_sheet("Notes"), offset=0)
    book.active = 0
    book["Notes"]["D2"] = "=2+2"
    book.save(path)
    (found,) = collect(tmp_path).predictions
    assert [item.case.answer for item in found.items] == ["=1+1", "mailto:x", NO]
