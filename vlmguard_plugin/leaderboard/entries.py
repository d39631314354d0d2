"""The entries of a board: each model's rates on a data set and its parts, and its differences from its base there."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, Mapping, Sequence

from vlmguard_plugin.leaderboard.board import Block, Entry, Origin
from vlmguard_plugin.leaderboard.participants import Participant
from vlmguard_plugin.runs.answers import AnswerKey, Answers, Item, Predictions, answers_of, clusters_of, parts_of
from vlmguard_plugin.runs.check_costs import costs_added
from vlmguard_plugin.runs.gate_counts import added
from vlmguard_plugin.runs.unread import unread_in
from vlmguard_plugin.statistics.differences import PairedDifference, paired_difference
from vlmguard_plugin.statistics.measures import UTILITY_MEASURES, Event, mean_of, outcomes
from vlmguard_plugin.statistics.rates import Clusters, Events, Rate, rate, too_unknown, too_unparsed


def dataset_blocks(
    dataset: str, kind: str, participants: Sequence[Participant], bases: Mapping[str, str], max_unknown: float
) -> list[Block]:
    """The block of a data set, or one for each condition where it mixes several; then its groups of categories.

    kind: of the predictions that count here. bases: the base of each guarded model, by label. max_unknown: 0 to 1.
    """
    answers: dict[str, dict[AnswerKey, Item]] = {}
    origins: dict[str, Origin] = {}
    for participant in participants:
        repetitions = [each for each in participant.sets.get(dataset, ()) if each.kind == kind]
        if repetitions:
            answers[participant.label] = answers_of(repetitions)
            origins[participant.label] = origin_of(participant.label, dataset, participant.host, repetitions)
    if len({origin.scoring for origin in origins.values()}) > 1:
        origins = {label: scored_otherwise(origin) for label, origin in origins.items()}
    items = [item for of_model in answers.values() for item in of_model.values()]
    several_categories = len({item.category for item in items}) > 1
    blocks = []
    for part, belongs in parts_of(dataset, items).items():
        in_part = {
            label: {key: item for key, item in of_model.items() if belongs(item)} for label, of_model in answers.items()
        }
        in_part = {label: of_model for label, of_model in in_part.items() if of_model}
        asked = {key[:-1] for of_model in in_part.values() for key in of_model}
        events = {label: outcomes(of_model) for label, of_model in in_part.items()}
        readable = {label: read_events(events[label], of_model) for label, of_model in in_part.items()}
        clusters = {key: cluster for of_model in in_part.values() for key, cluster in clusters_of(of_model).items()}
        entries = tuple(
            Entry(
                model=label,
                counts=dict(Counter(item.label for item in of_model.values())),
                rates=rates_of(events[label], of_model, max_unknown, clusters),
                differences=differences(readable[label], readable.get(bases.get(label, ""), {}), max_unknown, clusters),
                origin=origins[label],
                by_category=by_category(of_model, max_unknown, clusters) if several_categories else {},
                seeds=by_seed(events[label]),
                missing=len(asked - {key[:-1] for key in of_model}),
            )
            for label, of_model in in_part.items()
        )
        blocks.append(Block(part, kind, entries, dataset))
    return blocks


def origin_of(label: str, dataset: str, host: str, repetitions: Sequence[Predictions]) -> Origin:
    """What is known of how a model's answers to a data set were got."""
    facts = tuple(run for predictions in repetitions for run in predictions.runs)
    sessions = [(session, session.answers) for run in facts for session in run.sessions if session.answers]
    mixed = any(len(predictions.runs) > 1 for predictions in repetitions)  # of several settings
    timed = [(session.seconds, answers) for session, answers in sessions if session.seconds is not None]
    counted = [(session.tokens, answers) for session, answers in sessions if session.tokens is not None]
    return Origin(
        model=label,
        dataset=dataset,
        host=host,
        host_version=", ".join(sorted({run.host_version for run in facts if run.host_version})),
        folders=tuple(predictions.folder for predictions in repetitions),
        files=tuple(predictions.file for predictions in repetitions),
        facts=facts,
        judge=", ".join(sorted({predictions.judge for predictions in repetitions if predictions.judge})),
        answers=sum(len(predictions.items) for predictions in repetitions),
        seconds=mean_cost(timed),
        tokens=mean_cost(counted),
        problems=tuple(dict.fromkeys(problem for predictions in repetitions for problem in predictions.remarks())),
        scoring=", ".join(sorted({predictions.scoring for predictions in repetitions if predictions.scoring})),
        gates=None if mixed else added(session.gates for run in facts for session in run.sessions),
        checks=None if mixed else costs_added(session.checks for run in facts for session in run.sessions),
    )


