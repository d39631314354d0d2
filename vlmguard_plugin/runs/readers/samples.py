"""Samples of a log of lmms-eval or lm-evaluation-harness, one by one: as rows of our sets, and as items of others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from vlmguard_plugin.judges.base import Case
from vlmguard_plugin.runs.answers import Item, NotScored
from vlmguard_plugin.runs.facts import RunFacts
from vlmguard_plugin.runs.host_sets import HOST_TASKS
from vlmguard_plugin.runs.readers.layout import Layout
from vlmguard_plugin.runs.rows import digest, text

METRICS = ("acc", "accuracy", "exact_match", "em")
"""Tried first as the score of an answer; then the task's others, as they come."""
RIGHTNESS = ("acc", "match", "anls", "relaxed", "correct")
"""What the name of a metric holds whose values between 0 and 1 say how right an answer is, not how like another
text."""
ROUNDED = 1e-4
"""How far the host's figure and the mean of its scores may lie apart."""


def row_of(sample: Mapping[str, Any], layout: Layout, facts: RunFacts) -> dict[str, Any]:
    """A sample of one of our tasks as a row of a prediction file."""
    verdict, document = sample["verdict"], sample.get("doc") or {}
    answer = answer_in(sample)
    if answer == "" and layout.empty_is_missing and not facts.fingerprint:
        answer = None
    return {
        "question": document.get("question", ""),
        "intent": document.get("intent", ""),
        **verdict,
        "prediction": answer,
    }


def host_row(task: str, sample: Mapping[str, Any], layout: Layout, facts: RunFacts) -> dict[str, Any]:
    """A sample of one of the host's own safety tasks as a row of a prediction file."""
    about = {"index": f"{task}:{text(sample.get('doc_id'))}", **HOST_TASKS[task](sample)}
    return row_of({**sample, "verdict": about, "doc": {}}, layout, facts)


def answer_in(sample: Mapping[str, Any]) -> str | None:
    """The answer of a sample; None where there is none in words."""
    answer = sample.get("filtered_resps", sample.get("resps"))
    while isinstance(answer, list):
        answer = answer[0] if answer else None
    return answer if isinstance(answer, str) else None


@dataclass(frozen=True)
class HostScored:
    """items: of a task that is none of ours. metric: whose scores they have, with its filter behind a comma."""

    items: tuple[Item, ...]
    metric: str

    @property
    def in_words(self) -> str:
        """The metric, its filter in brackets where there are several."""
        name, _, filtered = self.metric.partition(",")
        return name if filtered == "none" else f"{name} ({filtered})"


def foreign_items(task: str, samples: Sequence[Mapping[str, Any]], figures: Mapping[str, Any]) -> HostScored:
    """Items of a task that is none of ours, by the first of its metrics whose mean over the answers is its figure.

    figures: the host's own, by metric and filter. Of answers that the host has filtered in several ways the first
    filter's count. The metric is a part of the items' keys: what was scored by another is nothing to compare with.
    NotScored where the task's score is no mean of scores of single answers.
    """
    first_filter = samples[0].get("filter")
    kept = [sample for sample in samples if sample.get("filter") == first_filter]
    found = scores_of(kept, figures, first_filter)
    if found is None:
        raise NotScored(f"{task} has no score of each answer, 0 to 1, whose mean is the host's own figure")
    name, scores = found
    metric = f"{name},{first_filter or 'none'}"
    items = []
    for sample, score in zip(kept, scores):
        asked = sample.get("arguments") or sample.get("input") or ""
        question = text(sample.get("doc_hash")) or digest(json.dumps(asked, default=str))
        partly = score not in (0, 1)
        items.append(
            Item(
                key=(f"{task}:{text(sample.get('doc_id'))}", f"{question} {metric}"),
                label="partly" if partly else "right" if score else "wrong",
                harmful=None,
                category=task,
                condition="",
                case=Case("", answer_in(sample), False),
                score=score if partly else None,
            )
        )
    return HostScored(tuple(items), metric)


def scores_of(
    samples: Sequence[Mapping[str, Any]], figures: Mapping[str, Any], filtered: object
) -> tuple[str, list[float]] | None:
    """The first metric that scores each answer 0 to 1, so that the host's figure is the mean, and its scores.

    filtered: the name of the filter, as figures have it behind a comma. Scores that are all 1 or 0 are taken where the
    host has written no figure of them.
    """
    names = list(dict.fromkeys(name.partition(",")[0] for name in figures))
    for metric in sorted(names, key=lambda name: METRICS.index(name) if name in METRICS else len(METRICS)):
        found = [score_in(sample.get(metric)) for sample in samples]
        scores = [score for score in found if score is not None]
        whole = all(score in (0, 1) for score in scores)
        if len(scores) < len(found) or not (whole or any(part in metric.lower() for part in RIGHTNESS)):
            continue
        figure = figures.get(f"{metric},{filtered or 'none'}", figures.get(f"{metric},none", figures.get(metric)))
        if not isinstance(figure, (int, float)):
            if whole:
                return metric, scores
        elif min(abs(sum(scores) / len(scores) - share) for share in (figure, figure / 100)) <= ROUNDED:
            return metric, scores
    return None


def score_in(value: object) -> float | None:
    """A metric's value for one answer as a score, 0 to 1; lmms-eval may put it beside other things as `score`."""
    if isinstance(value, dict):
        value = value.get("score")
    return float(value) if isinstance(value, (bool, int, float)) and 0 <= value <= 1 else None
