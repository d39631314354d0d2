"""Each model over all data sets of a board, and the correction for how many comparisons the board makes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Hashable, Mapping, Protocol, Sequence, TypeVar

from vlmguard_plugin.leaderboard.board import Block, Overall
from vlmguard_plugin.leaderboard.entries import differences, read_events
from vlmguard_plugin.leaderboard.participants import Participant
from vlmguard_plugin.runs.answers import answers_of, clusters_of
from vlmguard_plugin.runs.check_costs import costs_added
from vlmguard_plugin.runs.gate_counts import added
from vlmguard_plugin.statistics.differences import PairedDifference, holm
from vlmguard_plugin.statistics.measures import MEASURES, Event, outcomes
from vlmguard_plugin.statistics.rates import rate


def over_all(
    participants: Sequence[Participant], bases: Mapping[str, str], max_unknown: float, blocks: Sequence[Block]
) -> tuple[Overall, ...]:
    """Each model over all its data sets, each answer counting once. max_unknown: 0 to 1.

    Utility leaves out the data sets of which a model's answers can't be read.
    """
    pooled: dict[str, dict[str, dict[Any, Event | None]]] = {}
    unread: dict[str, list[str]] = {}
    clusters: dict[Any, Hashable] = {}
    for participant in participants:
        of_model = pooled.setdefault(participant.label, {})
        for dataset, predictions in participant.sets.items():
            for kind in {each.kind for each in predictions}:
                answers = answers_of(each for each in predictions if each.kind == kind)
                for key, cluster in clusters_of(answers).items():
                    clusters[(dataset, *key)] = cluster if isinstance(cluster, str) else (dataset, cluster)
                found = outcomes(answers)
                readable = read_events(found, answers)
                if len(readable) < len(found):
                    unread.setdefault(participant.label, []).append(dataset)
                for name, events in readable.items():
                    of_model.setdefault(name, {}).update({(dataset, *key): event for key, event in events.items()})
    totals = []
    for participant in participants:
        label = participant.label
        entries = [entry for block in blocks if (entry := block.entry(label))]
        origins = list({entry.origin.dataset: entry.origin for entry in entries}.values())
        totals.append(
            Overall(
                model=label,
                datasets=len(origins),
                rates={name: rate(events, max_unknown, clusters) for name, events in pooled[label].items()},
                differences=differences(pooled[label], pooled.get(bases.get(label, ""), {}), max_unknown, clusters),
                seconds=per_answer([(origin.seconds, origin.answers) for origin in origins]),
                tokens=per_answer([(origin.tokens, origin.answers) for origin in origins]),
                unread=tuple(unread.get(label, ())),
                gates=added(origin.gates for origin in origins),
                checks=costs_added(origin.checks for origin in origins),
                answers=sum(origin.answers for origin in origins),
            )
        )
    return tuple(totals)


def per_answer(costs: Sequence[tuple[float | None, int]]) -> float | None:
    """The mean over all answers; None unless it is known for every data set."""
    known = [(cost, answers) for cost, answers in costs if cost is not None]
    if not known or len(known) < len(costs):
        return None
    return sum(cost * answers for cost, answers in known) / sum(answers for _, answers in known)


def corrected(blocks: Sequence[Block], overall: Sequence[Overall]) -> tuple[tuple[Block, ...], tuple[Overall, ...]]:
    """The same with Holm's correction: of one measure over all guards and data sets, and over all guards overall."""
    entries = iter(holm_corrected([entry for block in blocks for entry in block.entries]))
    changed = tuple(replace(block, entries=tuple(next(entries) for _ in block.entries)) for block in blocks)
    return changed, tuple(holm_corrected(overall))


class Different(Protocol):
    """Something with differences by measure: an Entry, an Overall, one data set of a comparison."""

    @property
    def differences(self) -> dict[str, PairedDifference]: ...


Corrected = TypeVar("Corrected", bound=Different)


def holm_corrected(compared: Sequence[Corrected]) -> list[Corrected]:
    """The same with p_holm in their differences: of each measure, corrected over all that have it."""
    results = list(compared)
    for name in MEASURES:
        places = [place for place, result in enumerate(results) if name in result.differences]
        for place, p in zip(places, holm([results[place].differences[name].p for place in places])):
            differences = results[place].differences
            with_p = {**differences, name: replace(differences[name], p_holm=p)}
            results[place] = replace(results[place], differences=with_p)  # type: ignore[type-var]  # all are dataclasses
    return results
