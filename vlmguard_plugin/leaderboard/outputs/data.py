"""The leaderboard as plain data: JSON (schema.json describes it) and CSV. Figures and settings, never answers."""

from __future__ import annotations

import csv
import io
import json
from typing import Any, Iterable, Iterator

from vlmguard_plugin.leaderboard.board import Board, Entry, Origin, Overall
from vlmguard_plugin.leaderboard.outputs.escaping import csv_cell, json_text, json_value
from vlmguard_plugin.leaderboard.outputs.figures import conditions_json, difference_json, rate_json, side_effects_json
from vlmguard_plugin.leaderboard.outputs.sentences import finding_of
from vlmguard_plugin.leaderboard.outputs.wording import not_scored_text
from vlmguard_plugin.runs.check_costs import CheckCostsOf
from vlmguard_plugin.runs.gate_counts import GateCounts
from vlmguard_plugin.statistics.levels import ALPHA, POWER
from vlmguard_plugin.statistics.measures import MEASURES

SCHEMA_VERSION = 1
"""Of schema.json. Within a version names are added, never renamed or removed."""
COLUMNS = {
    "dataset": "name; empty for all data sets together",
    "part_of": "the data set that this is a part of; else the same name",
    "kind": "safety, mcq, open or task; overall for all data sets together; unfinished for a run without predictions; "
    "not_scored for a set without a rate",
    "model": "",
    "base": "the unguarded model that it is compared with",
    "measure": "attack_success, over_refusal, degeneration, accuracy or f1; empty for an unfinished run",
    "value": "rate of the judged answers, 0 to 1; empty where it is withheld or nothing was judged",
    "low": "95% interval",
    "high": "95% interval",
    "k": "answers where it happened; a sum of scores where answers are partly right",
    "n": "judged answers",
    "unknown": "answers that could not be judged",
    "unknown_rate": "their part of all answers, 0 to 1",
    "withheld": "true where too many are unknown, or unparsed",
    "unparsed": "of the n, answers that nobody could read, where that is why the rate is withheld; else 0",
    "clusters": "base requests among the n",
    "effective_n": "independent answers that would tell as much",
    "by_repetition": "the rate in each repetition (seed), with spaces between; empty where there is one",
    "difference": "from the base, -1 to 1, on the items that both have",
    "difference_low": "95% interval",
    "difference_high": "95% interval",
    "bootstrap_low": "the same by a paired bootstrap over base requests",
    "bootstrap_high": "the same by a paired bootstrap over base requests",
    "pairs": "answers that both have a known outcome for",
    "only_model": "of these, where it happened under the model alone",
    "only_base": "under the base alone",
    "test": "mcnemar, sign_flip where base requests are shared, t of scores that are no 1 or 0",
    "p": "two-sided",
    "p_sign_flip": "of the sign-flip test alone, where base requests are shared",
    "lopsided": "true where that one can't be trusted, since changes by base request are lopsided",
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
    "scoring": "how utility answers were scored",
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
    "gate_fired_harmful": "on how many harmful requests the guard's gate fired; empty without a gate, where "
    "nobody counted, and for a part of a data set",
    "gate_decided_harmful": "on how many of them it decided",
    "gate_fired_harmless": "the same of harmless ones",
    "gate_decided_harmless": "",
    "gate_fired_unmarked": "the same of requests that the data set marks as neither",
    "gate_decided_unmarked": "",
    "check_calls": "calls of the guard model beside the subject; empty without one, and for a part of a data set",
    "check_tokens": "tokens that it read and wrote; empty where nobody counted",
    "check_seconds": "spent on it, part of the seconds of the answers",
}
"""The columns of the CSV: what each holds. Text that begins like a formula (FORMULA) has an apostrophe before it."""


def to_json(board: Board) -> str:
    """Everything, at full precision, as text."""
    return json_text(as_json(board))


def as_json(board: Board) -> dict[str, Any]:
    """The board as plain values, as schema.json describes them: finite numbers, text that UTF-8 can hold."""
    values: dict[str, Any] = json_value(
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
            "finding": finding_of(board).lines,
            "overall": [overall_json(overall, board.bases.get(overall.model)) for overall in board.overall],
            "datasets": [
                {
                    "dataset": block.dataset,
                    "part_of": block.whole or block.dataset,
                    "kind": block.kind,
                    "entries": [entry_json(entry, board.bases.get(entry.model)) for entry in block.entries],
                }
                for block in board.blocks
            ],
            "across_conditions": [conditions_json(conditions) for conditions in board.across],
            "side_effects": [side_effects_json(effects) for effects in board.side_effects],
            "unfinished": [vars(run) for run in board.unfinished],
            "not_scored": [vars(figure) for figure in board.not_scored],
            "skipped": [vars(skip) for skip in board.skipped],
        }
    )
    return values


def overall_json(overall: Overall, base: str | None) -> dict[str, Any]:
    """A model over all data sets."""
    return {
        "model": overall.model,
        "base": base,
        "datasets": overall.datasets,
        "unread": overall.unread,
        "rates": {name: rate_json(rate) for name, rate in overall.rates.items()},
        "differences": {name: difference_json(difference) for name, difference in overall.differences.items()},
        "seconds_per_answer": overall.seconds,
        "tokens_per_answer": overall.tokens,
        "gates": gates_json(overall.gates),
        "checks": overall.checks,
    }


