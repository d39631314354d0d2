"""What lmms-eval and lm-evaluation-harness write alike: one JSON of results a run, one sample log a task.

Answers come from the sample logs alone (`--log_samples`); a run without them is named, not counted. Our own tasks
carry a `verdict` of each answer and are judged as on VLMEvalKit. Any other task is taken where the host scored each
answer, 0 to 1, and its own figure is the mean of these scores; else its figures stand beside the board, in no rate. A
group of tasks such as mmlu is one data set with its tasks as categories.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping, Sequence

from vlmguard_plugin.naming import ANY_CHECKPOINT, guarded_name
from vlmguard_plugin.reading import json_lines, read_json
from vlmguard_plugin.runs.answers import (
    Found,
    HostFigure,
    NotScored,
    OutputError,
    Predictions,
    Skipped,
    costs_itself_alone,
)
from vlmguard_plugin.runs.facts import TRAINERS, RunFacts, digest_of
from vlmguard_plugin.runs.host_sets import HOST_TASKS
from vlmguard_plugin.runs.readers.layout import Layout
from vlmguard_plugin.runs.readers.samples import HostScored, foreign_items, host_row, row_of
from vlmguard_plugin.runs.readers.stock_facts import facts_of_stock_model, prompting_of
from vlmguard_plugin.runs.readers.vlmevalkit_scores import agrees
from vlmguard_plugin.runs.rows import items_of, text
from vlmguard_plugin.statistics.measures import score_of

DEEPEST = 20
"""Folders within each other that are looked into."""


@dataclass(frozen=True)
class ResultsFile:
    """One results file. sessions: cost by task. datasets: by name, the tasks it consists of. figures: by task and
    metric (with its filter behind a comma), the host's own. shots: by task, the examples that stood before each
    question.
    """

    file: Path
    model: str
    facts: RunFacts
    sessions: Mapping[str, Any]
    datasets: Mapping[str, tuple[str, ...]]
    figures: Mapping[str, Mapping[str, Any]]
    shots: Mapping[str, Any]
    problems: tuple[str, ...]


def read_logs(folder: Path, layout: Layout) -> Found:
    """All runs of a host under a folder; of several that were the same run in one place the newest counts."""
    newest: dict[tuple[Path, str, str, str], Predictions] = {}
    skipped: list[Skipped] = []
    not_scored: dict[tuple[Path, str, str, str], HostFigure] = {}
    dated = [(layout.results(path.name), path) for path in json_files(folder)]
    for date, path in sorted(((date, path) for date, path in dated if date), reverse=True):
        try:
            with costs_itself_alone(f"can't be read as results of {layout.host}"):
                results = read_results(path, layout)
        except OutputError as error:
            skipped.append(Skipped(path, str(error)))
            continue
        for dataset, tasks in results.datasets.items():
            place = (path.parent, results.model, dataset, digest_of(facts_of_tasks(results, tasks).identity))
            if place in newest or place in not_scored:
                continue
            try:
                with costs_itself_alone("a sample can't be read"):
                    logs = {task: log_of(path, layout.samples(date, task)) for task in tasks}
                    predictions = predictions_in(results, dataset, logs, folder, layout)
            except NotScored as error:
                not_scored[place] = HostFigure(
                    results.model, dataset, layout.host, host_figures(results, tasks), str(error), path
                )
            except OutputError as error:
                skipped.append(Skipped(path, f"{dataset}: {error}"))
            else:
                newest.setdefault((path.parent, results.model, predictions.dataset, place[3]), predictions)
    return Found(tuple(newest.values()), tuple(skipped), not_scored=tuple(not_scored.values()))


def host_figures(results: ResultsFile, tasks: Sequence[str]) -> dict[str, float]:
    """The host's own figures of several tasks by name; spreads and names of aliases are none."""
    return {
        f"{task} {name}" if len(tasks) > 1 else name: float(value)
        for task in tasks
        for name, value in results.figures.get(task, {}).items()
        if isinstance(value, (int, float)) and "stderr" not in name and math.isfinite(value)
    }


def json_files(folder: Path) -> Iterator[Path]:
    """The ordinary JSON files under a folder, DEEPEST folders down; links to folders are not followed."""
    layer = [folder]
    for _ in range(DEEPEST):
        inner = [path for place in layer for path in sorted(place.iterdir())]
        yield from (path for path in inner if path.suffix == ".json" and path.is_file())
        layer = [path for path in inner if path.is_dir() and not path.is_symlink()]


def log_of(results: Path, name: str) -> Path:
    """The sample log of this name beside a results file; OutputError where there is none."""
    if "/" in name or not results.with_name(name).is_file():
        raise OutputError(f"there is no sample log {name[:200]!r}; run it again with --log_samples")
    return results.with_name(name)


def read_results(path: Path, layout: Layout) -> ResultsFile:
    """A results file of the host. ValueError, KeyError, TypeError or AttributeError where it is none."""
    content = read_json(path)
    config = content["config"]
    own_facts = config.get("vlmguard")
    ours = isinstance(own_facts, dict)
    version = text(content.get(layout.version))
    if ours:
        facts = RunFacts.from_dict(own_facts)
    else:
        facts = facts_of_stock_model(config, layout.host, version)
    facts = replace(facts, generation={**facts.generation, **prompting_of(content)})
    limit = config.get("limit")
    return ResultsFile(
        file=path,
        model=label_of(facts, ours),
        facts=facts,
        sessions=own_facts.get("tasks", {}) if ours else {},
        datasets=datasets_of(content),
        figures={task: dict(figures) for task, figures in content["results"].items()},
        shots=content["n-shot"] if isinstance(content.get("n-shot"), dict) else {},
        problems=(f"not all rows were asked (the host's --limit {limit})",) if limit else (),
    )


