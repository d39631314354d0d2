"""VLMEvalKit's prediction files.

WORK_DIR/MODEL/MODEL_DATASET.(xlsx|tsv|csv|json), or the same in MODEL/T.../; of several files for one model and data
set the newest counts. Beside them lie the host's status.json and our facts of the run (`facts`). The host's pickles of
a run under way are noticed, never loaded.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas

from vlmguard_plugin.judges.judgements import FOLDER
from vlmguard_plugin.reading import read_json
from vlmguard_plugin.runs.answers import (
    Found,
    HostFigure,
    NotScored,
    OutputError,
    Predictions,
    Skipped,
    Unfinished,
    costs_itself_alone,
)
from vlmguard_plugin.runs.facts import SUFFIX, RunFacts, digest_of, facts_file, read_facts
from vlmguard_plugin.runs.host_sets import with_host_columns
from vlmguard_plugin.runs.readers.tables import FORMATS, read_table
from vlmguard_plugin.runs.readers.vlmevalkit_scores import LONGEST_CELL, agrees, figures_beside, scores_beside
from vlmguard_plugin.runs.rows import Lost, TableRow, items_of
from vlmguard_plugin.runs.scoring import Scored, scored
from vlmguard_plugin.statistics.measures import score_of

HOST = "vlmevalkit"
RUN_FOLDER = re.compile(r"T\d{8}[-_].+")
PART = re.compile(r"\d+_(?P<dataset>.+)\.pkl")
"""What a rank writes while it answers: rank and number of ranks in digits, then the data set."""
AUXILIARY = re.compile(
    r"_(?:score|scores|acc|accuracy|result|results|judge|judged|verdicts|labels|rating|ratings|metrics|fine|summary|status"
    r"|tmp|response|processed|config|meta|structs|checkpoint|detailed|PREV|auxmatch|cotpost|exact_matching|gpt-?\d\S*|chatgpt\S*)$"
)
"""Ends of the names of files that the host or a data set writes beside the predictions."""
LOST_CELL = (
    "its cell is empty, and xlsx drops an answer that begins with an address of over 2,079 characters, so the label is "
    "unknown (PRED_FORMAT=json keeps all answers)"
)
CUT_CELL = f"xlsx cuts an answer after {LONGEST_CELL:,} characters, so the label is unknown"
OTHER_JUDGES_COLUMNS = {"hit", "log", "judge", "judgement", "judgment", "verdict", "label", "reason", "score", "rating"}


def read(folder: Path) -> Found:
    """All predictions under a work directory, by model and data set.

    Of several for one model and data set the newest counts, and beside it older ones whose facts say that they were
    another run: another guard, setting or seed.
    """
    usable: list[Predictions] = []
    skipped: list[Skipped] = []
    unfinished: list[Unfinished] = []
    not_scored: list[HostFigure] = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and path.name != FOLDER):
        done = set()
        for dataset, files in sorted(prediction_files(place).items()):
            seen: set[str] = set()
            for path in files:
                run = run_of(path)
                if done_with(run, seen):
                    continue
                try:
                    usable.append(predictions_in(path, place.name, dataset, folder))
                    done.add(dataset)
                    seen.add(run)
                except NotScored as error:
                    figures, file = figures_beside(path)
                    not_scored.append(HostFigure(place.name, dataset, HOST, figures, str(error), file or path))
                    done.add(dataset)
                    seen.add(run)
                except OutputError as error:
                    skipped.append(Skipped(path, str(error)))
        try:
            with costs_itself_alone("what is known of its runs can't be read"):
                begun = sorted(without_predictions(place).items())
        except OutputError as error:
            skipped.append(Skipped(place, str(error)))
            continue
        unfinished += [
            Unfinished(place.name, dataset, HOST, folder, reason) for dataset, reason in begun if dataset not in done
        ]
    return Found(tuple(usable), tuple(skipped), tuple(unfinished), tuple(not_scored))


def run_of(path: Path) -> str:
    """What tells the run of a prediction file from another; "" where nobody wrote it down."""
    runs = facts_or_none(facts_file(path))
    return digest_of(runs[-1].identity) if runs and (runs[-1].checkpoint or runs[-1].fingerprint) else ""


def done_with(run: str, seen: set[str]) -> bool:
    """Whether an older file is no other run than those that are read, as far as is known."""
    return bool(seen) and (not run or "" in seen or run in seen)


def prediction_files(folder: Path) -> dict[str, list[Path]]:
    """Files by data set in one model's folder, the newest first, without the auxiliary ones.

    The folder's name is the model's, so data set and model names may both hold underscores. Runs are ordered by
    their folder's name; a file that lies beside the run folders is placed by its time of writing.
    """
    candidates: dict[str, list[Path]] = {}
    for place in [*reversed(run_folders(folder)), folder]:
        for path in sorted(
            (path for path in place.iterdir() if path.is_file()), key=lambda file: -file.stat().st_mtime
        ):
            if (
                path.suffix in FORMATS
                and path.stem.startswith(folder.name + "_")
                and not path.name.endswith(SUFFIX)
                and not AUXILIARY.search(path.stem)
            ):
                candidates.setdefault(path.stem[len(folder.name) + 1 :], []).append(path)
    for files in candidates.values():
        loose = [path for path in files if path.parent == folder and not path.is_symlink()]
        in_runs = [path for path in files if path.parent != folder]
        if loose and in_runs and loose[0].stat().st_mtime > in_runs[0].stat().st_mtime:
            files[:] = loose + in_runs
    return candidates


def run_folders(folder: Path) -> list[Path]:
    """The host's folders of single runs in a model's folder, the oldest first."""
    return sorted(
        (path for path in folder.iterdir() if path.is_dir() and RUN_FOLDER.fullmatch(path.name)),
        key=lambda run: run.name,
    )


def without_predictions(folder: Path) -> dict[str, str]:
    """By data set, what is known of runs that have begun in a model's folder, whether or not they have ended."""
    reasons: dict[str, str] = {}
    for place in [folder, *run_folders(folder)]:
        for dataset, facts in host_status(place).items():
            if facts.get("error_message"):
                reasons[dataset] = f"failed: {in_line(facts['error_message'])}"
            elif facts.get("status") in ("infer", "pending"):
                reasons.setdefault(dataset, "stopped or still going on, by the host's status.json")
        for path in place.iterdir():
            part = PART.fullmatch(path.name)
            if part:
                reasons.setdefault(part["dataset"], f"stopped or still going on: its answers so far are in {path.name}")
            elif path.name.endswith(SUFFIX) and path.name.startswith(folder.name + "_"):
                problem = trouble(facts_or_none(path))
                if problem:
                    reasons[path.name[len(folder.name) + 1 : -len(SUFFIX)]] = problem
    return reasons


