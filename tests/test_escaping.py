"""Text from outside in the leaderboard's outputs: a name does nothing in a spreadsheet, Markdown or a terminal."""

import io
import json

import pytest
from click.testing import CliRunner
from helpers.export_boards import NASTY, shown, two
from helpers.prediction_rows import NO
from markdown_it import MarkdownIt
from rich.console import Console

from vlmguard_plugin.cli.main import main
from vlmguard_plugin.judges.rules import RulesJudge
from vlmguard_plugin.leaderboard import leaderboard, to_markdown
from vlmguard_plugin.leaderboard.judging import judge_outputs
from vlmguard_plugin.leaderboard.outputs.data import as_json
from vlmguard_plugin.leaderboard.outputs.escaping import json_text, paragraph
from vlmguard_plugin.leaderboard.outputs.judgements import show_judged


@pytest.mark.parametrize(
    "name",
    [
        NASTY,
        "a\nb# c",
        "[link](http:x)",
        "![p](x)",
        "&lt;i&gt;",
        "<!-- c",
        "a  b",
        "_u_ __v__ ~~w~~",
        "$x$",
        "https:x\\",
    ],
)
def test_names_do_nothing_in_markdown(name, tmp_path):
    two(tmp_path, name=name)
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(to_markdown(leaderboard(tmp_path)))
    for tag in ("<b>", "<em>", "<strong>", "<code>", "<a ", "<img", "<h1", "<s>", "<!--", "<i>", "<li># "):
        assert tag not in html
    cell = html.split("<td>")[1].split("<br")[0].split("&lt;br")[0].split("</td>")[0]
    expected = name.replace("\n", "\\n").replace("\x1b", "\\x1b")
    assert cell == expected.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


@pytest.mark.parametrize(
    "text", ["see https://a.b and www.a.b", "1. x", "- x", "=== x", "# x", "[x]: y", "1) x", "\\| a | b"]
)
def test_lines_are_shown_as_they_are(text):
    html = MarkdownIt("commonmark").enable("table").render(f"{paragraph(text)}\n")
    assert html == f"<p>{text}</p>\n"
    assert "s://" not in paragraph(text) and "www." not in paragraph(text), "GitHub makes links of these"


@pytest.mark.parametrize("command", ["leaderboard", "judge"])
def test_names_do_nothing_in_a_terminal(tmp_path, command):
    two(tmp_path, name=NASTY + "\u202e\x07")
    if command == "leaderboard":
        text = shown(leaderboard(tmp_path), 200)
    else:
        stream = io.StringIO()
        show_judged(judge_outputs(tmp_path, [RulesJudge()]), Console(file=stream, width=200))
        text = stream.getvalue()
    assert not any(one in text for one in ("\x1b", "\x07", "\u202e"))
    assert "[red]*_\\x1b[31m\\u202e\\x07" in text


def test_text_that_utf8_cannot_hold(tmp_path):
    place = tmp_path / "m"
    place.mkdir()
    row = {"index": 1, "question": "How to steal a bike?", "harmful": 1, "prediction": NO}
    rows = [{**row, "category": "\ud800x"}, {**row, "index": 2, "category": "y"}]
    (place / "m_Set.json").write_text(json.dumps(rows))
    board = leaderboard(tmp_path)
    assert set(as_json(board)["datasets"][0]["entries"][0]["by_category"]["attack_success"]) == {"\\ud800x", "y"}
    json.dumps(as_json(board), ensure_ascii=False).encode("utf-8")


def hostile_csv(tmp_path):
    (tmp_path / "mine.csv").write_text("question,A,B,answer,image\nWhich?,a,b,A,\x1b]0;x\x07.png\nWhich?,a,b,A,\n")
    return ["data", "prepare", "MCQ_mine", "--source", str(tmp_path / "mine.csv"), "--out", str(tmp_path)]


def hostile_folder(tmp_path):
    return ["leaderboard", str(tmp_path / "no\x1b[31mwhere")]


def hostile_board(tmp_path):
    two(tmp_path, name=NASTY + "\u202e\x07")
    return ["leaderboard", str(tmp_path), "--csv"]


@pytest.mark.parametrize("words", [hostile_csv, hostile_folder, hostile_board, lambda _: ["env"]])
def test_no_command_hands_control_characters_on(words, tmp_path, monkeypatch):
    monkeypatch.setenv("VLMGUARD_ANCHORS", "/a\x1b[31m.csv")
    done = CliRunner().invoke(main, words(tmp_path))
    assert not any(one in done.output for one in ("\x1b", "\x07", "\u202e")) and "\\x1b" in done.output, done.output


def test_json_is_strict_whatever_it_holds():
    text = json_text({"a": [float("nan"), float("inf"), 1.5], "b": {"c": float("-inf")}, "d": "\ud800"})
    read = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    assert read == {"a": [None, None, 1.5], "b": {"c": None}, "d": "\\ud800"}
