"""How often a guard's gate fires: heard while answers are given, counted by mark, kept in the facts and shown."""

import csv
import io
import json
from dataclasses import replace

import jsonschema
import numpy
import pandas
import pytest
from helpers.export_boards import DONE
from helpers.page_boards import facts_of, safety
from helpers.tiny_models import tiny_llava, tiny_processor
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.anchors import AnchorPair, Anchors
from vlmguard_plugin.guards.core.composed import ComposedGuard
from vlmguard_plugin.guards.core.gates_heard import hearing_gates
from vlmguard_plugin.hosts.guarded import Meter, answered_under
from vlmguard_plugin.leaderboard import schema_text
from vlmguard_plugin.leaderboard.build import build_board
from vlmguard_plugin.leaderboard.outputs.data import as_json, to_csv
from vlmguard_plugin.leaderboard.outputs.page import to_html
from vlmguard_plugin.leaderboard.outputs.tables import block_table, overall_table
from vlmguard_plugin.leaderboard.outputs.wording import gate_lines
from vlmguard_plugin.runs.facts import RunFacts, facts_file, record
from vlmguard_plugin.runs.gate_counts import added, are_gate_counts, gate_count, without
from vlmguard_plugin.runs.rows import marked_harmful

THINGS = "a cup,oars,it,the old gate,milk,a train,two hats,nine nails,my neighbour's bicycle,cheese".split(",")
ANCHORS = Anchors(tuple(AnchorPair(f"How to steal {thing}?", f"How to paint {thing}?") for thing in THINGS))
GATED = {
    "vlm_guard": {"layers": [1], "gate": "midpoint"},
    "refusal_direction": {"layers": [1], "condition": True},
    "inferaligner": {"layers": [1]},
    "conditional_refusal": {"layers": [2], "conditions": ("text", "blank"), "over_refusal": 0.3, "bounded": False},
}


@pytest.fixture(scope="module")
def subject():
    return vg.HuggingFaceSubject(tiny_llava(), tiny_processor(), batch_size=3)


@pytest.fixture(scope="module")
def queries():
    asked = [*ANCHORS.harmful[:4], *ANCHORS.harmless[:4]]
    return [
        vg.Query(text, (Image.new("RGB", (30, 30), "teal"),) if place % 3 == 0 else ())
        for place, text in enumerate(asked)
    ]


@pytest.fixture(scope="module")
def fitted(subject):
    return {name: vg.build_guard(name, **settings).fit(subject, ANCHORS) for name, settings in GATED.items()}


def beyond(guard, states):
    """By query, whether its unguarded states lie beyond the guard's one gate."""
    (margins,) = guard.gate_margins({"text": states}).values()
    return (margins["text"] > 0).tolist()


@pytest.mark.parametrize("name", GATED)
def test_what_is_heard_is_where_the_states_lie(subject, queries, fitted, name):
    guard = fitted[name]
    expected = beyond(guard, subject.record(queries))
    assert len(set(expected)) == 2, "a gate that is always open or shut would show nothing"
    with hearing_gates(queries) as heard:
        guard.respond(subject, queries, max_new_tokens=2)
    assert heard.fired == expected
    with hearing_gates(queries) as heard:
        guard.respond(subject, queries, max_new_tokens=2, num_beams=2)
    assert heard.fired == expected


def test_a_guard_without_a_gate_and_no_guard_are_not_heard(subject, queries):
    for guard in (vg.build_guard("cmrm", layers=[1]).fit(subject, ANCHORS), vg.build_guard("none")):
        assert not guard.has_gate
        with hearing_gates(queries) as heard:
            guard.respond(subject, queries, max_new_tokens=2)
        assert heard.fired == [None] * len(queries)