def entry_json(entry: Entry, base: str | None) -> dict[str, Any]:
    """A model on a data set."""
    return {
        "model": entry.model,
        "base": base,
        "counts": entry.counts,
        "rates": {
            name: rate_json(rate) | {"by_repetition": entry.seeds.get(name, ())} for name, rate in entry.rates.items()
        },
        "differences": {name: difference_json(difference) for name, difference in entry.differences.items()},
        "by_category": {
            name: {category: rate_json(rate) for category, rate in rates.items()}
            for name, rates in entry.by_category.items()
        },
        "missing": entry.missing,
        "run": origin_json(entry.origin),
    }


def origin_json(origin: Origin) -> dict[str, Any]:
    """How a cell's answers were got."""
    return {
        "host": origin.host,
        "host_version": origin.host_version,
        "judge": origin.judge,
        "scoring": origin.scoring,
        "answers": origin.answers,
        "seconds_per_answer": origin.seconds,
        "tokens_per_answer": origin.tokens,
        "gates": gates_json(origin.gates),
        "checks": origin.checks,
        "complete": origin.complete,
        "problems": origin.problems,
        "repetitions": len(origin.files),
        "folders": origin.folders,
        "files": origin.files,
        "facts": [facts.to_dict() for facts in origin.facts],
    }


def gates_json(counts: GateCounts | None) -> dict[str, dict[str, int]] | None:
    """How often a guard's gate fired, by kind of request."""
    if counts is None:
        return None
    return {kind: {"fired": fired, "decided": decided} for kind, (fired, decided) in counts.items()}


def gate_columns(counts: GateCounts | None) -> dict[str, int]:
    """The same as columns."""
    return {
        f"gate_{name}_{kind}": number
        for kind, of_kind in (counts or {}).items()
        for name, number in zip(("fired", "decided"), of_kind)
    }


def check_columns(costs: CheckCostsOf | None) -> dict[str, float | None]:
    """What a guard model beside the subject has cost, as columns."""
    return {f"check_{name}": amount for name, amount in (costs or {}).items()}


def to_csv(board: Board) -> str:
    """One line a data set, model and measure; then the models over all data sets, then runs without predictions."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for line in lines(board):
        writer.writerow({name: csv_cell(value) for name, value in line.items()})
    return text.getvalue()


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
                is_whole = block.dataset == block.whole  # gates and checks are counted for whole sets
                gates = gate_columns(entry.origin.gates) | check_columns(entry.origin.checks) if is_whole else {}
                yield place | rate_columns(entry, name, board) | seeds | origin_columns(entry.origin) | gates
    for overall in board.overall:
        for name in overall.rates:
            cost = {"seconds_per_answer": overall.seconds, "tokens_per_answer": overall.tokens}
            yield (
                {"kind": "overall"}
                | rate_columns(overall, name, board)
                | cost
                | gate_columns(overall.gates)
                | check_columns(overall.checks)
            )
    for run in board.unfinished:
        yield {
            "dataset": run.dataset,
            "part_of": run.dataset,
            "kind": "unfinished",
            "model": run.model,
            "host": run.host,
            "problems": run.reason,
        }
    for figure in board.not_scored:
        yield {
            "dataset": figure.dataset,
            "part_of": figure.dataset,
            "kind": "not_scored",
            "model": figure.model,
            "host": figure.host,
            "problems": not_scored_text(figure),
        }


def rate_columns(entry: Entry | Overall, name: str, board: Board) -> dict[str, Any]:
    """The columns of a rate and its difference from the base."""
    columns = {"model": entry.model, "base": board.bases.get(entry.model), "measure": name}
    columns |= rate_json(entry.rates[name])
    if name in entry.differences:
        difference = difference_json(entry.differences[name])
        renamed = {"difference_low": "low", "difference_high": "high", "pairs": "n"}
        columns |= {
            column: difference[renamed.get(column, column)]
            for column in COLUMNS
            if column not in columns and renamed.get(column, column) in difference
        }
    return columns


def origin_columns(origin: Origin) -> dict[str, Any]:
    """The columns that say how a cell's answers were got."""
    runs = origin.facts
    return {
        "seconds_per_answer": origin.seconds,
        "tokens_per_answer": origin.tokens,
        "judge": origin.judge,
        "scoring": origin.scoring,
        "host": origin.host,
        "host_version": origin.host_version,
        "checkpoint": distinct(facts.checkpoint for facts in runs),
        "fingerprint": distinct(facts.fingerprint for facts in runs),
        "guard": distinct(facts.guard for facts in runs),
        "guard_settings": distinct(
            json.dumps(json_value(facts.settings), sort_keys=True) if facts.guard else None for facts in runs
        ),
        "guard_fingerprint": distinct(facts.guard_fingerprint for facts in runs),
        "seeds": spaced(facts.seed for facts in runs if facts.seed is not None),
        "repetitions": len(origin.files),
        "problems": "; ".join(origin.problems),
    }


def distinct(values: Iterable[object]) -> str:
    """The different values that are there, as text."""
    return "; ".join(dict.fromkeys(str(value) for value in values if value))


def spaced(values: Iterable[object]) -> str:
    """Values with spaces between them."""
    return " ".join(map(str, values))