def scored_otherwise(origin: Origin) -> Origin:
    """The same with the problem that another model's answers to this data set were scored in another way."""
    problem = f"scored by {origin.scoring}, while another model's answers here were scored in another way"
    return replace(origin, problems=(*origin.problems, problem))


def rates_of(events: Mapping[str, Events], answers: Answers, max_unknown: float, clusters: Clusters) -> dict[str, Rate]:
    """By measure, the rate of answers; a utility set's is withheld where too many of them could not be read."""
    unread = unread_in(answers)
    return {
        name: rate(measured, max_unknown, clusters, unread if name in UTILITY_MEASURES else 0)
        for name, measured in events.items()
    }


def read_events(
    events: Mapping[str, dict[AnswerKey, Event | None]], answers: Answers
) -> dict[str, dict[AnswerKey, Event | None]]:
    """The outcomes by measure, without utility where too many answers could not be read."""
    unread = unread_in(answers)
    return {
        name: measured
        for name, measured in events.items()
        if name not in UTILITY_MEASURES or not too_unparsed(unread, len(measured) - list(measured.values()).count(None))
    }


def mean_cost(costs: Sequence[tuple[float, int]]) -> float | None:
    """Cost per answer, of sums and the answers they paid for; None without any."""
    return sum(cost for cost, _ in costs) / sum(answers for _, answers in costs) if costs else None


def by_category(answers: Answers, max_unknown: float, clusters: Clusters) -> dict[str, dict[str, Rate]]:
    """Rates by measure and category."""
    in_categories: dict[str, dict[AnswerKey, Item]] = {}
    for key, item in answers.items():
        in_categories.setdefault(item.category, {})[key] = item
    rates: dict[str, dict[str, Rate]] = {}
    for category, in_category in sorted(in_categories.items()):
        for name, found in rates_of(outcomes(in_category), in_category, max_unknown, clusters).items():
            rates.setdefault(name, {})[category] = found
    return rates


def by_seed(measured: Mapping[str, Mapping[AnswerKey, Event | None]]) -> dict[str, tuple[float, ...]]:
    """By measure, the rate in each repetition; nothing where there is but one."""
    seeds = {}
    for name, events in measured.items():
        repetitions: dict[int, list[Event]] = {}
        for key, event in events.items():
            if event is not None:
                repetitions.setdefault(key[-1], []).append(event)
        if len(repetitions) > 1:
            means = [mean_of(known) for _, known in sorted(repetitions.items())]
            seeds[name] = tuple(mean for mean in means if mean is not None)
    return seeds


def differences(
    model: Mapping[str, Events], base: Mapping[str, Events], max_unknown: float, clusters: Clusters
) -> dict[str, PairedDifference]:
    """By measure, the paired difference from the base, where both have items in common and neither rate is withheld.

    model, base: outcomes by measure and answer; the last part of an answer's key is the number of its repetition.
    """
    changes = {
        name: paired_difference(events, repeated(base[name], events), clusters)
        for name, events in model.items()
        if name in base and not (too_unknown(events, max_unknown) or too_unknown(base[name], max_unknown))
    }
    return {name: difference for name, difference in changes.items() if difference is not None}


def repeated(base: Events, model: Events) -> Events:
    """The base's outcomes for each of the model's repetitions: its own of that number, or its first ones again."""
    times: Counter[Any] = Counter(key[:-1] for key in base)
    again = {key: (*key[:-1], key[-1] % times[key[:-1]]) for key in model if key not in base and key[:-1] in times}
    return {**base, **{key: base[first] for key, first in again.items() if first in base}} if again else base
