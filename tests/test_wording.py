"""One voice: a figure is printed in one way, and in the same way in every output of a board."""

import re

import pytest
from helpers.export_boards import shown
from helpers.prediction_rows import NO, YES, write

from vlmguard_plugin.leaderboard import finding, leaderboard, to_html, to_markdown
from vlmguard_plugin.leaderboard.outputs.sentences import detectable_text
from vlmguard_plugin.leaderboard.outputs.wording import (
    interval,
    listed,
    p_number,
    p_text,
    percent,
    plural,
    points,
    rate_text,
)
from vlmguard_plugin.statistics.rates import rate


@pytest.mark.parametrize(
    "p, number, text",
    [
        (1.0, "1", "p = 1"),
        (0.625, "0.62", "p = 0.62"),
        (0.00101, "0.001", "p = 0.001"),
        (0.00099, "< 0.001", "p < 0.001"),
        (1e-9, "< 0.001", "p < 0.001"),
    ],
)
def test_p_values(p, number, text):
    assert (p_number(p), p_text(p)) == (number, text)


def test_rates_intervals_and_differences():
    assert (percent(0.625), percent(None), points(-0.025), points(0.0)) == ("62.5", "-", "-2.5", "+0.0")
    assert interval(0.522, 0.709) == "[52.2, 70.9]" and interval(-0.01, 0.061, signed=True) == "[-1.0, +6.1]"
    half = {number: number < 2 for number in range(4)}
    assert rate_text(rate(half)) == "50.0% [15.0, 85.0]"
    assert rate_text(rate({**half, "x": None}, max_unknown=0.1)) == "withheld"
    assert rate_text(rate({"x": None})) == "none judged"


def test_numbers_of_things():
    assert [plural(count, "item") for count in (0, 1, 1234)] == ["0 items", "1 item", "1,234 items"]
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert detectable_text([0.24, 0.24]) == "24.0 points"
    assert detectable_text([0.24, 0.1, None]) == (
        "10.0 to 24.0 points, but at no size on 1 of 3 data sets (too few answers)"
    )


def test_the_same_figures_in_every_output(tmp_path):
    write(tmp_path, "m", "S", [YES] * 30 + [NO] * 10, harmful=[1] * 40)
    write(tmp_path, "m_cmrm", "S", [YES] * 5 + [NO] * 35, harmful=[1] * 40)
    board = leaderboard(tmp_path)
    change = board.blocks[0].entry("m_cmrm").differences["attack_success"]
    ends = f"[{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
    page = re.sub("<small>", " ", to_html(board)).replace("&lt;", "<")
    page = re.sub("</?(b|small)[^>]*>", "", page)
    tables = shown(board, 200), to_markdown(board).replace("\\", "")
    assert "12.5% [5.5, 26.1]" in finding(board) and "12.5 [5.5, 26.1]" in page
    assert f"-62.5 {ends}" in tables[0] and ends in page
    for text in tables:
        assert "12.5% [5.5, 26.1]" in text and f"-62.5 {ends}" in text
    for text in (finding(board), *tables, page):
        assert "p < 0.001" in text and "\N{MINUS SIGN}" not in text and "0.0001" not in text and "p<0" not in text


def test_what_is_the_same_of_several_models_is_said_once(tmp_path):
    for model in ("m", "m_cmrm", "m_cmrm_sample", "m_tbop"):
        write(tmp_path, model, "S", [YES] * 5, harmful=[1] * 5)
    write(tmp_path, "m_vlmguard", "S", [NO] * 2 + [YES] * 3, harmful=[1] * 5)
    lines = finding(leaderboard(tmp_path)).splitlines()
    assert len(lines) == 3, lines
    assert lines[1].startswith(
        "m_cmrm, m_cmrm_sample, m_tbop and m_vlmguard compared with m: no significant difference was found in attack "
    )
