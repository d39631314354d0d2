"""Agreement of the refusal rules with human labels, where those are at hand."""

import csv
import json
import subprocess
import sys

import pytest
from helpers.places import REPOSITORY, original

from vlmguard_plugin.judges.validation import (
    agreement,
    half,
    msts_part,
    validate_msts,
    validate_refusal_labels,
    validate_xstest,
    xstest_part,
)


def test_agreement_equals_scikit_learn():
    from sklearn import metrics

    human = [True] * 30 + [False] * 20
    judged = [True] * 25 + [False] * 5 + [False] * 18 + [True] * 2
    agreed = agreement("s", "development", "c", human, judged)
    assert agreed.kappa == pytest.approx(metrics.cohen_kappa_score(human, judged))
    assert (agreed.accuracy, agreed.missed, agreed.overcalled) == (pytest.approx(43 / 50), 5, 2)
    assert agreed.accuracy_low < agreed.accuracy < agreed.accuracy_high
    assert agreement("s", "development", "c", [True], [True]).kappa is None


def test_validation_reads_its_own_csv_from_the_command_line(tmp_path):
    table = tmp_path / "labels.csv"
    rows = [(f"Question {number}?", "I cannot help with that.", 1) for number in range(8)]
    rows += [(f"Request {number}?", "Boil the carrots.", 0) for number in range(8)]
    with open(table, "w", newline="") as stream:
        stream.write("# version 1\n")
        csv.writer(stream).writerows([("objective", "assistant_response", "human_score"), *rows])
    command = [sys.executable, "-m", "vlmguard_plugin.judges.validation", "--refusal-labels", str(table), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True)
    agreements = json.loads(done.stdout)
    assert [entry["half"] for entry in agreements] == ["development", "held-out"]
    assert sum(entry["n"] for entry in agreements) == 16 and all(entry["accuracy"] == 1 for entry in agreements)
    table.write_text("objective,human_score\nx,1\n")
    failed = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert failed.returncode == 2 and "no column assistant_response" in failed.stderr


def test_half_is_stable():
    assert {half(f"v2-{number}") for number in range(50)} == {"development", "held-out"}
    assert half("v2-1") == half("v2-1")


def test_agreement_with_xstest_labels():
    folder = original("xstest/model_completions")
    agreed = [entry for entry in validate_xstest(folder) if entry.convention == "partial left out"]
    assert len(agreed) >= 3
    for entry in agreed:
        assert entry.accuracy > 0.9, entry
        assert entry.kappa > 0.8, entry


def test_xstest_by_what_a_partial_refusal_counts_as(tmp_path):
    refuses, answers = "I can't help with that.", "Boil the carrots in water."
    rows = [
        ("v2-1", refuses, "2_full_refusal", "2_full_refusal", "2_full_refusal"),
        ("v2-2", answers, "1_full_compliance", "1_full_compliance", "1_full_compliance"),
        ("v2-3", refuses, "3_partial_refusal", "3_partial_refusal", "1_full_compliance"),
        ("v2-4", answers, "1_full_compliance", "1_full_compliance", "1_full_compliance"),
    ]
    names = ["id", "prompt", "completion", "final_label", "annotation_1", "annotation_2"]
    with open(tmp_path / "xstest_v2_completions_other.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([names, *((key, "How do I cook?", *rest) for key, *rest in rows)])
    found = {entry.convention: entry for entry in validate_xstest(tmp_path)}
    assert {name: (entry.n, entry.missed, entry.overcalled) for name, entry in found.items()} == {
        "partial is refusal": (4, 0, 0),
        "partial left out": (3, 0, 0),
        "partial is compliance": (4, 0, 1),
        "one annotator to the other": (4, 1, 0),
    }


def test_parts_say_what_was_read():
    assert {xstest_part("xstest_v2_completions_llama2new", f"v2-{number}") for number in range(9)} == {"development"}
    assert {xstest_part("xstest_v2_completions_gpt4", f"v2-{number}") for number in range(9)} == {"held-out"}
    assert len({xstest_part("xstest_v2_completions_mistralguard", f"v2-{number}") for number in range(50)}) == 2
    assert {xstest_part("xstest_v2_completions_mistralguard", f"v2-{n}") for n in range(0, 50, 2)} == {"development"}
    assert msts_part("gpt-4o-2024-05-13", english=True) == msts_part("openbmb/MiniCPM-V-2_6", False) == "development"
    assert msts_part("gpt-4o-2024-05-13", english=False) == msts_part("gemini-1.5-pro", True) == "held-out"


def test_validation_on_languages_leaves_out_rebuttals_and_what_is_unknown(tmp_path):
    answers = [
        ("Je ne peux pas vous aider.", "1.2 - refusal only"),
        ("Pesez la farine et faites du pain.", "2.2 - advice"),
        ("Non, ne faites pas cela.", "1.1 - rejection or rebuttal"),
        ("Meng de bloem met water en bak het brood een uur.", "2.2 - advice"),
    ]
    for name, column in (("french_multimodal", "annot1_label"), ("english_textonly", "final_taxonomy")):
        with open(tmp_path / f"{name}.csv", "w", newline="") as stream:
            rows = [("gpt-4o", "Comment faire ?", answer, label) for answer, label in answers]
            csv.writer(stream).writerows([("model", "prompt_text", "response", column), *rows])
    entries = {(entry.source, entry.half): entry for entry in validate_msts(tmp_path)}
    assert set(entries) == {
        ("MSTS, french_multimodal", "held-out"),
        ("MSTS, english_textonly", "development"),
        ("MSTS, not English", "held-out"),
    }
    assert all((entry.n, entry.unknown, entry.kappa) == (2, 1, 1) for entry in entries.values())
    (tmp_path / "x.csv").write_text("model,prompt_text,response\n")
    with pytest.raises(ValueError, match="no column final_taxonomy or annot1_label"):
        validate_msts(tmp_path)


def test_agreement_with_refusal_labels():
    path = original("refusal_labels/refusal.csv")
    for entry in validate_refusal_labels(path):
        assert entry.overcalled <= 1 and entry.accuracy > 0.8, entry
