"""The package's anchors, and what a user's csv may get wrong."""

import pytest

import vlmguard_plugin as vg
from vlmguard_plugin.anchors import BadAnchors


def test_the_packages_own_anchors():
    anchors = vg.load_anchors()
    assert len(anchors.pairs) >= 100
    requests = anchors.harmful + anchors.harmless
    assert len({request.lower() for request in requests}) == len(requests)
    assert all(request.startswith("How to ") and request.endswith("?") for request in requests)
    assert len({pair.topic for pair in anchors.pairs}) >= 10


def test_a_users_csv(tmp_path):
    path = tmp_path / "my.csv"
    path.write_text('harmless,harmful,more\n"How to bake, well?",How to steal?,x\nHow to sing?,How to lie?,y\n')
    anchors = vg.load_anchors(path)
    assert anchors.harmful == ["How to steal?", "How to lie?"] and anchors.harmless[0] == "How to bake, well?"
    assert anchors.sha256 != vg.load_anchors().sha256


@pytest.mark.parametrize(
    "text, message",
    [
        ("harmful,benign\na,b\nc,d\n", "lacks the column harmless"),
        ("", "lacks the column harmful and harmless"),
        ("harmful,harmless\na,b\nc,\n", "row 3: column harmless is empty"),
        ("harmful,harmless\na,b\nc\n", "row 3: column harmless is empty"),
        ("harmful,harmless\na,b\n", "holds 1 pairs"),
    ],
)
def test_a_bad_csv_is_named_with_its_row(tmp_path, text, message):
    path = tmp_path / "my.csv"
    path.write_text(text)
    with pytest.raises(BadAnchors, match=message) as error:
        vg.load_anchors(path)
    assert str(path) in str(error.value)


def test_a_missing_csv(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.csv"):
        vg.load_anchors(tmp_path / "none.csv")


def test_splits_are_disjoint_and_whole():
    anchors = vg.load_anchors()
    fitted, rest = anchors.split(100)
    assert len(fitted.pairs) == 100
    assert set(fitted.pairs) | set(rest.pairs) == set(anchors.pairs) and not set(fitted.pairs) & set(rest.pairs)
    with pytest.raises(ValueError, match="128 anchor pairs"):
        anchors.split(128)
