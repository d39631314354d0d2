"""Agreement of the refusal rules with human labels, where those are at hand."""

import csv
import json
import subprocess
import sys

import pytest
from helpers.places import REPOSITORY, original

from vlmguard_plugin.judges.validation import agreement, half, validate_refusal_labels, validate_xstest


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
    held_out = [
        entry
        for entry in validate_xstest(folder)
        if entry.half == "held-out" and entry.convention == "partial left out"
    ]
    assert len(held_out) >= 3
    for entry in held_out:
        assert entry.accuracy > 0.9, entry
        assert entry.kappa > 0.6, entry


def test_agreement_with_refusal_labels():
    path = original("refusal_labels/refusal.csv")
    for entry in validate_refusal_labels(path):
        assert entry.overcalled <= 1 and entry.accuracy > 0.8, entry
