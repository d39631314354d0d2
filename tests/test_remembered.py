"""States that are recorded once for several guards."""

import pytest
import torch
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.subjects.remembered import states_remembered


def test_a_query_is_recorded_once_whoever_asks(subject, monkeypatch):
    """Also where an equal picture is drawn anew; another picture, history or beginning is another query."""
    seen = []
    own = type(subject).record
    monkeypatch.setattr(
        type(subject),
        "record",
        lambda self, queries, *of, **how: seen.extend(queries) or own(self, queries, *of, **how),
    )
    red, blue = (lambda colour=colour: Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    queries = [vg.Query("How?"), vg.Query("How?", (red(),)), vg.Query("How?", (blue(),)), vg.Query("How?", begun="So")]
    right = own(subject, queries)
    with states_remembered(subject):
        torch.testing.assert_close(subject.record(queries), right)
        assert len(seen) == 4
        again = subject.record([vg.Query("How?", (red(),)), vg.Query("Why?"), vg.Query("How?", begun="So")])
        torch.testing.assert_close(again[[0, 2]], right[[1, 3]])
        assert len(seen) == 5 and seen[-1].text == "Why?"
        assert subject.record([]).shape == (0, *right.shape[1:])
    subject.record(queries[:1])
    assert len(seen) == 6


def test_pictures_with_other_colours_of_the_same_numbers_are_others(subject):
    """A palette of its own, or a camera's note that it lies on its side."""
    pictures = [Image.new("P", (8, 8), 0) for _ in range(2)]
    for picture, colour in zip(pictures, ((255, 0, 0), (0, 0, 255))):
        picture.putpalette(colour)
    pictures += [Image.linear_gradient("L").convert("RGB") for _ in range(2)]
    pictures[3].getexif()[0x0112] = 6
    queries = [vg.Query("How?", (picture,)) for picture in pictures]
    right = torch.cat([subject.record([query]) for query in queries])
    with states_remembered(subject):
        torch.testing.assert_close(subject.record(queries), right)
    assert not torch.allclose(right[0], right[1]) and not torch.allclose(right[2], right[3])


def test_what_is_recorded_under_a_guard_is_not_kept(subject, anchors):
    guard = vg.build_guard("cmrm", alpha=5.0).fit(subject, anchors)
    queries = [vg.Query("How?", (Image.new("RGB", (8, 8), "red"),))]
    right = subject.record(queries)
    with states_remembered(subject):
        with guard.on(subject, queries):
            assert not torch.allclose(subject.record(queries), right)
        edited = subject.record(queries, guard.edits(subject, queries))
        assert not torch.allclose(edited, right)
        torch.testing.assert_close(subject.record(queries), right)
    with pytest.raises(ValueError), states_remembered(subject):
        raise ValueError
    assert "record" not in vars(subject)
