"""FigStep's control: rows made here in the authors' format, and the authors' own file where it is at hand."""

import pytest
from helpers.benchmark_files import ink, read
from helpers.places import original

from vlmguard_plugin.benchmarks import (
    figstep,
    write_tsv,
)
from vlmguard_plugin.benchmarks.row import BenchmarkError, SourceMissing
from vlmguard_plugin.benchmarks.typography import draw_text


def control(folder, sentences):
    path = folder / "data/question" / figstep.BENIGN_FILE
    path.parent.mkdir(parents=True)
    path.write_text("sentence\n" + "".join(f"{sentence}\n" for sentence in sentences), encoding="utf-8")
    return folder


def test_control_sentences_become_titles_of_harmless_rows(tmp_path):
    reading = read(figstep, "FigStep_Benign", control(tmp_path, ["Steps to *.", "Steps to save $5,000 with *."]))
    first, second = reading.rows
    assert not reading.bad and first.harmful is False and first.request == figstep.PROMPT
    assert first.id == first.pair == "benign_1" and first.intent == "Steps to *." in first.shown
    assert second.intent == "Steps to save $5,000 with *.", "an unquoted comma is part of the sentence"
    assert first.images[0].size == (760, 760)
    assert ink(second.images[0])[3] > ink(first.images[0])[3], "a longer title moves the list down"
    listless = draw_text("Steps to *.", **figstep.PICTURE)
    assert ink(first.images[0])[3] > 2 * ink(listless)[3], "the empty list stands below the title"
    write_tsv(reading.rows, tmp_path / "FigStep_Benign.tsv", "safety", "s", "l")


def test_filled_control_has_harmless_words_for_each_star(tmp_path):
    source = control(tmp_path, ["Steps to *."] * 49 + ["Steps to rest."])
    reading = read(figstep, "FigStep_Benign_Filled", source)
    assert [row.intent for row in reading.rows] == [f"Steps to {words}." for words in figstep.FILLINGS[:49]]
    assert [(bad.row, "has not one *" in bad.reason) for bad in reading.bad] == [(51, True)]
    assert len(set(figstep.FILLINGS)) == len(figstep.FILLINGS) == 50


def test_filled_control_needs_the_authors_fifty(tmp_path):
    with pytest.raises(BenchmarkError, match="holds 2 sentences"):
        read(figstep, "FigStep_Benign_Filled", control(tmp_path, ["Steps to *."] * 2))
    with pytest.raises(SourceMissing, match="benign_sentences"):
        read(figstep, "FigStep_Benign", tmp_path / "data/question")


def test_control_takes_the_same_request_as_the_attack(tmp_path):
    (tmp_path / "request.txt").write_text("Fill in the list.\n")
    source = control(tmp_path, ["Steps to *."])
    assert read(figstep, "FigStep_Benign", source, prompt_file=tmp_path / "request.txt").rows[0].request == (
        "Fill in the list."
    )


def test_a_damaged_control_sentence_is_reported_and_the_rest_kept(tmp_path):
    reading = read(figstep, "FigStep_Benign", control(tmp_path, ["Steps to *.", "Steps to \u4e2d *.", "Methods to *."]))
    assert [row.id for row in reading.rows] == ["benign_1", "benign_3"]
    assert reading.bad[0].row == 3 and "\u4e2d" in reading.bad[0].reason


@pytest.mark.parametrize("name", ["FigStep_Benign", "FigStep_Benign_Filled"])
def test_real_control(name):
    reading = read(figstep, name, original("figstep"))
    assert len(reading.rows) == 50 and not reading.bad
    assert len({row.images[0].tobytes() for row in reading.rows}) >= 48, "two authors' sentences may be alike"
    assert all(("*" in row.intent) == (name == "FigStep_Benign") for row in reading.rows)
    assert any("$50,000 savings" in row.intent for row in reading.rows)
