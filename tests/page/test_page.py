"""The leaderboard's HTML page: what stands in it. How it behaves in a browser: test_page_browser."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.page_boards import SCRIPT, Elements, facts_of, safety

from vlmguard_plugin.leaderboard import to_html
from vlmguard_plugin.leaderboard.build import build_board
from vlmguard_plugin.leaderboard.outputs import changed
from vlmguard_plugin.leaderboard.outputs.charts import LEFT, PLACES, WIDE, curves, label_box, labels, ticks
from vlmguard_plugin.leaderboard.outputs.escaping import printable
from vlmguard_plugin.leaderboard.outputs.published import published_results


def test_the_page_holds_no_answer_unless_asked(board):
    shown = to_html(board)
    assert "stand-in" not in shown and "assist with" not in shown and "Question 1?" not in shown
    asked = to_html(board, answers=True)
    assert "A stand-in for an answer." in asked and "I&#39;m sorry" in asked and "Question 1?" in asked


def test_answers_are_those_that_changed_and_at_most_so_many(board, monkeypatch):
    by_set = {(answers.model, answers.dataset): answers for answers in changed.changed_answers(board)}
    assert "vlm" not in {model for model, _ in by_set}, "a base stands beside each of its guards"
    answers = by_set["vlm_cmrm@alpha=2", "Set_blank"]
    assert (len(answers.shown), answers.left_out) == (15, 0)
    assert {(asked.base.label, asked.item.label) for asked in answers.shown} == {("attack_success", "refusal")}
    monkeypatch.setattr(changed, "ANSWERS", 4)
    (fewer,) = [
        each
        for each in changed.changed_answers(board)
        if (each.model, each.dataset) == ("vlm_cmrm@alpha=2", "Set_blank")
    ]
    assert (len(fewer.shown), fewer.left_out) == (4, 11)


def test_a_lone_models_first_answers(tmp_path):
    safety(tmp_path, "vlm", "Set", 10)
    assert "Question 0?" in to_html(build_board(tmp_path), answers=True)


def test_the_page_does_not_say_where_its_folders_lie(board, outputs):
    assert all(folder.is_absolute() for folder in board.folders) and board.skipped
    html = to_html(board)
    assert str(Path.home()) + "/" not in html and not any(str(folder.parent) + "/" in html for folder in board.folders)
    assert board.folders[0].name in html


def test_nothing_is_fetched(board):
    elements = Elements(to_html(board, answers=True)).found
    assert not [tag for tag, _ in elements if tag in ("img", "iframe", "object", "embed", "form", "base", "source")]
    fetched = [facts[name] for _, facts in elements for name in ("src", "srcset", "data", "action") if name in facts]
    assert not fetched
    links = {facts["href"] for tag, facts in elements if tag in ("a", "link", "use")}
    assert {link for link in links if link[0] != "#"} == {"data:,"} | {
        f"https://arxiv.org/abs/{one.arxiv}" for one in published_results() if one.arxiv
    }
    ids = {facts["id"] for _, facts in elements if "id" in facts}
    assert {link[1:] for link in links if link[0] == "#"} <= ids


def test_figures_flags_and_what_is_left_out(board):
    text = to_html(board)
    base, guarded = board.blocks[0].entry("vlm"), board.blocks[0].entry("vlm_cmrm@alpha=2")
    assert f"{100 * base.rates['attack_success'].value:.1f}" in text
    assert f"-{-100 * guarded.differences['attack_success'].difference:.1f}" in text
    assert "withheld" in text and "10 judged,</small><small>20 unknown" in text
    assert "not asked 8 items that another model was asked here" in text
    assert "8 of the base&#39;s are to items that only one was asked" in text
    assert "2 of 3 data sets" in text and "vlm_Broken.xlsx" in text
    assert ">1.5×<" in text, "seconds per answer relative to the base"
    assert "org/vlm" in text and "aa11" in text and "2026-03-02T10:20:00Z" in text


def test_seeds_stand_with_their_shares(tmp_path):
    for seed, complied in (("one", 12), ("two", 18)):
        safety(tmp_path / seed, "vlm", "Set", complied, facts=facts_of("vlm"))
    text = to_html(build_board([tmp_path / "one", tmp_path / "two"]))
    assert "2 repetitions" in text and "attack success 40.0, 60.0" in text


def test_curves_need_three_runs_that_differ_in_one_setting(board, outputs, tmp_path):
    text = to_html(board)
    (found,) = curves(board)
    assert (found.setting, found.fixed, [value for _, value in found.xs]) == (
        "alpha",
        {"layers": [3]},
        ["0.5", "2", "10"],
    )
    first, second, third = (x for x, _ in found.xs)
    assert (second - first) / (third - first) == pytest.approx(1.5 / 9.5, abs=0.01), "numbers stand where they are"
    assert {panel.measure for panel in found.overall} == {"attack_success", "over_refusal", "degeneration", "accuracy"}
    assert 'id="curves"' in text and "polyline" in text
    for model in ("vlm", "vlm_cmrm@alpha=2", "vlm_cmrm@alpha=10"):
        shutil.copytree(outputs / model, tmp_path / model)
    assert 'id="curves"' not in to_html(build_board(tmp_path))


def test_published_figures_stand_apart(board):
    rows = published_results()
    assert len(rows) > 40 and {one.better for one in rows} == {"lower", "higher"}
    assert any((one.model, one.condition, one.value) == ("LLaVA-1.5-7B-hf", "with a blank image", 34) for one in rows)
    measured, _, reported = to_html(board).partition('id="published"')
    assert "61.53" not in measured and "61.53" in reported and "LLaVA-v1.5-7B" not in measured


def test_a_published_row_must_be_plausible(tmp_path):
    header = "paper,year,arxiv,model,method,benchmark,condition,metric,value,unit,better,judge,read_from\n"
    (tmp_path / "p.csv").write_text(header + "P,2025,2501.00001,m,no guard,B,,attack success,140,%,lower,,paper\n")
    with pytest.raises(ValueError, match="140"):
        published_results(tmp_path / "p.csv")


@pytest.mark.parametrize("low, high", [(0, 100), (61.2, 98.7), (94, 96), (0, 1), (99, 100), (5, 5)])
def test_ticks_span_their_range(low, high):
    found = ticks(low, high)
    assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 8 and found == sorted(set(found))
    assert 0 <= found[0] and (found[-1] <= 100 or high == low)


def overlap(one, other):
    """Whether two boxes (left, top, right, bottom) do."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_labels_cover_neither_points_nor_each_other():
    xs = [(x, x - 20, x + 20, "") for x in (200, 204, 500, 505, 890)]
    ys = [(y, y + 20, y - 20, "") for y in (200, 206, 300, 300, 60)]
    names = ["vlm_one", "vlm_two", "vlm_three", "vlm_four", "vlm_at_the_right_end"]
    places = labels(names, xs, ys)
    boxes = [label_box((x[0], y[0]), PLACES[place], name) for name, x, y, place in zip(names, xs, ys, places)]
    placed = [(number, box) for number, (box, place) in enumerate(zip(boxes, places)) if place >= 0]
    assert len(placed) >= 4
    for number, box in placed:
        assert LEFT <= box[0] and box[2] <= WIDE
        assert not any(overlap(box, other) for count, other in placed if count != number)
        assert not any(overlap(box, (x[0] - 8, y[0] - 8, x[0] + 8, y[0] + 8)) for x, y in zip(xs, ys))


