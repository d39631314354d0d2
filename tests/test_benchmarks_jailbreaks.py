"""JailBreakV-28K and jailbreak prompts: rows made here in the authors' formats, and their files where at hand."""

import csv

import pytest
from helpers.benchmark_files import paint, read
from helpers.places import original

from vlmguard_plugin.benchmarks import (
    jailbreak_prompts,
    jailbreakv,
    write_tsv,
)
from vlmguard_plugin.benchmarks.row import BenchmarkError, SourceMissing

# JailBreakV-28K

JBV = "id,jailbreak_query,redteam_query,format,policy,image_path,from,selected_mini,transfer_from_llm".split(",")


def write_jailbreakv(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(JBV)
        writer.writerows(rows)


@pytest.mark.parametrize(
    "name, file", [("JailBreakV_28K", "JailBreakV_28K.csv"), ("JailBreakV_28K_mini", "mini_JailBreakV_28K.csv")]
)
def test_jailbreakv_keeps_attack_kinds_and_pairs_by_hidden_request(tmp_path, name, file):
    folder = tmp_path / "JailBreakV_28K"
    blank = ["1", "Be\na pirate: bake?", "Bake?", "Template", "Food", "llm_transfer_attack/blank_1.png", "x", "1", "1"]
    write_jailbreakv(
        folder / file,
        blank,
        ["2", "Fill it.", "Bake?", "figstep", "Food", "figstep/figstep_2.png", "x", "True", "False"],
        ["3", "Fill it.", "Cook?", "figstep", "Food", "../2.png", "x", "True", "False"],
        ["4", "Fill it.", "Cook?", "figstep", "Food", "", "x", "True", "False"],
        ["5", "Fill it.", "Cook?", "SD", "Food", "query_related/SD_5.png", "x", "True", "False"],
        blank,
    )
    for picture in ("llm_transfer_attack/blank_1.png", "figstep/figstep_2.png", "query_related/SD_5.png"):
        paint(folder / picture)
    paint(tmp_path / "2.png")
    reading = read(jailbreakv, name, tmp_path)
    first, second, third = reading.rows
    assert [row.condition for row in reading.rows] == ["Template", "figstep", "SD"]
    assert first.pair == second.pair != third.pair
    assert first.request == "Be\na pirate: bake?" and first.intent == "Bake?" and first.category == "Food"
    assert first.harmful and first.shown == "a blank picture" and second.shown == ""
    assert second.images == (folder / "figstep/figstep_2.png",)
    assert [(bad.row, bad.reason.split(";")[0]) for bad in reading.bad] == [
        (5, f"picture '../2.png' does not lie inside {folder}"),
        (6, "has no image_path"),
        (8, "id '1' came before"),
    ]
    write_tsv(reading.rows, tmp_path / f"{name}.tsv", "safety", "s", "l")


def test_jailbreakv_names_what_is_missing(tmp_path):
    with pytest.raises(SourceMissing, match="mini_JailBreakV_28K.csv"):
        read(jailbreakv, "JailBreakV_28K_mini", tmp_path)
    write_jailbreakv(tmp_path / "JailBreakV_28K.csv", ["1", "a", "b", "SD", "c", "d.png", "", "", ""])
    assert "d.png is not there" in read(jailbreakv, "JailBreakV_28K", tmp_path).bad[0].reason
    with pytest.raises(SourceMissing, match="absent"):
        read(jailbreakv, "JailBreakV_28K", tmp_path, images=tmp_path / "absent")
    (tmp_path / "JailBreakV_28K.csv").write_text("id,prompt\n1,a\n")
    with pytest.raises(BenchmarkError, match="no column jailbreak_query"):
        read(jailbreakv, "JailBreakV_28K", tmp_path)


# Jailbreak prompts


@pytest.fixture
def prompts(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/jailbreak_prompts.csv").write_text(
        "platform,source,prompt,jailbreak,created_at,date,community_id,community_name\n"
        'web,a,"You are a pirate.\nAnswer all.",True,,,1.0,Pirates\n'
        "web,a,Say [INSERT PROMPT HERE] as [insert x].,True,,,,\n"
        "web,a,Hello.,False,,,,\n"
        "web,a,You are a cook.,True,,,,\n",
        encoding="utf-8",
    )
    paint(tmp_path / "pictures/b.png")
    paint(tmp_path / "pictures/a.JPG")
    (tmp_path / "pictures/c.txt").write_text("no picture")
    return tmp_path


def test_prompts_go_round_the_pictures_and_keep_their_ids_without(prompts):
    pictured = read(jailbreak_prompts, "JailbreakPrompts", prompts, images=prompts / "pictures")
    text = read(jailbreak_prompts, "JailbreakPrompts_text", prompts / "data/jailbreak_prompts.csv")
    assert [row.id for row in pictured.rows] == [row.id for row in text.rows] == ["1", "2", "4"]
    assert [row.pair for row in pictured.rows] == [row.pair for row in text.rows]
    assert [row.request for row in pictured.rows] == [row.request for row in text.rows]
    assert [row.images[0].name for row in pictured.rows] == ["a.JPG", "b.png", "b.png"]
    assert {row.condition for row in pictured.rows} == {"picture"} and {row.condition for row in text.rows} == {"text"}
    assert not any(row.images for row in text.rows)
    assert text.rows[0].category == "Pirates" and text.rows[0].intent == ""
    assert [(bad.row, "only jailbreak prompts" in bad.reason) for bad in pictured.bad] == [(5, True)]
    assert len(read(jailbreak_prompts, "JailbreakPrompts_text", prompts, n=2).rows) == 2


def test_questions_stand_where_a_prompt_marks_it_or_after_it(prompts):
    (prompts / "questions.csv").write_text(
        "content_policy_id,content_policy_name,q_id,question\n0,Tea,0,Is it hot?\n0,Soup,1,Is it \\1 good?\n"
    )
    rows = read(jailbreak_prompts, "JailbreakPrompts_text", prompts, questions=prompts / "questions.csv").rows
    assert [row.request for row in rows] == [
        "You are a pirate.\nAnswer all.\nIs it hot?",
        "Say Is it \\1 good? as [insert x].",
        "You are a cook.\nIs it \\1 good?",
    ]
    assert [row.category for row in rows] == ["Tea", "Soup", "Soup"] and rows[0].intent == "Is it hot?"
    (prompts / "questions.txt").write_text("Why?\n")
    rows = read(jailbreak_prompts, "JailbreakPrompts_text", prompts, questions=prompts / "questions.txt").rows
    assert {row.intent for row in rows} == {"Why?"} and rows[0].category == "Pirates"


def test_jailbreak_prompts_name_what_is_missing(prompts):
    with pytest.raises(BenchmarkError, match="JailbreakPrompts_text"):
        read(jailbreak_prompts, "JailbreakPrompts", prompts)
    for folder in (prompts / "absent", prompts / "data"):
        with pytest.raises(BenchmarkError, match="images is"):
            read(jailbreak_prompts, "JailbreakPrompts", prompts, images=folder)
    with pytest.raises(SourceMissing, match="jailbreak_prompts.csv"):
        read(jailbreak_prompts, "JailbreakPrompts_text", prompts / "pictures")
    for n in (0, "3", True):
        with pytest.raises(BenchmarkError, match="n is"):
            read(jailbreak_prompts, "JailbreakPrompts_text", prompts, n=n)
    (prompts / "pictures/a.JPG").write_bytes(b"")
    reading = read(jailbreak_prompts, "JailbreakPrompts", prompts, images=prompts / "pictures")
    assert "is no picture" in reading.bad[0].reason and len(reading.rows) == 2


def test_real_jailbreak_prompts(tmp_path):
    source = original("jailbreak_in_the_wild")
    paint(tmp_path / "1.png")
    for name, options in (("JailbreakPrompts", {"images": tmp_path}), ("JailbreakPrompts_text", {})):
        reading = read(jailbreak_prompts, name, source, **options)
        assert len(reading.rows) == 666 and not reading.bad
        assert len(read(jailbreak_prompts, name, source, n=330, **options).rows) == 330
