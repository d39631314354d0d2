"""What lmms-eval and lm-evaluation-harness write alike: one JSON of results a run, one sample log a task.

Answers come from the sample logs alone (`--log_samples`); a run without them is named, not counted. Our own tasks
carry a `verdict` of each answer and are judged as on VLMEvalKit. Any other task is taken where the host scored each
answer right or wrong (1 or 0); a group of tasks such as mmlu is one data set with its tasks as categories.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

from vlmguard_plugin.judges.base import Case
from vlmguard_plugin.naming import ANY_CHECKPOINT, guarded_name
from vlmguard_plugin.runs.collect import Found, Item, OutputError, Predictions, Skipped, digest, items_of, text
from vlmguard_plugin.runs.facts import RunFacts

METRICS = ("acc", "accuracy", "exact_match", "em")
"""Tried first as the score of an answer; then the task's others, as they come."""


@dataclass(frozen=True)
class Layout:
    """A host's files. results: date in the name of a results file, or None where it is none. samples: the name of a
    task's sample log, by date and task. version: of the host, in its results. empty_is_missing: whether stock models
    leave an empty answer where they failed."""

    host: str
    results: Callable[[str], str | None]
    samples: Callable[[str, str], str]
    version: str
    empty_is_missing: bool = False


def read_logs(folder: Path, layout: Layout) -> Found:
    """All runs of a host under a folder; of several for one model and task in one place the newest counts."""
    found: dict[tuple[Path, str, str], Predictions] = {}
    skipped: list[Skipped] = []
    dated = [(layout.results(path.name), path) for path in folder.rglob("*.json")]
    for date, path in sorted(((date, path) for date, path in dated if date), reverse=True):
        try:
            run = run_in(path, layout)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            skipped.append(
                Skipped(path, f"can't be read as results of {layout.host} ({type(error).__name__}: {error})")
            )
            continue
        for dataset, tasks in run.datasets.items():
            if (path.parent, run.model, dataset) in found:
                continue
            logs = {task: path.with_name(layout.samples(date, task)) for task in tasks}
            without = [task for task, log in logs.items() if not log.is_file()]
            if without:
                reason = f"has no sample log of {', '.join(without[:3])}; run it again with --log_samples"
                skipped.append(Skipped(path, reason))
                continue
            try:
                mine = predictions_in(run, dataset, logs, folder, layout)
            except OutputError as error:
                skipped.append(Skipped(path, f"{dataset}: {error}"))
            else:
                found.setdefault((path.parent, run.model, mine.dataset), mine)
    return Found(tuple(found.values()), tuple(skipped))


@dataclass(frozen=True)
class Run:
    """One results file. sessions: cost by task. datasets: by name, the tasks it consists of. metrics: by task."""

    file: Path
    model: str
    facts: RunFacts
    sessions: Mapping[str, Any]
    datasets: Mapping[str, tuple[str, ...]]
    metrics: Mapping[str, tuple[str, ...]]
    problems: tuple[str, ...]


def run_in(path: Path, layout: Layout) -> Run:
    """A results file of the host."""
    content = json.loads(path.read_text(encoding="utf-8"))
    config = content["config"]
    told = config.get("vlmguard")
    version = text(content.get(layout.version))
    if isinstance(told, dict):
        facts = RunFacts.from_dict(told)
    else:
        facts = RunFacts(layout.host, version, text(config.get("model")), checkpoint_of(config))
    sessions = told.get("tasks", {}) if isinstance(told, dict) else {}
    limit = config.get("limit")
    problems = (f"not all rows were asked (the host's --limit {limit})",) if limit else ()
    metrics = {task: tuple(name.partition(",")[0] for name in found) for task, found in content["results"].items()}
    return Run(path, label_of(facts, isinstance(told, dict)), facts, sessions, datasets_of(content), metrics, problems)


def checkpoint_of(config: Mapping) -> str:
    """The checkpoint of a stock model, from its arguments; "" where they name none."""
    arguments = config.get("model_args")
    if isinstance(arguments, str):
        arguments = dict(part.partition("=")[::2] for part in arguments.split(","))
    return text(arguments.get("pretrained")) if isinstance(arguments, dict) else ""


def label_of(facts: RunFacts, ours: bool) -> str:
    """The model's name on the board: ours by its name, any other (and ours on any checkpoint) by its checkpoint's."""
    checkpoint = facts.checkpoint.rstrip("/").rpartition("/")[2]
    if ours and (facts.model != ANY_CHECKPOINT or not checkpoint):
        return facts.model.replace("-", "_")
    model = checkpoint or facts.model
    return guarded_name(model, facts.guard) if facts.guard else model