def test_characters_that_a_page_cannot_hold():
    assert printable("a\x1b[31m\r\nb\u202ec\ud800") == "a␛[31m\nb\ufffdc\ufffd"
    assert printable("Überraschung 猫 مرحبا 🐈") == "Überraschung 猫 مرحبا 🐈"


def test_hostile_text_is_only_text(hostile):
    text = to_html(hostile, answers=True)
    text.encode("utf-8")
    assert "\x1b" not in text and "\u202e" not in text
    elements = Elements(text).found
    assert [facts.get("type") for tag, facts in elements if tag == "script"] == ["application/json", None]
    assert (
        "img" not in {tag for tag, _ in elements} and "<b>vlm" not in text and "{{7*7}}" in text and ">49<" not in text
    )
    assert not [name for _, facts in elements for name in facts if name.startswith("on")]


def test_data_for_the_script_can_not_leave_its_element(outputs, tmp_path):
    for model in ("vlm", "vlm_ecso"):
        shutil.copytree(outputs / model, tmp_path / model)
    found = build_board(tmp_path)
    blocks = tuple(replace(block, dataset=f"{SCRIPT}\u2028&{block.dataset}") for block in found.blocks)
    text = to_html(replace(found, blocks=blocks))
    (data,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.S)
    assert SCRIPT in json.loads(data)["safety"][-1]["name"] and not set("<>&\u2028") & set(data)
