"""The same requests in several conditions: text against image against attack, item by item, for each model."""

from __future__ import annotations

from typing import Mapping, Sequence

from vlmguard_plugin.benchmarks.condition import Condition, split_condition
from vlmguard_plugin.benchmarks.picture import EVERY_CONDITION
from vlmguard_plugin.leaderboard.board import Conditions, InCondition
from vlmguard_plugin.leaderboard.entries import differences, rates_of
from vlmguard_plugin.leaderboard.overall import holm_corrected
from vlmguard_plugin.leaderboard.participants import Participant
from vlmguard_plugin.runs.answers import AnswerKey, Item, Predictions, answers_of
from vlmguard_plugin.statistics.measures import outcomes
from vlmguard_plugin.statistics.rates import Events


def across_conditions(participants: Sequence[Participant], max_unknown: float) -> tuple[Conditions, ...]:
    """Request sets that a model was asked in several conditions, each compared with text or what is nearest to it.

    Rows are told by their id, which every condition of a set has; an id that stands for other words in two conditions
    (they were prepared from two files) is not compared. p is corrected (Holm) over all models, sets and conditions of a
    measure here. max_unknown: 0 to 1.
    """
    sets: dict[str, dict[str, dict[Condition, Sequence[Predictions]]]] = {}
    for participant in participants:
        for dataset, repetitions in participant.sets.items():
            split = split_condition(dataset)
            safety = [each for each in repetitions if each.kind == "safety"]
            if split and safety:
                sets.setdefault(split[0], {}).setdefault(participant.label, {})[split[1]] = safety
    rows = [
        (name, reference.name, row)
        for name, by_model in sorted(sets.items())
        if (reference := plainest({condition for of_model in by_model.values() for condition in of_model}))
        for model, of_model in by_model.items()
        if len(of_model) > 1
        for row in rows_of(name, model, of_model, reference, max_unknown)
    ]
    corrected = holm_corrected([row for _, _, row in rows])
    tables: dict[tuple[str, str], list[InCondition]] = {}
    for (name, reference_name, _), row in zip(rows, corrected):
        tables.setdefault((name, reference_name), []).append(row)
    return tuple(Conditions(name, reference_name, tuple(table)) for (name, reference_name), table in tables.items())


def plainest(conditions: set[Condition]) -> Condition:
    """Text where it is there, else what adds least to it."""
    return min(conditions, key=rank)


def rank(condition: Condition) -> tuple[int, int, int]:
    """The order in which conditions are shown: what is no attack first, and in the order of their list."""
    attacks = (condition.template, condition.typography, condition.early is not None)
    return sum(attacks), EVERY_CONDITION.index(condition.beside), condition.early or 0


def rows_of(
    name: str,
    model: str,
    of_model: Mapping[Condition, Sequence[Predictions]],
    reference: Condition,
    max_unknown: float,
) -> list[InCondition]:
    """One model's conditions of a set, with their differences from the reference where it has that."""
    answers = {condition: by_id(repetitions) for condition, repetitions in of_model.items()}
    clusters = {key: item.base_request or key[:-1] for of_one in answers.values() for key, item in of_one.items()}
    events = {condition: outcomes(of_one) for condition, of_one in answers.items()}
    words = {
        condition: {key[:-1]: plain_words(condition, item) for key, item in of_one.items()}
        for condition, of_one in answers.items()
    }

    def same_words(condition: Condition) -> dict[str, Events]:
        """The reference's outcomes, without the ids that stand for other words in a condition: of another file."""
        own, known = words[condition], words.get(reference, {})
        others = {key for key, said in known.items() if said and own.get(key) and own[key] != said}
        return {
            name: {key: event for key, event in of_name.items() if key[:-1] not in others}
            for name, of_name in events.get(reference, {}).items()
        }

    return [
        InCondition(
            model=model,
            dataset=f"{name}_{condition.name}",
            condition=condition.name,
            rates=rates_of(events[condition], answers[condition], max_unknown, clusters),
            differences={}
            if condition == reference
            else differences(events[condition], same_words(condition), max_unknown, clusters),
        )
        for condition in sorted(answers, key=rank)
    ]


def plain_words(condition: Condition, item: Item) -> str:
    """What was asked, however it was put; "" where an attacked row does not say it."""
    if item.case is None or (condition.is_attack and not item.case.intent):
        return ""
    return " ".join(item.case.asked.split())


def by_id(repetitions: Sequence[Predictions]) -> dict[AnswerKey, Item]:
    """Answers by their row's id (its index, in files that have none) and whether it is harmful."""
    return {(item.id or key[0], str(item.harmful), key[-1]): item for key, item in answers_of(repetitions).items()}