def datasets_of(content: Mapping) -> dict[str, tuple[str, ...]]:
    """By data set, its tasks: a task of its own, or the tasks of an outermost group."""
    groups = {name: tuple(members) for name, members in (content.get("group_subtasks") or {}).items() if members}
    tasks = [name for name in content.get("configs") or content["results"] if name not in groups]

    def leaves(name: str) -> Iterator[str]:
        for member in groups.get(name, ()):
            yield from leaves(member) if member in groups else [member]

    inner = {member for members in groups.values() for member in members}
    found = {name: tuple(task for task in leaves(name) if task in tasks) for name in groups if name not in inner}
    grouped = {task for members in found.values() for task in members}
    return {
        name: members
        for name, members in {**found, **{task: (task,) for task in tasks if task not in grouped}}.items()
        if members
    }


def predictions_in(run: Run, dataset: str, logs: Mapping[str, Path], folder: Path, layout: Layout) -> Predictions:
    """The rows of one data set of a run; OutputError says why they can't be used."""
    samples = {task: read_log(log) for task, log in logs.items()}
    first = next(iter(next(iter(samples.values()))))
    facts = with_sessions(run, logs)
    shared: dict[str, Any] = dict(file=run.file, folder=folder, host=layout.host, runs=(facts,), problems=run.problems)
    if isinstance(first.get("verdict"), dict):
        rows = [row_of(sample, layout, facts) for mine in samples.values() for sample in mine]
        name = text(first["verdict"].get("dataset")) or dataset
        if first["verdict"].get("harmful") is not None:
            return Predictions(run.model, name, "safety", items=items_of(rows, name, "safety"), **shared)
        return Predictions(run.model, name, "mcq", items=tuple(scored(row, row["label"]) for row in rows), **shared)
    items = [item for task, mine in samples.items() for item in foreign_items(task, mine, run.metrics.get(task, ()))]
    counted = Counter(item.key for item in items)
    if len(counted) < len(items):
        raise OutputError("an answer stands in the sample log twice")
    return Predictions(run.model, dataset, "task", items=tuple(items), **shared)


def with_sessions(run: Run, logs: Mapping[str, Path]) -> RunFacts:
    """The run's facts with what these tasks alone have cost; without where it is not told, or in no way to be read."""
    mine = [run.sessions[task] for task in logs if isinstance(run.sessions.get(task), dict)]
    try:
        return RunFacts.from_dict({**run.facts.to_dict(), "sessions": mine if len(mine) == len(logs) else []})
    except ValueError:
        return replace(run.facts, sessions=())


def read_log(path: Path) -> list[dict]:
    """The samples of a log; OutputError where it holds none, or a line is torn."""
    samples = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip():
                sample = json.loads(line)
                if not isinstance(sample, dict):
                    raise ValueError("no JSON object")
                samples.append(sample)
    except (OSError, ValueError) as error:
        place = f"line {number} of " if samples else ""
        raise OutputError(f"{place}{path.name} can't be read ({error})") from error
    if not samples:
        raise OutputError(f"{path.name} is empty")
    return samples


def row_of(sample: Mapping, layout: Layout, facts: RunFacts) -> dict:
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


def answer_in(sample: Mapping) -> str | None:
    """The answer of a sample; None where there is none in words."""
    answer = sample.get("filtered_resps", sample.get("resps"))
    while isinstance(answer, list):
        answer = answer[0] if answer else None
    return answer if isinstance(answer, str) else None


def scored(row: Mapping, label: str) -> Item:
    """An item that the host has scored. row: as row_of gives it."""
    (item,) = items_of([{**row, "harmful": "0"}], text(row.get("dataset")), "safety")
    return replace(item, label=label, harmful=None)


def foreign_items(task: str, samples: list[dict], metrics: Sequence[str]) -> list[Item]:
    """Items of a task that is none of ours, by the first of its metrics that is 1 or 0 for every answer."""
    kept = samples[0].get("filter")
    mine = [sample for sample in samples if sample.get("filter") == kept]
    names = sorted(metrics, key=lambda name: METRICS.index(name) if name in METRICS else len(METRICS))
    metric = next((name for name in names if all(is_score(sample.get(name)) for sample in mine)), None)
    if metric is None:
        raise OutputError(f"{task} scores no answer right or wrong (1 or 0), so there is nothing to count")
    items = []
    for sample in mine:
        asked = sample.get("arguments") or sample.get("input") or ""
        key = (
            f"{task}:{text(sample.get('doc_id'))}",
            text(sample.get("doc_hash")) or digest(json.dumps(asked, default=str)),
        )
        label = "right" if sample[metric] else "wrong"
        items.append(Item(key, label, None, task, "", "", Case("", answer_in(sample), False)))
    return items


def is_score(value: object) -> bool:
    """Whether a metric's value says right or wrong."""
    return isinstance(value, (bool, int, float)) and value in (0, 1)
