"""Utility rows that are odd: none costs its file; each is scored as the host would, or said to be unknown."""

import pytest
from helpers.prediction_rows import LOST, write

from vlmguard_plugin.leaderboard import leaderboard, to_markdown
from vlmguard_plugin.runs.collect import collect

PLAIN = {"A": "red", "B": "blue", "answer": "B"}


def table(rows):
    """Rows by column, each filled up with PLAIN; a missing letter is blank."""
    letters = sorted({key for row in rows for key in row if len(key) == 1} | {"A", "B"})
    return {key: [{**PLAIN, **row}.get(key, "") for row in rows] for key in (*letters, "answer")}


def labels(folder, dataset, rows, answers, suffix=".tsv"):
    write(folder, "m", dataset, answers, suffix=suffix, **table(rows))
    found = collect(folder)
    assert not found.skipped
    return [item.label for item in found.predictions[0].items], found.predictions[0].remarks()


@pytest.mark.parametrize("suffix", [".xlsx", ".tsv", ".json"])
def test_as_many_options_as_the_file_has(tmp_path, suffix):
    many = {letter: f"colour {number}" for number, letter in enumerate("ABCDEFGHI")}
    rows = [{}, {**many, "answer": "I"}, {**many, "answer": "F"}, {**many, "answer": "H"}]
    assert labels(tmp_path, "MMT-Bench_VAL", rows, ["B", "The answer is I.", "colour 5", "G"], suffix) == (
        ["right", "right", "right", "wrong"],
        (),
    )


def test_a_right_answer_without_a_text_is_wrong_as_the_host_counts_and_is_said(tmp_path):
    odd = {"C": "", "answer": "C"}
    found, remarks = labels(tmp_path, "SEEDBench_IMG", [{}, odd, odd, odd], ["B", "C", "none of them", LOST])
    assert found == ["right", "wrong", "wrong", "unknown"]
    assert [remark[:6] for remark in remarks] == ["3 rows"] and "without a text" in remarks[0]
    board = leaderboard(tmp_path)
    assert board.blocks[0].entries[0].origin.problems == remarks and "3 rows" in to_markdown(board)


def test_blank_options_between_others_and_blanks_as_text(tmp_path):
    rows = [{"A": "", "B": "", "C": "red", "D": "blue", "answer": "D"}, {"C": " ", "answer": "B"}]
    assert labels(tmp_path, "MMStar", rows, ["D", "blue"])[0] == ["right", "right"]


def test_open_questions_among_choices(tmp_path):
    asked = {"A": "", "B": ""}
    rows = [{}, {**asked, "answer": "14.3"}, {**asked, "answer": "14.3"}, {**asked, "answer": ""}]
    answers = ["B", "It is 14.3 m.", "About 15", "anything"]
    found, remarks = labels(tmp_path / "any", "RealWorldQA", rows, answers)
    assert found == ["right", "unknown", "unknown", "unknown"]
    assert [remark.partition(":")[0] for remark in remarks] == ["2 rows", "1 row"] and "open question" in remarks[0]
    found, remarks = labels(tmp_path / "mmmu", "MMMU_DEV_VAL", rows[:3], answers[:3])
    assert (found[:2], found[2] in ("wrong", "unparsed"), remarks) == (["right", "right"], True, ())


def test_a_file_in_which_nothing_can_be_scored_is_refused(tmp_path):
    write(tmp_path, "m", "Quiz", ["A", "B"], A="red", B="blue", answer=["0", "1"])
    write(tmp_path, "m", "Hidden", ["A", "B"], answer=["", ""])
    write(tmp_path, "m", "Fine", ["A", "B"], A="red", B="blue", answer=["A", "crimson"])
    found = collect(tmp_path)
    assert {skip.file.stem: skip.reason[:22] for skip in found.skipped} == dict.fromkeys(
        ("m_Quiz", "m_Hidden"), "no row can be scored: "
    )
    assert [item.label for item in found.predictions[0].items] == ["right", "unknown"]


def test_open_sets_with_a_row_without_an_answer(tmp_path):
    write(tmp_path, "m", "Words", ["red", "blue", "x"], suffix=".tsv", answer=["red", "", "?"])
    (found,) = collect(tmp_path).predictions
    assert [item.label for item in found.items] == ["right", "unknown", "wrong"]
    assert found.remarks()[-1].startswith("1 row: there is no right answer")
