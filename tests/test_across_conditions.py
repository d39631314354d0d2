"""Request sets in several conditions on one board: each model against itself, on the same requests."""

import json

import jsonschema
import pytest
from helpers.prediction_rows import NO, YES, write

from vlmguard_plugin.leaderboard import leaderboard, schema_text, to_html, to_json, to_markdown
from vlmguard_plugin.runs.rows import base_request_of
from vlmguard_plugin.statistics.differences import holm, paired_difference

PLACES = range(40)
HARMFUL = [1 if place < 30 else 0 for place in PLACES]
REFUSED = {
    ("m", "text"): set(range(0, 25)),
    ("m", "blank"): set(range(0, 20)),
    ("m", "typography"): set(range(5, 10)) | {35},
    ("m", "template+picture+early6"): set(),
    ("m_cmrm", "text"): set(range(0, 30)) | {30, 31},
    ("m_cmrm", "typography"): set(range(0, 28)),
}


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conditions")
    for (model, condition), refused in REFUSED.items():
        plain = [f"Request {place}?" for place in PLACES]
        asked = plain if condition in ("text", "blank") else [f"{condition}: fill in the list."] * len(plain)
        hidden = {} if asked is plain else {"intent": plain}
        write(
            folder, model, f"Requests_x_{condition}", [NO if place in refused else YES for place in PLACES],
            harmful=HARMFUL, id=[f"r{place}" for place in PLACES], pair=[f"p{place}" for place in PLACES],
            condition=condition, question=asked, category="", **hidden,
        )  # fmt: skip
    write(folder, "m", "Other_text", [NO, YES], harmful=[1, 0], id=["a", "b"], condition="text", category="")
    return leaderboard(folder)


def row(board, model, condition):
    (conditions,) = board.across
    return next(one for one in conditions.rows if (one.model, one.condition) == (model, condition))


def test_each_model_is_compared_with_itself_in_text(board):
    (conditions,) = board.across
    assert (conditions.name, conditions.reference) == ("Requests_x", "text")
    assert [(one.model, one.condition) for one in conditions.rows] == [
        ("m", "text"), ("m", "blank"), ("m", "typography"), ("m", "template+picture+early6"),
        ("m_cmrm", "text"), ("m_cmrm", "typography"),
    ]  # fmt: skip
    assert row(board, "m", "text").differences == {} == row(board, "m_cmrm", "text").differences
    assert row(board, "m", "typography").rates["attack_success"].k == 25
    change = row(board, "m", "typography").differences["attack_success"]
    assert (change.n, change.only_model, change.only_base) == (30, 20, 0)
    assert row(board, "m_cmrm", "typography").differences["over_refusal"].only_base == 2
    assert row(board, "m", "typography").differences["over_refusal"].only_model == 1


def test_p_is_that_of_the_pairs_corrected_over_all_of_them(board):
    tested = [one for one in board.across[0].rows if "attack_success" in one.differences]
    plain = []
    for one in tested:
        refused, as_text = REFUSED[one.model, one.condition], REFUSED[one.model, "text"]
        events = [{place: place not in those for place in range(30)} for those in (refused, as_text)]
        plain.append(paired_difference(*events).p)
    assert [one.differences["attack_success"].p for one in tested] == pytest.approx(plain)
    assert [one.differences["attack_success"].p_holm for one in tested] == pytest.approx(holm(plain))


def test_every_output_has_it(board):
    assert "Requests_x in several conditions, each compared with text" in to_markdown(board)
    values = json.loads(to_json(board))
    jsonschema.Draft202012Validator(json.loads(schema_text())).validate(values)
    (found,) = values["across_conditions"]
    assert found["rows"][2]["differences"]["attack_success"]["only_model"] == 20
    page = to_html(board)
    assert 'href="#conditions"' in page and "vs text" in page and "template+picture+early6" in page


def test_a_set_in_one_condition_is_no_comparison(tmp_path):
    write(tmp_path, "m", "Requests_x_text", [NO, YES], harmful=[1, 0], id=["a", "b"], condition="text", category="")
    write(tmp_path, "n", "Requests_x_blank", [NO, YES], harmful=[1, 0], id=["a", "b"], condition="blank", category="")
    board = leaderboard(tmp_path)
    assert board.across == () and 'href="#conditions"' not in to_html(board)


def test_without_text_the_plainest_condition_is_the_reference(tmp_path):
    for condition, answers in (("typography", [YES, YES]), ("blank", [NO, YES])):
        columns = {"harmful": [1, 0], "id": ["a", "b"], "condition": condition, "category": ""}
        write(tmp_path, "m", f"Requests_x_{condition}", answers, **columns)
    (conditions,) = leaderboard(tmp_path).across
    assert conditions.reference == "blank" and conditions.rows[1].differences["attack_success"].only_model == 1


def test_ids_that_stand_for_other_requests_are_not_compared(tmp_path):
    columns = {"harmful": [1, 1, 1], "id": ["1", "2", "3"], "category": ""}
    write(tmp_path, "m", "Requests_x_text", [NO, NO, NO], question=["a?", "b?", "c?"], condition="text", **columns)
    hidden = {"question": "Fill in.", "intent": ["a?", "other?", " c? "]}
    write(tmp_path, "m", "Requests_x_typography", [YES, YES, YES], condition="typography", **hidden, **columns)
    (conditions,) = leaderboard(tmp_path).across
    change = conditions.rows[1].differences["attack_success"]
    assert (change.n, change.only_model) == (2, 2) and conditions.rows[1].rates["attack_success"].n == 3


def test_an_attacked_request_is_the_same_base_request():
    plain = {"pair": "p1", "harmful": 1, "question": "How?"}
    attacked = {"pair": "p1", "harmful": 1, "question": "Fill in.", "intent": "How?"}
    assert base_request_of(plain, "AdvBench_text") == base_request_of(attacked, "AdvBench_typography")
    assert base_request_of(plain, "Requests_a_text") == base_request_of(attacked, "Requests_a_template+blank")
    assert base_request_of(plain, "Requests_a_text") != base_request_of(plain, "Requests_b_text"), "another file's row"
    assert base_request_of(plain, "Requests_a_b_text") != base_request_of(plain, "Requests_a_text")
    assert base_request_of(plain, "AdvBench_text") != base_request_of(attacked, "FigStep"), "its own intent tells"
