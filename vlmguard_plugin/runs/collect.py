"""Collect what hosts have written, from any number of output folders, and judge it: labels beside the answers.

Each host's files are read by one module of `readers`. Needs pandas and python-calamine.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Callable, Iterable, Iterator, Sequence

from vlmguard_plugin.judges.base import Case, Judge, Judgement, decide
from vlmguard_plugin.judges.judgements import NOT_JUDGED, Judgements, case_digest
from vlmguard_plugin.judges.rules import RulesJudge
from vlmguard_plugin.runs.answers import Found, OutputError, Predictions
from vlmguard_plugin.runs.readers import lm_eval, lmms_eval, vlmevalkit

READERS = (vlmevalkit, lmms_eval, lm_eval)
"""One module of `readers` a host; its `read(folder)` gives a Found."""

Judging = Callable[[Sequence[Case]], Sequence[Judgement]]
"""How a set's safety answers are judged: judgements in the cases' order."""


def by_rules(cases: Sequence[Case]) -> list[Judgement]:
    """Judged by the refusal rules."""
    return decide(RulesJudge(), cases)


def remembering(judge: Judge) -> Judging:
    """How a judge judges what comes again only once: a guarded model gives many answers of its base word for word."""
    known: dict[Case, Judgement] = {}

    def judging(cases: Sequence[Case]) -> list[Judgement]:
        new = [case for case in dict.fromkeys(cases) if case not in known]
        known.update(zip(new, decide(judge, new)))
        return [known[case] for case in cases]

    return judging


def judging_of(folder: Path, judge: str | None) -> tuple[Judging, str]:
    """How a judge by name has judged in an output folder, and its name with its version.

    judge: "rules" (or None), which need no earlier run, or one that `vlmguard judge` has run there; JudgeError where
    it has not.
    """
    if judge is None or judge == "rules":
        rules = RulesJudge()
        return remembering(rules), f"rules {rules.version}"
    store = Judgements(folder)
    said = store.said_by(judge)  # a judge that has said nothing is an error of the whole board

    def stored(cases: Sequence[Case]) -> list[Judgement]:
        return [said.get(case_digest(case), Judgement.failure(NOT_JUDGED)) for case in cases]

    return stored, " ".join([judge, *store.versions(judge)])


def read_folders(folders: str | Path | Iterable[str | Path]) -> Found:
    """All predictions in output folders of any host, safety sets not judged yet, and what could not be used.

    OutputError where a folder is missing or nothing can be used.
    """
    given = [folders] if isinstance(folders, (str, Path)) else list(folders)
    places = list(dict.fromkeys(Path(folder) for folder in given))
    reports: list[Found] = []
    for folder in places:
        if not folder.is_dir():
            raise OutputError(f"{folder} is not a directory; give the output folder of the host's run")
        reports += [reader.read(folder) for reader in READERS]
    everything = Found(
        predictions=tuple(predictions for report in reports for predictions in report.predictions),
        skipped=tuple(skipped for report in reports for skipped in report.skipped),
        unfinished=tuple(unfinished for report in reports for unfinished in report.unfinished),
        not_scored=tuple(figure for report in reports for figure in report.not_scored),
    )
    if not (everything.predictions or everything.unfinished or everything.not_scored):
        reasons = "; ".join(f"{skip.file}: {skip.reason}" for skip in everything.skipped[:3])
        named = ", ".join(map(str, places))
        raise OutputError(
            f"no prediction file MODEL/MODEL_DATASET.xlsx and no sample log can be used in {named}"
            + (f" ({reasons})" if reasons else "; give the host's --work-dir or --output_path")
        )
    return everything


def collect(folders: str | Path | Iterable[str | Path], judge: str | None = None) -> Found:
    """All predictions in output folders of any host, judged, and what could not be used.

    judge: of the safety sets: "rules" (None), or one that `vlmguard judge` has run in every folder with safety answers.
    OutputError as in `read_folders`, JudgeError for a judge that has said nothing.
    """
    everything = read_folders(folders)
    return replace(everything, predictions=tuple(judge_all(everything.predictions, judge)))


def judge_all(runs: Iterable[Predictions], judge: str | None) -> Iterator[Predictions]:
    """Each with labels, in order; the judge's own file is read once a folder. judge, errors: as in `collect`."""
    judgings: dict[Path, tuple[Judging, str]] = {}
    for predictions in runs:
        if predictions.kind != "safety":
            yield predictions
            continue
        if predictions.folder not in judgings:
            judgings[predictions.folder] = judging_of(predictions.folder, judge)
        yield judged(predictions, *judgings[predictions.folder])


def judged(predictions: Predictions, judging: Judging, judge: str = "") -> Predictions:
    """Predictions of a safety set with labels; those of any other set as they are. judge: name and version."""
    if predictions.kind != "safety":
        return predictions
    labels = [judgement.label for judgement in judging([item.case for item in predictions.items])]
    items = tuple(item.labelled(label) for item, label in zip(predictions.items, labels))
    return replace(predictions, items=items, judge=judge)
