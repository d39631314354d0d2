"""The leaderboard as JSON, CSV, Markdown and in a terminal: all figures, the same in each."""

import copy
import csv
import io
import json
import math
import re

import jsonschema
import pytest
from helpers.export_boards import (
    BOARDS,
    DONE,
    GUARDED,
    board_of,
    failed_alone,
    hostile,
    plain,
    shared_requests_and_categories,
    shown,
    two,
    with_seeds,
)
from helpers.prediction_rows import BABBLE, NO, YES, write

from vlmguard_plugin.leaderboard import finding, leaderboard, schema_text, to_csv, to_json, to_markdown
from vlmguard_plugin.leaderboard.outputs.data import COLUMNS, as_json
from vlmguard_plugin.runs.facts import RunFacts, Session, facts_file, record


def closed(schema):
    """The schema with no place for names that it does not know."""
    if isinstance(schema, dict):
        shut = (
            {"additionalProperties": False} if "properties" in schema and "additionalProperties" not in schema else {}
        )
        return {name: closed(inner) for name, inner in schema.items()} | shut
    return [closed(inner) for inner in schema] if isinstance(schema, list) else schema


VALIDATOR = jsonschema.Draft202012Validator(closed(json.loads(schema_text())))


def numbers_in(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return ([value] if isinstance(value, float) else []) + [number for one in inner for number in numbers_in(one)]


def rows_of(board):
    return list(csv.DictReader(io.StringIO(to_csv(board))))


def test_the_schema_is_one_and_refuses_what_is_no_board(tmp_path):
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text()))
    good = as_json(board_of(plain, tmp_path))
    for spoil in (
        lambda facts: facts.update(schema_version=2),
        lambda facts: facts["datasets"][0]["entries"][0]["rates"]["attack_success"].update(value=62.0),
        lambda facts: facts["datasets"][0]["entries"][0]["rates"].update(other={}),
        lambda facts: facts["datasets"][0]["entries"][1]["differences"]["attack_success"].pop("p_holm"),
        lambda facts: facts["datasets"][0]["entries"][0]["run"].pop("judge"),
    ):
        bad = copy.deepcopy(good)
        spoil(bad)
        assert not VALIDATOR.is_valid(bad)


@pytest.mark.parametrize("make", [*BOARDS, hostile], ids=lambda make: make.__name__)
def test_every_kind_of_board_in_every_form(make, tmp_path):
    board = board_of(make, tmp_path)
    facts = json.loads(to_json(board))
    VALIDATOR.validate(facts)
    assert facts == as_json(board), "full precision"
    assert all(map(math.isfinite, numbers_in(facts)))
    json.dumps(facts, ensure_ascii=False).encode("utf-8")
    assert facts["finding"] == [
        line.encode("utf-8", "backslashreplace").decode() for line in finding(board).split("\n")
    ]
    lines = rows_of(board)
    cells = sum(len(entry.rates) for block in board.blocks for entry in block.entries)
    assert len(lines) == cells + sum(len(one.rates) for one in board.overall) + len(board.unfinished + board.not_scored)
    to_csv(board).encode("utf-8")
    for width in (120, 60, 20):
        assert max(map(len, shown(board, width).splitlines())) <= max(width, 60)
    for text in (to_markdown(board), to_csv(board), to_json(board), shown(board)):
        assert "stand-in" not in text and "assist with" not in text


def test_a_cell_knows_what_it_is_made_of(tmp_path):
    board = board_of(with_seeds, tmp_path)
    facts = as_json(board)
    entry = next(entry for entry in facts["datasets"][0]["entries"] if entry["model"] == "m_cmrm")
    run = entry["run"]
    assert entry["rates"]["attack_success"]["by_repetition"] == [0.25, 0.5, 0.75]
    assert (run["repetitions"], run["seconds_per_answer"], run["tokens_per_answer"]) == (3, 2.0, 10.0)
    assert (
        run["facts"][0]["settings"] == {"alpha": 0.5, "layers": [1, 2]}
        and run["facts"][0]["guard_fingerprint"] == "cmrm-9"
    )
    assert run["facts"][0]["sessions"][0]["started"] == DONE.started and run["judge"].startswith("rules ")
    line = next(
        row
        for row in rows_of(board)
        if (row["model"], row["measure"], row["kind"]) == ("m_cmrm", "attack_success", "safety")
    )
    expected = {
        "seeds": "1 2 3",
        "host_version": "0.0.20",
        "guard": "cmrm",
        "by_repetition": "0.25 0.5 0.75",
        "repetitions": "3",
        "withheld": "false",
    }
    assert {name: line[name] for name in expected} == expected and json.loads(line["guard_settings"]) == {
        "alpha": 0.5,
        "layers": [1, 2],
    }
    assert float(line["difference"]) == board.blocks[0].entry("m_cmrm").differences["attack_success"].difference < 0
    assert "mean over 3 seeds: 25.0, 50.0, 75.0" in shown(board, 200)
    for text in (shown(board), to_markdown(board)):
        assert "2 s" in text and "10.0 tokens" in text and "cmrm(alpha=0.5, layers=[1, 2]) cmrm-9" in text


