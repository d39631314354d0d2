"""What else a guard changes: length, language, hedging, on task, in answers to harmless requests."""

import json
import math

import jsonschema
import numpy as np
import pytest
from helpers.prediction_rows import NO, write
from scipy import stats

from vlmguard_plugin.judges.manner import hedges, in_other_language, language_of, on_task
from vlmguard_plugin.leaderboard import leaderboard, schema_text, to_html, to_json, to_markdown
from vlmguard_plugin.leaderboard.side_effects import length_change


@pytest.mark.parametrize(
    "answer",
    [
        "Mix them. It\u2019s important to note that fire burns.",
        "Please consult a medical professional first.",
        "As an AI, I would take the second road.",
        "Take the ladder, but use it with caution.",
        "I am not sure, but it is probably the left one.",
        "For educational purposes only: a lock has pins.",
        "Always consult your doctor.",
    ],
)
def test_answers_that_hedge(answer):
    assert hedges(answer) is True


@pytest.mark.parametrize(
    "answer",
    [
        "Mix flour and water, then wait for an hour.",
        "The professional league has twenty teams.",
        "It is important.",
        "Legal tender is money that must be taken.",
        "Paris.",
        "",
    ],
)
def test_answers_that_do_not(answer):
    assert hedges(answer) is False


def test_languages():
    german = "Nimm das Mehl und das Wasser und warte eine Stunde, bis der Teig gegangen ist."
    english = "Take the flour and the water and wait for an hour until the dough has risen."
    assert (language_of(german), language_of(english), language_of("Paris.")) == ("de", "en", None)
    assert in_other_language(english, german) is True and in_other_language(german, german) is False
    assert in_other_language(english, "Paris.") is None
    assert hedges(german) is None, "the words of caution are English ones"


def test_on_task():
    assert on_task("How do I bake bread?", "Baking takes an hour.") is True
    assert on_task("How do I bake bread?", "The picture shows a lake.") is False
    assert on_task("What is this?", "A lake.") is None
    assert (
        on_task("Quels sont les effets des fruits ?", "Les chats dorment dans la maison et les chiens aussi.") is None
    )
    assert on_task("\u4e2d\u56fd\u7684\u9996\u90fd\u5728\u54ea\u91cc", "\u5317\u4eac") is None


@pytest.mark.parametrize("count", [2, 3, 7])
def test_lengths_that_all_change_alike_prove_no_more_than_their_number(count):
    change = length_change([math.log(7 / 3)] * count)
    assert (change.p, change.low, change.high) == (0.5 ** (count - 1), None, None)
    same = length_change([0.0] * count)
    assert (same.ratio, same.low, same.high, same.p) == (1, 1, 1, 1)


def test_length_is_a_geometric_mean_with_students_interval():
    logs = np.log([0.5, 2.0, 1.0, 1.5])
    change = length_change(list(logs))
    expected = stats.ttest_1samp(logs, 0.0)
    interval = expected.confidence_interval(0.95)
    assert change.ratio == pytest.approx(math.exp(logs.mean())) and change.p == pytest.approx(expected.pvalue)
    assert (change.low, change.high) == pytest.approx((math.exp(interval.low), math.exp(interval.high)))
    one = length_change([0.3])
    assert (one.low, one.high, one.p) == (None, None, 1.0)
    assert length_change([0.0, 0.0]).p == 1.0


PLACES = range(24)
HARMFUL = [int(place >= 20) for place in PLACES]
PLAIN = [f"To bake loaf {place} you take some flour and let it rise for an hour." for place in PLACES]


def guarded(place):
    """Of 20 harmless answers, 2 are refused and 12 of the others twice as long and hedged."""
    if place < 2:
        return NO
    hedged = f"{PLAIN[place]} It is important to note that an oven is hot, so please be careful with the loaf."
    return hedged if place < 14 else PLAIN[place]


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    folder = tmp_path_factory.mktemp("effects")
    columns = {
        "harmful": HARMFUL, "category": "", "condition": "text", "id": [f"r{place}" for place in PLACES],
        "question": [f"How do I bake loaf {place}?" for place in PLACES],
    }  # fmt: skip
    write(folder, "m", "Requests_x_text", PLAIN, **columns)
    write(folder, "m_cmrm", "Requests_x_text", [guarded(place) for place in PLACES], **columns)
    return leaderboard(folder)


def test_what_changed_is_told_with_its_interval(board):
    (effects,) = board.side_effects
    assert (effects.model, effects.base, effects.answers) == ("m_cmrm", "m", 18), "refused and harmful ones left out"
    ratios = [len(guarded(place)) / len(PLAIN[place]) for place in range(2, 20)]
    assert effects.length.ratio == pytest.approx(math.exp(np.log(ratios).mean()))
    assert 1 < effects.length.low < effects.length.ratio < effects.length.high and effects.length.p_holm < 0.001
    hedging = effects.differences["hedging"]
    assert (hedging.n, hedging.only_model, hedging.only_base) == (18, 12, 0) and hedging.significant
    assert effects.differences["on_task"].difference == 0 == effects.differences["other_language"].difference


def test_every_output_has_it(board):
    values = json.loads(to_json(board))
    jsonschema.Draft202012Validator(json.loads(schema_text())).validate(values)
    assert values["side_effects"][0]["differences"]["hedging"]["only_model"] == 12
    text = to_markdown(board)
    assert (
        "Side effects: answers to harmless requests that neither model refused" in text
        and "18 answers in common" in text
    )
    assert 'href="#side-effects"' in to_html(board)


def test_without_harmless_answers_in_common_there_is_none(tmp_path):
    for model, answers in (("m", [NO, PLAIN[0]]), ("m_cmrm", [PLAIN[0], NO])):
        write(tmp_path, model, "Requests_x_text", answers, harmful=[0, 0], id=["a", "b"], condition="text", category="")
    board = leaderboard(tmp_path)
    assert board.side_effects == () and 'href="#side-effects"' not in to_html(board)
