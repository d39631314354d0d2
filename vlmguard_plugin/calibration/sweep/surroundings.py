"""What decides the answers of a sweep beside its points: kept in its file, so that a folder holds one kind of them."""

from __future__ import annotations

import hashlib
from typing import Any, Mapping, Sequence

from vlmguard_plugin import environment
from vlmguard_plugin.anchors import load_anchors
from vlmguard_plugin.benchmarks.tsv import lmu_data


def surroundings(datasets: Sequence[str]) -> dict[str, str]:
    """As the environment has it now: the anchors' sha256, number type, engine, length of answers, each data set's file.

    A data set that the host has not fetched yet is left out.
    """
    found = {
        "anchors": load_anchors(environment.ANCHORS.value()).sha256[:16],
        "dtype": environment.DTYPE.value() or "the model's own",
        "engine": environment.ENGINE.value() or environment.TRANSFORMERS,
        "max_new_tokens": environment.MAX_NEW_TOKENS.value() or "the model's own",
    }
    for dataset in datasets:
        file = lmu_data() / f"{dataset}.tsv"
        if file.is_file():
            found[f"rows of {dataset}"] = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    return found


def changed(before: Mapping[str, Any], now: Mapping[str, str]) -> str:
    """In words, where what both know differs; empty where nothing does."""
    other = [name for name in now if before.get(name, now[name]) != now[name]]
    return ", ".join(f"{name} {before[name]} (now {now[name]})" for name in other)