def host_status(folder: Path) -> dict[str, dict[str, Any]]:
    """The host's own record of a run, by data set; empty where there is none that can be read."""
    try:
        content = read_json(folder / "status.json")
    except (OSError, ValueError):
        return {}  # it tells of failures alone
    datasets = content.get("datasets") if isinstance(content, dict) else None
    return (
        {name: facts for name, facts in datasets.items() if isinstance(facts, dict)}
        if isinstance(datasets, dict)
        else {}
    )


def facts_or_none(path: Path) -> tuple[RunFacts, ...]:
    """Facts of a run; none where they are damaged, which costs settings and cost, not the answers."""
    try:
        return read_facts(path)
    except ValueError:
        return ()


def trouble(runs: tuple[RunFacts, ...]) -> str:
    """Why a run is not whole, by its facts; "" where it is."""
    last = runs[-1].sessions[-1] if runs and runs[-1].sessions else None
    if last is None or last.status == "complete":
        return ""
    return (
        f"failed: {in_line(last.error)}"
        if last.status == "failed"
        else f"stopped or still going on since {last.started}"
    )


def in_line(words: object) -> str:
    """An error in one line of at most 300 characters."""
    line = " ".join(str(words).split())
    return line if len(line) <= 300 else line[:299] + "…"


@costs_itself_alone()
def predictions_in(path: Path, model: str, dataset: str, folder: Path) -> Predictions:
    """One prediction file, safety rows not judged, with what is known of its run.

    folder: the output folder that was given. OutputError says why the file can't be used.
    """
    table = read_table(path)
    original = original_of(path, model, table)
    if original:
        raise OutputError(f"holds the answers of {original} with columns that the host has added, so no data set")
    frame = with_host_columns(table, dataset)
    kind = checked_kind(frame)
    runs = facts_or_none(facts_file(path))
    rows = records(frame)
    if path.suffix == ".xlsx":
        rows = with_lost_answers(rows, runs, kind)
    problems = [trouble(runs)] if trouble(runs) else []
    if len(runs) > 1:
        problems.append(f"answers of {len(runs)} different settings are mixed: the run went on under others")
    found = Scored(items_of(rows, dataset, kind), "") if kind == "safety" else utility(path, rows, dataset, kind)
    return Predictions(
        model=model,
        dataset=dataset,
        kind=kind,
        file=path,
        items=found.items,
        folder=folder,
        host=HOST,
        runs=runs,
        problems=(*problems, *found.problems),
        scoring=found.scoring,
    )