def label_of(facts: RunFacts, ours: bool) -> str:
    """The model's name on the board: ours by its name, any other (and ours on any checkpoint) by its checkpoint's."""
    around, _, checkpoint = facts.checkpoint.rstrip("/").rpartition("/")
    if around and TRAINERS.fullmatch(checkpoint):
        checkpoint = f"{around.rpartition('/')[2]}/{checkpoint}"
    if ours and (facts.model != ANY_CHECKPOINT or not checkpoint):
        return facts.model.replace("-", "_")
    model = checkpoint or facts.model
    return guarded_name(model, facts.guard) if facts.guard else model


def datasets_of(content: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """By data set, its tasks: a task of its own, or the tasks of an outermost group."""
    groups = {name: tuple(members) for name, members in (content.get("group_subtasks") or {}).items() if members}
    tasks = [name for name in content.get("configs") or content["results"] if name not in groups]

    def leaves(name: str) -> list[str]:
        """Tasks of a group and of the groups in it, each once, as they come."""
        seen: dict[str, None] = {}
        waiting = [name]
        while waiting:
            member = waiting.pop()
            if member not in seen:
                seen[member] = None
                waiting += reversed(groups.get(member, ()))
        return [member for member in seen if member not in groups]

    inner = {member for members in groups.values() for member in members}
    known = set(tasks)
    outermost = {name: tuple(task for task in leaves(name) if task in known) for name in groups if name not in inner}
    grouped = {task for members in outermost.values() for task in members}
    alone = {task: (task,) for task in tasks if task not in grouped}
    return {name: members for name, members in {**outermost, **alone}.items() if members}


def predictions_in(
    results: ResultsFile, dataset: str, logs: Mapping[str, Path], folder: Path, layout: Layout
) -> Predictions:
    """The rows of one data set of a run, safety rows not judged; OutputError says why they can't be used.

    logs: the sample log of each of its tasks. folder: the output folder that was given.
    """
    samples = {task: read_log(log) for task, log in logs.items()}
    first = next(iter(next(iter(samples.values()))))
    facts = with_sessions(results, facts_of_tasks(results, logs), logs)
    name, kind, scoring, problems = dataset, "task", "", results.problems
    if isinstance(first.get("verdict"), dict):
        rows = [row_of(sample, layout, facts) for of_task in samples.values() for sample in of_task]
        name = text(first["verdict"].get("dataset")) or dataset
        if first["verdict"].get("harmful") is not None:
            kind, items = "safety", items_of(rows, name, "safety")
        else:
            kind, items = "mcq", items_of(rows, name, "scored")
    elif all(task in HOST_TASKS for task in samples):
        host_rows = [host_row(task, sample, layout, facts) for task, of_task in samples.items() for sample in of_task]
        kind, items = "safety", items_of(host_rows, name, "safety")
    else:
        scored = [foreign_items(task, of_task, results.figures.get(task, {})) for task, of_task in samples.items()]
        items = tuple(item for of_task in scored for item in of_task.items)
        scoring = f"the host's {', '.join(sorted({of_task.in_words for of_task in scored}))}"
        problems += of_group(results.figures.get(dataset, {}), scored)
        if len({item.key for item in items}) < len(items):
            raise OutputError("an answer stands in the sample log twice")
    return Predictions(
        model=results.model,
        dataset=name,
        kind=kind,
        file=results.file,
        items=items,
        folder=folder,
        host=layout.host,
        runs=(facts,),
        problems=problems,
        scoring=scoring,
    )


def of_group(figures: Mapping[str, Any], scored: Sequence[HostScored]) -> tuple[str, ...]:
    """A problem where the host's own figure of a whole group is another: it may be the mean of its tasks' figures."""
    (metric, *others) = {of_task.metric for of_task in scored}
    figure = figures.get(metric)
    here = score_of({item.key: item for of_task in scored for item in of_task.items})
    if others or here is None or not isinstance(figure, (int, float)) or agrees(here, figure):
        return ()
    return (f"the host's own {metric} of the group is {figure:.4g}, here each answer counts once: {100 * here:.1f}%",)


def facts_of_tasks(results: ResultsFile, tasks: Iterable[str]) -> RunFacts:
    """The run's facts on these tasks: with the number of examples before each question, where there were any."""
    shots = sorted({text(results.shots.get(task)) for task in tasks} - {"", "0"})
    generation = results.facts.generation
    return replace(results.facts, generation={**generation, "num_fewshot": "/".join(shots)} if shots else generation)


def with_sessions(results: ResultsFile, facts: RunFacts, logs: Mapping[str, Path]) -> RunFacts:
    """The run's facts with what these tasks alone have cost; without where it is not told, or in no way to be read."""
    sessions = [results.sessions[task] for task in logs if isinstance(results.sessions.get(task), dict)]
    try:
        return RunFacts.from_dict({**facts.to_dict(), "sessions": sessions if len(sessions) == len(logs) else []})
    except ValueError:
        return replace(facts, sessions=())


def read_log(path: Path) -> list[dict[str, Any]]:
    """The samples of a log; OutputError where it holds none, or a line is torn."""
    samples: list[dict[str, Any]] = []
    try:
        lines = list(json_lines(path))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path.name} can't be read ({error})") from error
    for number, sample in lines:
        if not isinstance(sample, dict):
            problem = sample if isinstance(sample, ValueError) else "no JSON object"
            raise OutputError(f"line {number} of {path.name} can't be read ({problem})")
        samples.append(sample)
    if not samples:
        raise OutputError(f"{path.name} is empty")
    return samples