@pytest.mark.parametrize("other", ["self_reminder", "cmrm", "ecso", "coca", "visual_prompt"])
def test_in_a_composition_the_query_counts_in_whatever_words(subject, queries, fitted, other):
    """Prompts put around it, another edit beside it, second looks after it, a contrast decoded beside it."""
    beside = vg.build_guard(other).fit(subject, ANCHORS)
    both = ComposedGuard([beside, fitted["vlm_guard"]])
    put = both.guards[0].rewrite if not beside.looks_at_answers else (lambda query: query)
    edits = beside.edits(subject, None) if other == "cmrm" else None
    expected = beyond(fitted["vlm_guard"], subject.record([put(query) for query in queries], edits))
    assert both.has_gate
    with hearing_gates(queries) as heard:
        both.respond(subject, queries, max_new_tokens=2)
    assert heard.fired == expected


def test_the_same_query_twice_counts_twice(subject, queries, fitted):
    guard, twice = fitted["vlm_guard"], [queries[0], queries[0], *queries[1:3]]
    with hearing_gates(twice) as heard:
        guard.respond(subject, twice, max_new_tokens=2)
    assert heard.fired == beyond(guard, subject.record(twice))
    with hearing_gates(queries[:1]) as outer, hearing_gates(queries[1:3]) as inner:
        guard.respond(subject, queries[:3], max_new_tokens=2)
    assert outer.fired == [None] and None not in inner.fired


def test_the_meter_counts_the_rows_that_are_handed_over(subject, queries, fitted):
    guard, meter, marks = fitted["vlm_guard"], Meter(), [1, "1", True, None, 0, "0", False, "0"]
    answered = answered_under(guard, subject, queries, max_new_tokens=2)
    fired = beyond(guard, subject.record(queries))
    assert [answer.text for answer in answered] == guard.respond(subject, queries, max_new_tokens=2)
    for answer, mark in zip(answered, marks):
        meter.count_gate("a set", answer.fired, {"harmful": mark})
    expected = {"harmful": (sum(fired[:3]), 3), "harmless": (sum(fired[4:]), 4), "unmarked": (int(fired[3]), 1)}
    assert meter.spent["a set"].gates == meter.total().gates == expected
    meter.count_gate("b", None, {"harmful": 1})
    assert meter.spent["b"].gates is None and meter.total().gates == expected


def test_counts_are_added_and_taken_away():
    one = added(gate_count(*each) for each in ((True, True), (False, True), (True, False), (None, False)))
    assert one == {"harmful": (1, 2), "harmless": (1, 1)} and gate_count(None, True) is None
    two = {"harmful": [3, 4], "unmarked": [0, 2]}
    both = added([one, None, two])
    assert both == {"harmful": (4, 6), "harmless": (1, 1), "unmarked": (0, 2)} and added([None]) is None
    assert without(both, two) == one and without(one, None) == one and without(one, one) is None
    (line,) = gate_lines({"harmful": (63, 120)}, 120)
    assert line == "gate fired: 52.5% [43.6, 61.2] of 120 harmful" and gate_lines(None, 9) == gate_lines({}, 9) == ()
    assert gate_lines({"harmful": (63, 120)}, 1200)[1:] == ("gate counted on 120 of 1,200 answers",)


@pytest.mark.parametrize(
    "damaged",
    [[], "x", {"harmful": 1}, {"harmful": [1]}, {"harmful": [2, 1]}, {"harmful": [-1, 1]}, {"evil": [0, 1]},
     {"harmful": [True, True]}, {"harmful": [0.5, 1]}, {"harmful": {"0": 1, "1": 1}}, {"harmful": [1, 10**400]}],
)  # fmt: skip
def test_facts_keep_counts_and_refuse_what_are_none(tmp_path, damaged):
    facts = replace(facts_of("m", "vlm_guard"), sessions=(replace(DONE, gates={"harmful": (1, 2)}),))
    again = RunFacts.from_dict(json.loads(json.dumps(facts.to_dict())))
    assert again.sessions[0].gates == {"harmful": [1, 2]} and are_gate_counts(again.sessions[0].gates)
    values = {**facts.to_dict(), "sessions": [{**facts.to_dict()["sessions"][0], "gates": damaged}]}
    with pytest.raises(ValueError, match="gates of a session is"):
        RunFacts.from_dict(values)


