"""Words drawn into pictures."""

import pytest
from helpers.benchmark_files import ink

from vlmguard_plugin.benchmarks.row import BenchmarkError
from vlmguard_plugin.benchmarks.typography import draw_text


def test_words_are_drawn_inside_the_picture_whatever_their_number():
    for count in (1, 2, 5, 12, 25):
        picture = draw_text(" ".join(["gardening"] * count))
        left, upper, right, lower = ink(picture)
        assert picture.width == 1024 and 0 < left and 0 < upper and right < 1024 and lower < picture.height


def test_more_words_make_a_higher_picture_and_the_same_words_the_same_one():
    single, many = draw_text("flower"), draw_text("flower " * 20)
    assert many.height > 2 * single.height
    assert draw_text("flower").tobytes() == single.tobytes() != draw_text("flowed").tobytes()


def test_letters_shrink_where_the_picture_is_small():
    large, small = draw_text("flower", 400, 200, 80), draw_text("flower", 100, 200, 80)
    assert ink(large)[2] - ink(large)[0] > 200 and 50 < ink(small)[2] - ink(small)[0] < 100
    high = draw_text("a list of flowers\n1.\n2.\n3.", 200, 100, 80)
    assert high.size == (200, 100) and ink(high)[3] <= 100


def test_line_ends_are_kept_and_lines_start_at_the_left():
    assert ink(draw_text("a\nb\nc"))[3] > 2.5 * ink(draw_text("a"))[3]
    assert ink(draw_text("ab"))[0] < 90


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("  ",), "no text"),
        (("\u4e2d",), "the font has no"),
        (("unbreakable" * 30, 100), "does not fit 100"),
        (("a", 5000), "width is 5000"),
        (("a", 100, 2.5), "height is 2.5"),
        (("a", 100, None, 3), "font size is 3"),
    ],
)
def test_what_can_not_be_drawn_is_named(arguments, message):
    with pytest.raises(BenchmarkError, match=message):
        draw_text(*arguments)


@pytest.mark.parametrize("text, plain", [("caf\u00e9", "cafe"), ("a\u2013b", "a-b"), ("\u201eit", '"it')])
def test_letters_that_the_font_lacks_are_drawn_plain(text, plain):
    assert draw_text(text).tobytes() == draw_text(plain).tobytes()


def test_accents_that_stand_by_themselves_are_those_of_their_letter():
    assert draw_text("cafe\u0301").tobytes() == draw_text("caf\u00e9").tobytes() == draw_text("cafe").tobytes()


@pytest.mark.parametrize("text", ["x \u2260 y", "x \u226e y", "10\u00b2", "2\u00bd cups", "\ufdfa", "a\u0338"])
def test_a_sign_that_would_mean_something_else_is_refused(text):
    with pytest.raises(BenchmarkError, match="the font has no"):
        draw_text(text)


def test_a_very_long_text_is_refused_at_once_and_in_one_short_line():
    with pytest.raises(BenchmarkError, match="does not fit") as refused:
        draw_text("word " * 20_000)
    assert len(str(refused.value)) < 200
