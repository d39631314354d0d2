"""Every utility set of VLMEvalKit's has a rule here, or is known to have none."""

import pytest

from vlmguard_plugin.runs.host_rules import open_rule
from vlmguard_plugin.runs.host_sets import benchmark_of

pytestmark = pytest.mark.host
JUDGED_HERE = {"XSTest"}
MADE_OF_PARTS = {"MMMB", "MTL_MMBench_DEV"}


def test_no_set_of_the_hosts_is_scored_by_words_that_stand_in_an_answer():
    from vlmeval import dataset

    plain = {"ImageMCQDataset", "CustomMCQDataset", "MMMUDataset", "CVBench", "ExactChoice", "SafetyRequests"}
    unknown = []
    for each in dataset.DATASET_CLASSES:
        if each.__name__ in plain or getattr(each, "MODALITY", "") == "VIDEO":
            continue
        unknown += [name for name in each.supported_datasets() if open_rule([{"answer": "x"}], name) is None]
    left = {name for name in unknown if name not in JUDGED_HERE | MADE_OF_PARTS and benchmark_of(name) is None}
    assert not left, f"name the rule of {sorted(left)} in host_rules.py, or that there is none"