def test_time_and_tokens_beside_the_base(tmp_path):
    path = two(tmp_path)
    record(facts_file(path), GUARDED, DONE, False)
    base = RunFacts("vlmevalkit", "0.0.20", "m", "org/m", "fp-1")
    record(facts_file(tmp_path / "m" / "m_Set.xlsx"), base, Session(DONE.started, 6.0, 6, 40), False)
    text = shown(leaderboard(tmp_path), 160)
    assert "2 s (x2.00)" in text and "10.0 tokens (x1.50)" in text


def test_what_is_not_whole_is_said_everywhere(tmp_path):
    path = two(tmp_path)
    record(
        facts_file(path), GUARDED, Session(DONE.started, 1.0, 3, None, status="failed", error="out of memory"), False
    )
    failed_alone(tmp_path / "other")
    (tmp_path / "m" / "m_Bad.json").write_text("[1, 2")
    board = leaderboard([tmp_path, tmp_path / "other"])
    facts = as_json(board)
    assert facts["datasets"][0]["entries"][1]["run"]["problems"] == ["failed: out of memory"]
    assert [one["reason"] for one in facts["unfinished"]] == ["failed: out of memory"] and len(facts["skipped"]) == 1
    assert [row["problems"] for row in rows_of(board) if row["kind"] == "unfinished"] == ["failed: out of memory"]
    for text in (shown(board), to_markdown(board)):
        words = " ".join(text.split())
        assert "! failed: out of memory" in words and "run of m_cmrm on Set: failed" in words
        assert "no predictions of m_cmrm on Set" in words and "skipped" in words


def test_other_items_are_said(tmp_path):
    write(tmp_path, "m", "Set", [YES] * 5, harmful=[1] * 5)
    write(tmp_path, "m_cmrm", "Set", [NO] * 3, harmful=[1] * 3)
    board = leaderboard(tmp_path)
    difference = as_json(board)["datasets"][0]["entries"][1]["differences"]["attack_success"]
    assert (difference["n"], difference["unmatched_model"], difference["unmatched_base"]) == (3, 0, 2)
    for text in (shown(board, 200), to_markdown(board)):
        assert (
            "on 3 items in common; 0 only here, 2 only there" in text
            and "! was not asked 2 items that others were" in text
        )


def test_shared_requests_are_said(tmp_path):
    board = board_of(shared_requests_and_categories, tmp_path)
    assert re.search(r"n 4, n eff. [\d.]+<br>of 2 requests", to_markdown(board))
    difference = as_json(board)["datasets"][0]["entries"][1]["differences"]["attack_success"]
    assert (difference["clusters"], difference["test"]) == (2, "sign_flip")
    assert set(as_json(board)["datasets"][0]["entries"][0]["by_category"]["attack_success"]) == {"x", "y"}


def test_a_spreadsheet_runs_nothing(tmp_path):
    two(tmp_path, name="=cmd()", dataset="@Set")
    lines = rows_of(leaderboard(tmp_path))
    mine = next(row for row in lines if row["model"] == "'=cmd()_cmrm" and row["measure"] == "attack_success")
    assert (mine["base"], mine["dataset"]) == ("'=cmd()", "'@Set")
    assert mine["difference"] == "-0.5", "a number stays one"
    assert list(mine) == list(COLUMNS)
    texts = [value for row in lines for value in row.values() if value.startswith(("=", "+", "@", "\t", "\r"))]
    assert texts == []


def test_babble_is_counted_and_not_shown(tmp_path):
    two(tmp_path, answers=[BABBLE] * 6)
    board = leaderboard(tmp_path)
    assert as_json(board)["datasets"][0]["entries"][1]["counts"] == {"degenerate": 6}
    assert "the the" not in to_markdown(board) + to_csv(board) + to_json(board) + shown(board)


@pytest.mark.parametrize("told", [{"seconds": "long"}, {"answers": [1]}, {"tokens": float("nan")}, {"seconds": -1.0}])
def test_damaged_facts_cost_the_facts_alone(told, tmp_path):
    path = two(tmp_path)
    session = {"started": DONE.started, "seconds": 1.0, "answers": 6, **told}
    facts_file(path).write_text(json.dumps({"format": 1, "runs": [{"host": "vlmevalkit", "sessions": [session]}]}))
    board = leaderboard(tmp_path)
    VALIDATOR.validate(as_json(board))
    assert as_json(board)["datasets"][0]["entries"][1]["run"]["facts"] == []
