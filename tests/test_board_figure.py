"""The figure of a leaderboard: a panel a measure, a row a model, what is missing said in its place."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from helpers.page_boards import write_outputs

from vlmguard_plugin.cli.main import main
from vlmguard_plugin.inspection import plot_board
from vlmguard_plugin.inspection.board_figure import shortened
from vlmguard_plugin.inspection.figures import slim
from vlmguard_plugin.leaderboard.build import build_board


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return write_outputs(tmp_path_factory.mktemp("outputs"))


@pytest.fixture(scope="module")
def board(outputs):
    return build_board(outputs)


def words(path):
    return [text.strip() for text in ElementTree.parse(path).getroot().itertext() if text.strip()]


def test_every_model_and_rate_is_drawn(board, tmp_path):
    (file,) = plot_board(board, tmp_path / "board.svg")
    shown = words(file)
    assert {"Attack success", "Over-refusal", "Accuracy", "%, lower is better", "%, higher is better"} <= set(shown)
    for overall in board.overall:
        assert overall.model in shown
        for name in ("attack_success", "over_refusal", "accuracy"):
            rate = overall.rates.get(name)
            if rate is not None and rate.value is not None:
                assert f"{100 * rate.value:.0f}" in shown
    assert shown.count("withheld") == sum(
        overall.rates[name].withheld
        for overall in board.overall
        for name in ("attack_success", "over_refusal", "accuracy")
        if name in overall.rates
    )
    assert "withheld" in shown


def test_what_was_not_measured_is_said(board, tmp_path):
    first, *others = board.overall
    rates = {name: rate for name, rate in first.rates.items() if name != "accuracy"}
    partly = replace(board, overall=(replace(first, rates=rates), *others))
    assert words(plot_board(partly, tmp_path / "board.svg")[0]).count("not measured") == 1


def test_it_is_small_and_always_the_same(board, tmp_path):
    first, second = (plot_board(board, tmp_path / f"{name}.svg")[0].read_bytes() for name in "ab")
    assert first == second and len(first) < 60_000 and b"<dc:date>" not in first


def test_a_long_name_is_cut(board, tmp_path):
    renamed = replace(board, overall=(replace(board.overall[0], model="x" * 90), *board.overall[1:]))
    shown = words(plot_board(renamed, tmp_path / "board.svg")[0])
    assert any(re.fullmatch("x{16}…x{17}", text) for text in shown)


def test_long_names_are_told_apart():
    """Guarded models' names differ at their end; two that would look the same are not cut."""
    first, second = (f"org-{'x' * 60}_cmrm@alpha={alpha}" for alpha in (1, 2))
    assert shortened([first, second]) == ["org-xxxxxxxxxxxx…xxxx_cmrm@alpha=1", "org-xxxxxxxxxxxx…xxxx_cmrm@alpha=2"]
    middle = [f"{'x' * 30}{n}{'y' * 30}" for n in range(2)]
    assert shortened(middle) == middle


def test_nothing_to_draw_is_said(board, tmp_path):
    with pytest.raises(ValueError, match="no rate to draw"):
        plot_board(replace(board, overall=()), tmp_path / "board.svg")


def test_the_command(outputs, tmp_path):
    done = CliRunner().invoke(main, ["leaderboard", str(outputs), "--plot", str(tmp_path / "board")])
    assert done.exit_code == 0 and "drawn: " in done.output
    assert sorted(path.name for path in tmp_path.glob("board.*")) == ["board.png", "board.svg"]
    done = CliRunner().invoke(main, ["leaderboard", str(outputs), "--plot", str(tmp_path / "board.pdf")])
    assert done.exit_code == 1 and "ends in '.pdf'" in done.output


def test_neighbouring_marks_share_their_style():
    lines = [f'<use x="{place}.123456" style="fill: red"/>' for place in range(3)]
    svg = "\n".join(["  <g>", *(f"   {line}" for line in lines), '  <use x="9" style="fill: blue"/>', "  </g>"])
    assert slim(svg).splitlines() == [
        "<g>", '<g style="fill: red">', *(f'<use x="{place}.12"/>' for place in range(3)), "</g>",
        '<use x="9" style="fill: blue"/>', "</g>",
    ]  # fmt: skip
