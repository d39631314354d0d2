"""The leaderboard as plain data: JSON (schema.json describes it) and CSV. Figures and settings, never answers."""

from __future__ import annotations

import csv
import io
import json
import math
from numbers import Integral, Real
from typing import Any, Iterable, Iterator, Mapping

from vlmguard_plugin.leaderboard.board import MEASURES, Board, Entry, Overall, Run
from vlmguard_plugin.leaderboard.verdict import finding
from vlmguard_plugin.statistics.rates import ALPHA, POWER, PairedDifference, Rate

SCHEMA_VERSION = 1
"""Of schema.json. Within a version names are added, never renamed or removed."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With one of these a spreadsheet begins a formula."""
COLUMNS = {
    "dataset": "name; empty for all data sets together",
    "part_of": "the data set that this is a part of; else the same name",
    "kind": "safety, mcq, open or task; overall for all data sets together; unfinished for a run without predictions",
    "model": "",
    "base": "the unguarded model that it is compared with",
    "measure": "attack_success, over_refusal, degeneration or accuracy; empty for an unfinished run",
    "value": "share of the judged answers, 0 to 1; empty where it is withheld or nothing was judged",
    "low": "95% interval",
    "high": "95% interval",
    "k": "answers where it happened",
    "n": "judged answers",
    "unknown": "answers that could not be judged",
    "unknown_rate": "their share of all answers",
    "withheld": "true where too many are unknown",
    "clusters": "base requests among the n",
    "effective_n": "independent answers that would tell as much",
    "by_repetition": "the share in each repetition (seed), with spaces between; empty where there is one",
    "difference": "from the base, -1 to 1, on the items that both have",
    "difference_low": "95% interval",
    "difference_high": "95% interval",
    "bootstrap_low": "the same by a paired bootstrap over base requests",
    "bootstrap_high": "the same by a paired bootstrap over base requests",
    "pairs": "answers that both have a known outcome for",
    "only_model": "of these, where it happened under the model alone",
    "only_base": "under the base alone",
    "test": "mcnemar, or sign_flip where base requests are shared",
    "p": "two-sided, exact",
    "p_holm": "after Holm's correction",
    "significant": "p_holm below 0.05",
    "smallest": "the least difference that could have been called significant",
    "detectable": "the true difference that is found with a chance of 0.8",
    "unmatched_model": "answers to items that the base has not got",
    "unmatched_base": "the base's answers to items that the model has not got",
    "undecided": "common answers that are unknown under either",
    "missing": "items that another model was asked here and this one was not",
    "seconds_per_answer": "",
    "tokens_per_answer": "",
    "judge": "who judged the safety answers, and version",
    "host": "vlmevalkit, lmms_eval or lm_eval",
    "host_version": "",
    "checkpoint": "",
    "fingerprint": "of the weights",
    "guard": "",
    "guard_settings": "as JSON",
    "guard_fingerprint": "",
    "seeds": "of the repetitions, with spaces between",
    "repetitions": "files of predictions, one a repetition",
    "problems": "what a reader of the figures has to know, with ; between",
}
"""The columns of the CSV: what each holds. Text that begins like a formula (FORMULA) has an apostrophe before it."""


def as_json(board: Board) -> dict[str, Any]:
    """The board as plain values, as schema.json describes them: finite numbers, text that UTF-8 can hold."""
    return plain(
        {
            "schema_version": SCHEMA_VERSION,
            "judge": board.judge,
            "max_unknown": board.max_unknown,
            "significance": ALPHA,
            "power": POWER,
            "measures": MEASURES,
            "folders": board.folders,
            "models": board.models,
            "bases": board.bases,
            "finding": finding(board).split("\n"),
            "overall": [overall_json(one, board.bases.get(one.model)) for one in board.overall],
            "datasets": [
                {
                    "dataset": block.dataset,
                    "part_of": block.whole or block.dataset,
                    "kind": block.kind,
                    "entries": [entry_json(entry, board.bases.get(entry.model)) for entry in block.entries],
                }
                for block in board.blocks
            ],
            "unfinished": [vars(one) for one in board.unfinished],
            "skipped": [vars(one) for one in board.skipped],
        }
    )


def overall_json(one: Overall, base: str | None) -> dict[str, Any]:
    """A model over all data sets."""
    return {
        "model": one.model,
        "base": base,
        "datasets": one.datasets,
        "rates": {name: rate_json(found) for name, found in one.rates.items()},
        "differences": {name: difference_json(found) for name, found in one.differences.items()},
        "seconds_per_answer": one.seconds,
        "tokens_per_answer": one.tokens,
    }


