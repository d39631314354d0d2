"""Rows of VLMEvalKit's utility sets as items, scored as the host scores them: by its own scores or by its rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Mapping, Sequence

from vlmguard_plugin.judges.said import said
from vlmguard_plugin.runs import host_rules
from vlmguard_plugin.runs.answers import Item, NotScored, OutputError
from vlmguard_plugin.runs.rows import NO_ANSWER, TableRow, answer_of, items_of, text

BY_LETTER = "the letter chosen, read by rules"
BY_WORDS = "the right answer's words stand in it"


@dataclass(frozen=True)
class HostScores:
    """A host's own scores of single answers. by_index: 0 to 1. name: what tells them (the judge's name, say).

    are_figure: whether a figure of the host's for the whole set is known to be their mean.
    """

    by_index: Mapping[str, float]
    name: str
    are_figure: bool = False


@dataclass(frozen=True)
class Scored:
    """items: what the host counts. scoring: how, in words. problems: what a reader of the figures has to know."""

    items: tuple[Item, ...]
    scoring: str
    problems: tuple[str, ...] = ()


def scored(rows: Sequence[TableRow], dataset: str, kind: str, host: HostScores | None = None) -> Scored:
    """A utility set's answers. kind: "mcq" or "open". host: the host's own scores of these answers, where it left any.

    NotScored where neither tells what the host makes of them; OutputError as in `items_of`.
    """
    ours = host_rules.is_ours(rows)
    by_index = {text(row["index"]): row for row in rows}
    if kind == "mcq":
        return choices(items_of(rows, dataset, "mcq"), by_index, "" if ours else dataset, host)
    rule = None if ours else named_rule(rows, dataset)
    if rule:
        items = tuple(by_rule(item, by_index[item.key[0]], rule) for item in items_of(rows, dataset, "unscored"))
        words = host_rules.RULES[rule][1]
        if host_rules.counts_f1(dataset):
            return Scored(host_rules.in_each_category(items, by_index, dataset), f"{words}, F1 of yes")
        return Scored(items, words)
    if host is not None and not ours and (rule is None or host.are_figure):
        return Scored(with_host_scores(items_of(rows, dataset, "unscored"), host), f"the host's scores ({host.name})")
    if rule == "":
        raise NotScored(host_rules.why_not(dataset))
    if ours:
        return Scored(items_of(rows, dataset, "open"), BY_WORDS)
    if any(len(host_rules.accepted_answers(text(row["answer"]))) > 1 for row in rows):
        listed = f"name the rule in a column {host_rules.RULE_COLUMN} ({', '.join(host_rules.RULES)})"
        raise NotScored(
            f"a question has several right answers, and no rule of the host's is known for this set; {listed}"
        )
    problem = f"no rule of the host's is known for this set; an answer is right here where {BY_WORDS}"
    return Scored(items_of(rows, dataset, "open"), BY_WORDS, (problem,))


def named_rule(rows: Sequence[TableRow], dataset: str) -> str | None:
    """As `host_rules.open_rule`; OutputError for a rule that there is not."""
    try:
        return host_rules.open_rule(rows, dataset)
    except KeyError as error:
        raise OutputError(str(error.args[0])) from error


def choices(
    items: tuple[Item, ...], rows: Mapping[str, Mapping[str, Any]], dataset: str, host: HostScores | None
) -> Scored:
    """Multiple-choice answers, whole questions of a circular set. rows: by index. dataset: "" for one of ours."""
    circular = host_rules.is_circular(dataset)
    how = ", right in all turns of its options" if circular else ""
    if circular:
        items = host_rules.whole_questions(items, {index: text(row.get("g_index")) for index, row in rows.items()})
    other = host_rules.OTHER_MEANS.get(dataset)
    problems = (f"{other}; here each answer counts once",) if other else ()
    if host is None:
        return Scored(items, BY_LETTER + how, problems)
    return Scored(with_host_scores(items, host), f"the host's scores ({host.name}){how}", problems)


def with_host_scores(items: Sequence[Item], host: HostScores) -> tuple[Item, ...]:
    """The items with the host's scores, but for missing answers; what names no option stays unparsed where wrong."""
    return tuple(
        graded(item, score)
        if item.label != "unknown"
        and not said(item.case.answer).missing
        and ((score := host.by_index[item.key[0]]) or item.label != "unparsed")
        else replace(item, label=item.label or "unknown")
        for item in items
    )


def by_rule(item: Item, row: TableRow, rule: str) -> Item:
    """An item of an open set, scored by a rule of host_rules.RULES."""
    words, missing = said(answer_of(row))
    if missing:
        return replace(item, label="unknown")
    if not text(row["answer"]).strip():
        return replace(item, label="unknown", note=NO_ANSWER)
    accepted = host_rules.accepted_answers(text(row["answer"]))
    score = host_rules.rule_for(rule, item.category)(words, accepted)
    return replace(item, label="unparsed") if score is None else graded(item, score)


def graded(item: Item, score: float) -> Item:
    """An item with a score, 0 to 1: right, wrong or partly right."""
    if score in (0, 1):
        return replace(item, label="right" if score else "wrong")
    return replace(item, label="partly", score=float(score))
