"""Perplexity of hosts' predictions under a local language model, by model and data set.

Low is fluent; a steered model whose answers fall apart stands out. It says nothing about safety: refusals, always the
same few words, are very fluent, so a guard that refuses more looks more fluent. Needs torch, pandas, python-calamine
and scipy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Sequence

from vlmguard_plugin.leaderboard.participants import labels_by_file
from vlmguard_plugin.runs.answers import OutputError, Skipped
from vlmguard_plugin.runs.collect import read_folders

if TYPE_CHECKING:
    from vlmguard_plugin.judges.perplexity import Summary


@dataclass(frozen=True)
class Fluency:
    """Perplexity of one model's answers on one data set."""

    model: str
    dataset: str
    summary: Summary


def fluency(
    output_dir: str | Path,
    language_model: str | Path,
    datasets: Sequence[str] = (),
    given: str = "nothing",
    batch_size: int = 8,
) -> tuple[list[Fluency], list[Skipped]]:
    """Perplexities of all predictions in an output folder of any host, and the files that were left out.

    language_model: a folder or hub name. datasets: these alone; empty for all. given: judges.perplexity.GIVEN.
    OutputError where there is nothing to score.
    """
    from vlmguard_plugin.judges.local_model import LocalModel  # loads torch
    from vlmguard_plugin.judges.perplexity import perplexities, summarise

    contents = read_folders(output_dir)
    chosen = [each for each in contents.predictions if not datasets or each.dataset in datasets]
    if not chosen:
        there = ", ".join(sorted({each.dataset for each in contents.predictions}))
        raise OutputError(f"no predictions of {', '.join(datasets)} in {output_dir}; there are {there}")
    named = labels_by_file(contents.predictions)
    local = LocalModel.load(language_model)
    measured = []
    for predictions in chosen:
        cases = [item.case for item in predictions.items]
        asked = [case.request for case in cases] if given == "request" else None
        values = perplexities(local, [case.answer for case in cases], asked, batch_size, given)
        measured.append(Fluency(named[predictions.file], predictions.dataset, summarise(values)))
    return measured, list(contents.skipped)
