"""The rows that VLMEvalKit asks for are found in its data set, whatever it leaves out, repeats or can't build."""

import random

import numpy
import pandas
import pytest

from vlmguard_plugin.hosts.vlmeval.model import GuardedVLM
from vlmguard_plugin.hosts.vlmeval.rows_ahead import RowsAhead
from vlmguard_plugin.query import Query

pytestmark = pytest.mark.host


class Rows:
    """A set of texts as the host would have it; a text "!" can't be built, and "?" comes out otherwise each time."""

    def __init__(self, texts, marks=None):
        self.data = pandas.DataFrame({"question": list(texts), "harmful": marks or [1] * len(texts)})
        self.built = 0

    def dump_image(self, line):
        return []

    def build_prompt(self, line):
        self.built += 1
        if line["question"] == "!":
            raise RuntimeError("no prompt")
        text = f"? {self.built}" if line["question"] == "?" else line["question"]
        return [{"type": "text", "value": text}]


def ahead(texts, marks=None):
    rows = Rows(texts, marks)
    return RowsAhead(rows.dump_image), rows


def row_of(rows, query):
    """The next row with this request."""
    return rows.rows_from(query, 1)[0].row


def marks_of(rows):
    return [None if row.row is None else int(row.row["harmful"]) for row in rows]


def test_rows_left_out_and_asked_for_again():
    rows, data = ahead("abcdef", [0, 1, 0, 1, 0, 1])
    found = rows.rows_from(Query("c"), 2)
    assert [row.query.text for row in found] == ["c", "d"] and marks_of(found) == [0, 1]
    assert marks_of(rows.rows_from(Query("d"), 9)) == [1, 0, 1] and data.built == 6
    assert int(row_of(rows, Query("b"))["harmful"]) == 1, "an earlier one again"
    assert row_of(rows, Query("z")) is None and int(row_of(rows, Query("e"))["harmful"]) == 0


def test_equal_rows_are_taken_in_order_with_their_own_marks():
    rows, _ = ahead("aaaaba", [0, 1, 0, 1, 1, 0])
    taken = [int(row_of(rows, Query(text))["harmful"]) for text in "aaaaba"]
    assert taken == [0, 1, 0, 1, 1, 0]


def test_a_row_that_never_comes_out_the_same_costs_no_other_its_mark():
    rows, data = ahead("a?bcd")
    assert [row_of(rows, Query(text)) is not None for text in ("a", "? other", "b", "c", "d")] == [1, 0, 1, 1, 1]
    assert data.built == 5, "each once"


def test_rows_behind_one_that_can_not_be_built_are_answered_alone():
    rows, _ = ahead("ab!cd")
    assert marks_of(rows.rows_from(Query("a"), 9)) == [1, 1]
    assert rows.rows_from(Query("c"), 9) == [(Query("c"), None)]


class Draws(Rows):
    """A set whose prompts hold a number drawn by random, and one drawn by numpy."""

    def build_prompt(self, line):
        drawn = f"{random.random():.6f} {numpy.random.rand():.6f}"
        return [{"type": "text", "value": f"{line['question']} {drawn}"}]


def test_looking_ahead_changes_nothing_that_a_set_draws():
    def drawn(looks_ahead):
        random.seed(0), numpy.random.seed(0)
        data = Draws("abcd")
        rows = RowsAhead(data.dump_image)
        said = []
        for place in range(4):
            said.append(data.build_prompt(data.data.iloc[place])[0]["value"])
            if looks_ahead:
                assert len(rows.rows_from(Query(said[-1]), 4)) >= 1
        return said

    assert drawn(True) == drawn(False) and len(set(drawn(True))) == 4


class Guarded:
    """What GuardedVLM asks of a GuardedModel, with answers that say in which batch they were given."""

    def __init__(self, subject, meter):
        self.subject, self.meter, self.batches = subject, meter, []

    def respond_each(self, queries, dataset, early):
        from vlmguard_plugin.hosts.guarded import Answered

        self.batches.append([query.text for query in queries])
        return [Answered(query.text.upper(), query.text in "bd") for query in queries]


def model_of_four():
    """A GuardedVLM that answers four requests in a batch."""
    from types import SimpleNamespace

    from vlmguard_plugin.hosts.guarded import Meter

    model = GuardedVLM.__new__(GuardedVLM)
    model.guarded = Guarded(SimpleNamespace(batch_size=4), Meter())
    return model


def test_a_gate_is_counted_when_the_host_asks_for_the_row_once_a_row():
    """Rows that were answered ahead and are never asked for do not count; equal ones do, each by its mark."""
    model = model_of_four()
    data = Rows("abbbcdef", [0, 0, 1, 0, 1, 1, 1, 1])
    model.set_dump_image(data.dump_image)
    asked = "abbbd"
    answers = [model.generate_inner([{"type": "text", "value": text}], "set") for text in asked]
    assert answers == list(asked.upper()) and model.guarded.batches == [["a", "b"], ["d", "e", "f"]]
    assert model.meter.spent["set"].gates == {"harmful": (2, 2), "harmless": (2, 3)}


def test_a_request_is_answered_once_a_data_set():
    """In whatever order the host asks; under another set's name, which may say how pictures are read, anew."""
    model = model_of_four()
    model.set_dump_image(Rows("abcdea").dump_image)
    for text in "fecabb":
        assert model.generate_inner([{"type": "text", "value": text}], "set") == text.upper()
    assert model.guarded.batches == [["f"], ["e", "a"], ["c", "d"], ["b"]]
    model.generate_inner([{"type": "text", "value": "e"}], "other set")
    assert model.guarded.batches[4:] == [["e", "a"]]