def entry_json(entry: Entry, base: str | None) -> dict[str, Any]:
    """A model on a data set."""
    return {
        "model": entry.model,
        "base": base,
        "counts": entry.counts,
        "rates": {
            name: rate_json(found) | {"by_repetition": entry.seeds.get(name, ())} for name, found in entry.rates.items()
        },
        "differences": {name: difference_json(found) for name, found in entry.differences.items()},
        "by_category": {
            name: {category: rate_json(found) for category, found in mine.items()}
            for name, mine in entry.by_category.items()
        },
        "missing": entry.missing,
        "run": run_json(entry.run),
    }


def rate_json(one: Rate) -> dict[str, Any]:
    """A rate."""
    return {
        "value": one.value,
        "low": one.low,
        "high": one.high,
        "k": one.k,
        "n": one.n,
        "unknown": one.unknown,
        "unknown_rate": one.unknown_rate,
        "withheld": one.withheld,
        "clusters": one.clusters,
        "effective_n": one.effective,
    }


def difference_json(one: PairedDifference) -> dict[str, Any]:
    """A paired difference from the base."""
    return vars(one) | {"test": "mcnemar" if one.clusters == one.n else "sign_flip", "significant": one.significant}


def run_json(run: Run) -> dict[str, Any]:
    """How a cell's answers were got."""
    return {
        "host": run.host,
        "host_version": run.host_version,
        "judge": run.judge,
        "answers": run.answers,
        "seconds_per_answer": run.seconds,
        "tokens_per_answer": run.tokens,
        "complete": run.complete,
        "problems": run.problems,
        "repetitions": len(run.files),
        "folders": run.folders,
        "files": run.files,
        "facts": [one.to_dict() for one in run.facts],
    }


def plain(value: Any) -> Any:
    """A value as JSON has it: NaN and infinity are null, what UTF-8 can't hold is written as an escape."""
    if isinstance(value, Mapping):
        return {plain(str(name)): plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def as_csv(board: Board) -> str:
    """One line a data set, model and measure; then the models over all data sets, then runs without predictions."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for line in lines(board):
        writer.writerow({name: cell(value) for name, value in line.items()})
    return out.getvalue()


def lines(board: Board) -> Iterator[dict[str, Any]]:
    """The lines of the CSV, by column."""
    for block in board.blocks:
        for entry in block.entries:
            place = {
                "dataset": block.dataset,
                "part_of": block.whole or block.dataset,
                "kind": block.kind,
                "missing": entry.missing,
            }
            for name in entry.rates:
                seeds = {"by_repetition": spaced(entry.seeds.get(name, ()))}
                yield place | compared(entry, name, board) | seeds | run_columns(entry.run)
    for one in board.overall:
        for name in one.rates:
            cost = {"seconds_per_answer": one.seconds, "tokens_per_answer": one.tokens}
            yield {"kind": "overall"} | compared(one, name, board) | cost
    for one in board.unfinished:
        yield {
            "dataset": one.dataset,
            "part_of": one.dataset,
            "kind": "unfinished",
            "model": one.model,
            "host": one.host,
            "problems": one.reason,
        }


def compared(one: Entry | Overall, name: str, board: Board) -> dict[str, Any]:
    """The columns of a rate and its difference from the base."""
    found = {"model": one.model, "base": board.bases.get(one.model), "measure": name, **rate_json(one.rates[name])}
    if name in one.differences:
        difference = difference_json(one.differences[name])
        other = {"difference_low": "low", "difference_high": "high", "pairs": "n"}
        mine = set(COLUMNS) - set(found)
        found |= {
            column: difference[other.get(column, column)] for column in mine if other.get(column, column) in difference
        }
    return found


def run_columns(run: Run) -> dict[str, Any]:
    """The columns that say how a cell's answers were got."""
    facts = run.facts
    return {
        "seconds_per_answer": run.seconds,
        "tokens_per_answer": run.tokens,
        "judge": run.judge,
        "host": run.host,
        "host_version": run.host_version,
        "checkpoint": distinct(one.checkpoint for one in facts),
        "fingerprint": distinct(one.fingerprint for one in facts),
        "guard": distinct(one.guard for one in facts),
        "guard_settings": distinct(
            json.dumps(plain(one.settings), sort_keys=True) if one.guard else None for one in facts
        ),
        "guard_fingerprint": distinct(one.guard_fingerprint for one in facts),
        "seeds": spaced(one.seed for one in facts if one.seed is not None),
        "repetitions": len(run.files),
        "problems": "; ".join(run.problems),
    }


def distinct(values: Iterable[object]) -> str:
    """The different values that are there, as text."""
    return "; ".join(dict.fromkeys(str(value) for value in values if value))


def spaced(values: Iterable[object]) -> str:
    """Values with spaces between them."""
    return " ".join(map(str, values))


def cell(value: object) -> object:
    """A value for the CSV: numbers stay numbers, text that a spreadsheet would run is made harmless by an apostrophe."""
    value = plain(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
