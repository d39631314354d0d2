"""MM-Harmful Bench and VLSafe, and what is said of every set that shows pictures or hides requests in them."""

import hashlib
import json
from pathlib import Path

import pytest
from helpers.benchmark_files import paint, read
from helpers.places import original

from vlmguard_plugin.benchmarks import (
    figstep,
    jailbreak_prompts,
    jailbreakv,
    mm_harmful_bench,
    mm_safetybench,
    vlsafe,
)
from vlmguard_plugin.benchmarks.row import SourceMissing

MODULES = (figstep, mm_safetybench, mm_harmful_bench, vlsafe, jailbreakv, jailbreak_prompts)

# MM-Harmful Bench


def test_lines_of_mm_harmful_bench_go_with_pictures_by_number(tmp_path):
    folder = tmp_path / "MM-HarmfulBench"
    for number in (0, 1, 3):
        paint(folder / f"images/{number}.jpg")
    lines = ['{"image_url": "u", "question": "What is this?"}', "{", '{"question": "It?"}', '{"question": "This?"}']
    (folder / "questions.jsonl").write_text("\n".join(lines))
    reading = read(mm_harmful_bench, "MMHarmfulBench", tmp_path)
    assert [(row.id, row.images[0].name) for row in reading.rows] == [("0", "0.jpg"), ("3", "3.jpg")]
    assert reading.rows[1].request == "This?" and reading.rows[0].harmful and reading.rows[0].pair == "0"
    assert [bad.row for bad in reading.bad] == [2, 3]
    assert "is no JSON" in reading.bad[0].reason and "2.jpg is not there" in reading.bad[1].reason
    with pytest.raises(SourceMissing, match="questions.jsonl"):
        read(mm_harmful_bench, "MMHarmfulBench", tmp_path / "absent")


def test_real_mm_harmful_bench():
    source = original("mm_harmful_bench")
    reading = read(mm_harmful_bench, "MMHarmfulBench", source)
    assert len(reading.rows) == len((source / "questions.jsonl").read_text().splitlines()) and not reading.bad


# VLSafe


def write_vlsafe(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_vlsafe_takes_pictures_from_a_folder_or_from_beside_the_file(tmp_path):
    good = {"image_id": "000000000001.jpg", "caption": "A cat.", "query": "What does it eat?"}
    bad = [good | {"image_id": name} for name in ("../cat.jpg", "/cat.jpg", "2.jpg")] + [{"query": "?"}]
    write_vlsafe(tmp_path / "VLSafe/harmlessness_examine.jsonl", good, *bad, good)
    paint(tmp_path / "coco/000000000001.jpg")
    paint(tmp_path / "cat.jpg")
    reading = read(vlsafe, "VLSafe", tmp_path, images=tmp_path / "coco")
    assert [row.id for row in reading.rows] == ["1", "6"]
    row = reading.rows[0]
    assert (row.request, row.shown, row.harmful) == ("What does it eat?", "A cat.", True)
    assert row.images == (tmp_path / "coco/000000000001.jpg",)
    reasons = [bad.reason for bad in reading.bad]
    assert [bad.row for bad in reading.bad] == [2, 3, 4, 5]
    assert "does not lie inside" in reasons[0] and "does not lie inside" in reasons[1]
    assert "is not there" in reasons[2] and "has no image_id" in reasons[3]
    paint(tmp_path / "VLSafe/000000000001.jpg")
    assert len(read(vlsafe, "VLSafe", tmp_path / "VLSafe/harmlessness_examine.jsonl").rows) == 2
    with pytest.raises(SourceMissing, match="absent"):
        read(vlsafe, "VLSafe", tmp_path, images=tmp_path / "absent")
    with pytest.raises(SourceMissing, match="harmlessness_examine"):
        read(vlsafe, "VLSafe", tmp_path / "coco")


# All of them


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_facts_are_filled_in_and_downloads_are_pinned(module):
    for name, benchmark in module.BENCHMARKS.items():
        for fact in ("source", "licence", "harmful", "attack", "judge", "changed"):
            assert getattr(benchmark, fact), f"{name} says nothing about {fact}"
        assert benchmark.kind == "safety" and "source" not in benchmark.options()
        for download in benchmark.downloads:
            commit = download.url.split("/")[5].removesuffix(".zip") if not download.unpack else Path(download.url).stem
            assert len(commit) == 40 and int(commit, 16), f"{download.url} is at no fixed commit"
            assert download.unpack or len(download.sha256) == 64
        assert not benchmark.inside or benchmark.downloads


@pytest.mark.parametrize(
    "module, name, folder",
    [
        (figstep, "FigStep_Benign", "figstep"),
        (mm_safetybench, "MMSafety_text_Tiny", "mm_safetybench"),
        (jailbreak_prompts, "JailbreakPrompts_text", "jailbreak_in_the_wild"),
    ],
)
def test_downloads_are_the_authors_files_and_lie_where_the_reader_looks(tmp_path, module, name, folder):
    benchmark = module.BENCHMARKS[name]
    for download in benchmark.downloads:
        authors_file = original(folder) / download.path.removeprefix("data/")
        if authors_file.is_file():
            assert hashlib.sha256(authors_file.read_bytes()).hexdigest() == download.sha256, download.path
            copy = tmp_path / download.path
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(authors_file.read_bytes())
    assert benchmark.read(benchmark.source_in(tmp_path), **benchmark.fixed).rows
