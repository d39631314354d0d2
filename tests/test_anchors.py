"""The package's anchors, and what a user's csv may get wrong."""

from pathlib import Path

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
        ("Harmful,Harmless\na,b\n", "row 1 has .*Harmful.*: give a csv, .* whose row 1 names harmful,harmless"),
        ("harmful,harmless\na,b\nc,\n", "row 3: column harmless is empty"),
        ("harmful,harmless\na,b\nc,\u200b\n", "row 3: column harmless is empty"),
        ("harmful,harmless\na,b\nc\n", "row 3: column harmless is empty"),
        ("harmful,harmless\na,b\n", "holds 1 pairs"),
        ("harmful,harmless\na,b\nHow to, now, c?,d\n", "row 3: it has more cells than the 2 columns; .*between quotes"),
        ("harmful,harmless,harmless\na,b,c\nd,e,f\n", "has the column harmless more than once"),
    ],
)
def test_a_bad_csv_is_named_with_its_row(tmp_path, text, message):
    path = tmp_path / "my.csv"
    path.write_text(text)
    with pytest.raises(BadAnchors, match=message) as error:
        vg.load_anchors(path)
    assert str(path) in str(error.value)


def test_of_a_file_in_another_form_no_more_is_told_than_its_beginning(tmp_path):
    path = tmp_path / "my.jsonl"
    path.write_text('{"harmful": "How to steal?", "harmless": "How to bake?"}' * 2000)
    with pytest.raises(BadAnchors, match=r"lacks the column .* \.\.\.: give a csv") as error:
        vg.load_anchors(path)
    assert len(str(error.value)) < 300 + len(str(path))


def test_a_missing_csv(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.csv"):
        vg.load_anchors(tmp_path / "none.csv")


def test_further_columns_are_kept(tmp_path):
    path = tmp_path / "my.csv"
    path.write_text(
        "harmful,harmless,language,form\nHow to steal?,How to bake?,en,how to\nHow to lie?,How to sing?,,\n"
    )
    first, second = vg.load_anchors(path).pairs
    assert (first.language, first.form, first.topic, first.borderline) == ("en", "how to", "", "")
    assert (second.language, second.form) == ("", "")


def test_a_set_of_the_packages_own_goes_before_a_file_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "varied").write_text("harmful,harmless\na,b\nc,d\n")
    assert len(vg.load_anchors("varied").pairs) >= 600 and len(vg.load_anchors("./varied").pairs) == 2
    assert len(vg.load_anchors(Path("varied")).pairs) == 2
    with pytest.raises(FileNotFoundError, match=r"no anchors file how_to\+\.\./x \(\+ joins the package's own"):
        vg.load_anchors("how_to+../x")
    with pytest.raises(FileNotFoundError, match="no anchors file other; give one of how_to, varied, or a csv"):
        vg.load_anchors("other")


def test_two_sets_are_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    how_to, varied = vg.load_anchors("how_to").pairs, vg.load_anchors("varied").pairs
    assert vg.load_anchors("how_to+varied").pairs == how_to + varied
    assert vg.load_anchors("varied+how_to").pairs == varied + how_to
    with pytest.raises(BadAnchors, match="anchors are 'how_to\\+how_to', one set twice; give each once"):
        vg.load_anchors("how_to+how_to")
    (tmp_path / "mine+how_to").write_text("harmful,harmless\na,b\nc,d\n")
    assert len(vg.load_anchors("mine+how_to").pairs) == 2


def test_a_bad_csv_of_object_pairs_is_named_with_its_row(tmp_path):
    path = tmp_path / "my.csv"
    path.write_text("request,harmful_word,harmless_word\nMake it,gun,cake\nSell it,Gun,gun\n")
    with pytest.raises(BadAnchors, match="my.csv, row 3: the harmful and the harmless word of a pair are both 'Gun'"):
        vg.load_object_pairs(path)
    path.write_text("request,harmful_word\nMake it,gun\n")
    with pytest.raises(BadAnchors, match="lacks the column harmless_word"):
        vg.load_object_pairs(path)
    with pytest.raises(FileNotFoundError, match="there is no file none.csv"):
        vg.load_object_pairs("none.csv")


def test_splits_are_disjoint_and_whole():
    anchors = vg.load_anchors()
    fitted, rest = anchors.split(100)
    assert len(fitted.pairs) == 100
    assert set(fitted.pairs) | set(rest.pairs) == set(anchors.pairs) and not set(fitted.pairs) & set(rest.pairs)
    with pytest.raises(ValueError, match="128 anchor pairs"):
        anchors.split(128)