def original_of(path: Path, model: str, table: pandas.DataFrame) -> str:
    """The prediction file beside a table whose name the table's goes on from, and whose rows it repeats; "" for none.

    The host's evaluation of a set may leave such a table, under any name; its answers would count twice.
    """
    for other in path.parent.iterdir():
        stem = other.stem
        if other.suffix in FORMATS and stem.startswith(f"{model}_") and path.stem.startswith(f"{stem}_"):
            try:
                first = read_table(other)
            except OutputError:
                continue  # it is read, and named, by itself
            names = list(first.columns)
            more = set(table.columns) - set(names)
            if more and set(names) <= set(table.columns) and table[names].astype(str).equals(first.astype(str)):
                return other.name
    return ""


def with_lost_answers(rows: list[TableRow], runs: tuple[RunFacts, ...], kind: str) -> list[TableRow]:
    """The rows of a workbook; an empty prediction is Lost unless the facts of its run tell of as many empty answers.

    So is one that is cut, where its right or wrong may stand at the end; of a safety set's enough is left to judge.
    """
    if kind != "safety":
        rows = [{**row, "prediction": Lost(CUT_CELL)} if is_cut(row["prediction"]) else row for row in rows]
    empty = [row for row in rows if row["prediction"] == ""]
    told = [session.empty for run in runs for session in run.sessions]
    if empty and sum(count or 0 for count in told) < len(empty):
        return [{**row, "prediction": Lost(LOST_CELL)} if row["prediction"] == "" else row for row in rows]
    return rows


def is_cut(answer: object) -> bool:
    """Whether a cell is as long as one can be, in UTF-16 units; one less where a pair of them was not to be torn."""
    units = len(answer.encode("utf-16-le", "surrogatepass")) // 2 if isinstance(answer, str) else 0
    return units >= LONGEST_CELL - 1


def records(frame: pandas.DataFrame) -> list[TableRow]:
    """The rows of a table by column, as `to_dict` has them, in a third of its time."""
    columns = [frame.iloc[:, place].astype(object).tolist() for place in range(frame.shape[1])]
    names = list(frame.columns)
    return [dict(zip(names, values)) for values in zip(*columns)]


def utility(path: Path, rows: list[TableRow], dataset: str, kind: str) -> Scored:
    """The rows of a utility set, scored as the host scores them; a problem says where its own figure is another.

    NotScored, OutputError: as in `scored`.
    """
    figures, file = figures_beside(path)
    found = scored(rows, dataset, kind, scores_beside(path, rows, dataset, figures))
    here = score_of({item.key: item for item in found.items})
    if not figures or file is None or here is None:
        return found
    name, figure = next(iter(figures.items()))
    if agrees(here, figure):
        return found
    said = f"the host's own {name} is {figure:.4g} ({file.name}), here it is {100 * here:.1f}%"
    return Scored(found.items, found.scoring, (*found.problems, said))


def checked_kind(frame: pandas.DataFrame) -> str:
    """What a table of predictions is about: "safety", "mcq" or "open"; OutputError where it is no such table."""
    missing = {"index", "prediction"} - set(frame.columns)
    if missing:
        raise OutputError(f"no column {', '.join(sorted(missing))}, so no prediction file")
    kind = kind_of(set(frame.columns))
    if kind is None:
        raise OutputError("neither a column harmful (safety) nor answer (utility), so nothing to score it by")
    if OTHER_JUDGES_COLUMNS & set(map(str.lower, list(frame.columns)[list(frame.columns).index("prediction") + 1 :])):
        raise OutputError("holds another judge's verdicts after the predictions, so no prediction file")
    if not len(frame):
        raise OutputError("no rows")
    return kind


def kind_of(columns: set[str]) -> str | None:
    """What a data set is, by its columns: "safety", "mcq", "open", or None."""
    if "harmful" in columns:
        return "safety"
    if "answer" not in columns:
        return None
    return "mcq" if {"A", "B"} <= columns else "open"