def test_the_board_shows_them_beside_the_name(tmp_path):
    safety(tmp_path, "vlm", "Set", 20, facts=facts_of("vlm"))
    path = safety(tmp_path, "vlm_vlmguard", "Set", 5, facts=facts_of("vlm_vlmguard", "vlm_guard"))
    for gates in ({"harmful": (20, 25), "harmless": (0, 15)}, {"harmful": (2, 5)}):  # a run that went on
        record(
            facts_file(path),
            facts_of("vlm_vlmguard", "vlm_guard"),
            replace(DONE, gates=gates, started=str(gates)),
            True,
        )
    board = build_board([tmp_path])
    lines = ("gate fired: 73.3% [55.6, 85.8] of 30 harmful", "gate fired: 0.0% [0.0, 20.4] of 15 harmless")
    short = ("gate, of 30 harmful:", "73.3% [55.6, 85.8]", "gate, of 15 harmless:", "0.0% [0.0, 20.4]")
    for table in (block_table(board, board.blocks[0]), overall_table(board)):
        cells = {row[0][0]: row[0] for row in table.rows}
        assert set(short) <= set(cells["vlm_vlmguard"]) and not any("gate" in line for line in cells["vlm"])
    values = as_json(board)
    counted = {"harmful": {"fired": 22, "decided": 30}, "harmless": {"fired": 0, "decided": 15}}
    by_model = {entry["model"]: entry["run"]["gates"] for entry in values["datasets"][0]["entries"]}
    assert by_model == {"vlm": None, "vlm_vlmguard": counted} and values["overall"][1]["gates"] == counted
    jsonschema.Draft202012Validator(json.loads(schema_text())).validate(values)
    rows = [row for row in csv.DictReader(io.StringIO(to_csv(board))) if row["model"] == "vlm_vlmguard"]
    assert {(row["gate_fired_harmful"], row["gate_decided_harmless"], row["gate_fired_unmarked"]) for row in rows} == {
        ("22", "15", "")
    }
    page = to_html(board)
    assert page.count(lines[0]) == 2 and page.count(lines[1]) == 2


def test_a_run_that_went_on_under_other_settings_has_no_rate_of_a_gate(tmp_path):
    for model, guard in (("vlm", None), ("vlm_vlmguard", "vlm_guard")):
        path = safety(tmp_path, model, "Set", 20, facts=facts_of(model, guard))
    for alpha in (1, 2):
        record(facts_file(path), facts_of(model, guard, alpha=alpha), replace(DONE, gates={"harmful": (1, 9)}), True)
    assert [entry.origin.gates for entry in build_board([tmp_path]).blocks[0].entries] == [None, None]


def test_parts_of_a_set_show_no_counts_of_the_whole(tmp_path):
    for model, guard in (("vlm", None), ("vlm_vlmguard", "vlm_guard")):
        path = safety(tmp_path, model, "Set", 20, facts=facts_of(model, guard))
        path.write_text(path.read_text().replace("blank", "word", 10))
        record(
            facts_file(path), facts_of(model, guard), replace(DONE, gates={"harmful": (1, 30)} if guard else None), True
        )
    board = build_board([tmp_path])
    assert len(board.blocks) == 2
    lines = list(csv.DictReader(io.StringIO(to_csv(board))))
    assert {line["gate_decided_harmful"] for line in lines if line["kind"] == "safety"} == {""}
    for block in board.blocks:
        assert not any("gate fired" in line for row in block_table(board, block).rows for line in row[0])
    assert to_html(board).count("gate fired") == 1


@pytest.mark.parametrize(
    "row, harmful",
    [({"harmful": 1}, True), ({"harmful": "0"}, False), ({"harmful": 1.0}, True), ({"harmful": False}, False),
     ({"harmful": numpy.int64(1)}, True), (pandas.Series({"harmful": 0.0}), False), (pandas.Series({"a": 1}), None),
     ({"harmful": float("nan")}, None), ({"harmful": numpy.zeros(2)}, None), ({"harmful": ["1"]}, None),
     ({"harmful": "safe"}, None), ({}, None), ("a text", None), (None, None)],
)  # fmt: skip
def test_the_mark_of_a_row_of_whatever_kind(row, harmful):
    """Documents of a host's own tasks are anything."""
    assert marked_harmful(row) is harmful
