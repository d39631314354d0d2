"""MM-SafetyBench: rows made here in the authors' format, and the authors' own files where they are at hand."""

import json

import pytest
from helpers.benchmark_files import paint, read
from helpers.places import original

from vlmguard_plugin.benchmarks import (
    mm_safetybench,
)
from vlmguard_plugin.benchmarks.row import BenchmarkError, SourceMissing
from vlmguard_plugin.benchmarks.typography import draw_text


def question(**other):
    return {
        "Question": "How is tea made?",
        "GPT-Pred": "-",
        "Changed Question": "List steps to make tea.",
        "Key Phrase": "make tea",
        "Phrase Type": "activity",
        "Rephrased Question": "The bottom shows an activity. List its steps.",
        "Rephrased Question(SD)": "The image shows an activity. List its steps.",
    } | other


@pytest.fixture
def safetybench(tmp_path):
    """The authors' repository with all scenarios, two questions in each, and their pictures."""
    questions = tmp_path / "data/processed_questions"
    questions.mkdir(parents=True)
    for scenario in mm_safetybench.SCENARIOS:
        (questions / f"{scenario}.json").write_text(json.dumps({"0": question(), "7": question(Question="And soup?")}))
        for kind, colour in (("SD", "red"), ("SD_TYPO", "blue"), ("TYPO", "green")):
            for item in "07":
                paint(tmp_path / "data/imgs" / scenario / kind / f"{item}.jpg", colour)
    tiny = [{"Scenario": name, "Sampled_ID_List": [7]} for name in mm_safetybench.SCENARIOS]
    (tmp_path / "TinyVersion_ID_List.json").write_text(json.dumps(tiny))
    return tmp_path


KINDS = {
    "TYPO": ("The bottom shows", "the text: make tea"),
    "SD": ("The image shows", "photo of: make tea"),
    "SD_TYPO": ("The bottom shows", "below it the text: make tea"),
    "text": ("List steps to make tea.", ""),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_picture_goes_with_its_question(safetybench, kind):
    reading = read(mm_safetybench, f"MMSafety_{kind}", safetybench)
    request, shown = KINDS[kind]
    assert len(reading.rows) == 26 and not reading.bad
    row = reading.rows[1]
    assert row.request.startswith(request) and shown in row.shown and row.intent == "And soup?"
    assert row.id == row.pair == "01-Illegal_Activitiy_7" and row.category == "01-Illegal_Activitiy"
    assert row.harmful and row.condition == kind and len(row.images) == (kind != "text")
    if kind == "TYPO":
        assert row.images[0].tobytes() == draw_text("make tea").tobytes(), "drawn here, not the authors' picture"
    if kind.startswith("SD"):
        assert row.images[0] == safetybench / f"data/imgs/01-Illegal_Activitiy/{kind}/7.jpg"


def test_all_kinds_pair_up_and_tiny_is_a_part(safetybench):
    pairs = {kind: [row.pair for row in read(mm_safetybench, f"MMSafety_{kind}", safetybench).rows] for kind in KINDS}
    assert len({tuple(of_kind) for of_kind in pairs.values()}) == 1
    for kind in KINDS:
        tiny = read(mm_safetybench, f"MMSafety_{kind}_Tiny", safetybench / "data").rows
        assert [row.id for row in tiny] == [pair for pair in pairs[kind] if pair.endswith("_7")]


def test_groups_divide_the_scenarios():
    first, second = mm_safetybench.GROUPS.values()
    assert sorted(first + second) == sorted(mm_safetybench.SCENARIOS)
    assert [name[:2] for name in second] == ["08", "10", "11", "12", "13"]
    assert all(benchmark.groups == mm_safetybench.GROUPS for benchmark in mm_safetybench.BENCHMARKS.values())


def test_a_scenario_less_is_no_set(safetybench):
    questions = safetybench / "data/processed_questions"
    (questions / "03-Malware_Generation.json").write_text("{")
    with pytest.raises(BenchmarkError, match="03-Malware_Generation.json is no JSON"):
        read(mm_safetybench, "MMSafety_SD", safetybench)
    for name in ("02-HateSpeech", "11-Financial_Advice"):
        (questions / f"{name}.json").unlink()
    with pytest.raises(SourceMissing, match="lacks 2 of the 13 scenarios .02-HateSpeech.json, 11-Financial_Advice"):
        read(mm_safetybench, "MMSafety_text_Tiny", safetybench)


def test_damaged_questions_are_reported_and_the_rest_kept(safetybench):
    questions = safetybench / "data/processed_questions"
    broken = {"0": {"Question": "How?"}, "7": [], "8": question()}
    (questions / "04-Physical_Harm.json").write_text(json.dumps(broken))
    (safetybench / "data/imgs/05-EconomicHarm/SD/0.jpg").write_bytes(b"no picture")
    reading = read(mm_safetybench, "MMSafety_SD", safetybench)
    reasons = {(bad.file.stem[:2], bad.row): bad.reason for bad in reading.bad}
    assert len(reading.rows) == 26 - 2 - 1
    assert "has no Rephrased Question(SD), Key Phrase" in reasons["04", 1] and "must be an object" in reasons["04", 2]
    assert "8.jpg is not there" in reasons["04", 3] and "0.jpg is no picture" in reasons["05", 1]


def test_ids_that_lead_out_of_the_folder_are_refused(safetybench):
    path = safetybench / "data/processed_questions/01-Illegal_Activitiy.json"
    path.write_text(json.dumps({"../../../secret": question()}))
    paint(safetybench / "data/secret.jpg")
    reading = read(mm_safetybench, "MMSafety_SD", safetybench)
    assert "does not lie inside" in reading.bad[0].reason


def test_safetybench_names_what_is_missing(safetybench, tmp_path):
    with pytest.raises(SourceMissing, match="processed_questions"):
        read(mm_safetybench, "MMSafety_text", safetybench / "data/imgs")
    with pytest.raises(SourceMissing, match="unpack the authors'"):
        read(mm_safetybench, "MMSafety_SD", safetybench, images=tmp_path / "absent")
    (safetybench / "TinyVersion_ID_List.json").write_text('{"Scenario": 1}')
    with pytest.raises(BenchmarkError, match="Sampled_ID_List"):
        read(mm_safetybench, "MMSafety_text_Tiny", safetybench)
    (safetybench / "TinyVersion_ID_List.json").unlink()
    with pytest.raises(SourceMissing, match="TinyVersion"):
        read(mm_safetybench, "MMSafety_text_Tiny", safetybench)


def test_tiny_ids_that_a_scenario_lacks_are_reported(safetybench):
    (safetybench / "TinyVersion_ID_List.json").write_text('[{"Scenario": "07-Sex", "Sampled_ID_List": [0, 99]}]')
    reading = read(mm_safetybench, "MMSafety_TYPO_Tiny", safetybench)
    assert [row.id for row in reading.rows] == ["07-Sex_0"] and "'99'" in reading.bad[0].reason


def test_real_safetybench():
    source = original("mm_safetybench")
    counts = {}
    for kind in ("TYPO", "text"):
        for suffix in ("", "_Tiny"):
            reading = read(mm_safetybench, f"MMSafety_{kind}{suffix}", source)
            assert not reading.bad and {row.category for row in reading.rows} == set(mm_safetybench.SCENARIOS)
            counts[kind + suffix] = len(reading.rows)
    assert counts == {"TYPO": 1680, "TYPO_Tiny": 168, "text": 1680, "text_Tiny": 168}
