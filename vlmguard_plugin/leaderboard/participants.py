"""Which models take part in a board, and which of them is whose unguarded base."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Mapping, Sequence

from vlmguard_plugin.leaderboard.same_runs import groups_of_runs, labels_of, without_copies
from vlmguard_plugin.naming import NO_GUARD, guarded_name, split_guarded
from vlmguard_plugin.runs.answers import OutputError, Predictions
from vlmguard_plugin.runs.facts import RunFacts


@dataclass(frozen=True)
class Participant:
    """A model as it stands on the board. label: its name there. name: the host's. folder: that of its runs, where it
    is one and others have the same name, else None. sets: its predictions by data set, one a repetition."""

    label: str
    name: str
    host: str
    folder: Path | None
    sets: Mapping[str, tuple[Predictions, ...]]

    def facts(self) -> list[RunFacts]:
        """All that its runs have written down, in the order of its data sets."""
        return [
            facts for repetitions in self.sets.values() for predictions in repetitions for facts in predictions.runs
        ]


def participants_of(predictions: Sequence[Predictions]) -> list[Participant]:
    """The models of a board.

    The same model on the same data set several times is one model with repetitions (seeds) where the facts of its runs
    say that it was the same model, guard and setting (`same_runs`); else each is one of its own. The host is part of
    the label where there are several.
    """
    hosts = {each.host for each in predictions}
    participants = []
    for (model, host), of_model in by_name(predictions).items():
        groups = groups_of_runs(of_model)
        labels = labels_of(f"{model} [{host}]" if len(hosts) > 1 else model, groups)
        for label, group in zip(labels, groups):
            folders = {each.folder for each in group}
            folder = folders.pop() if len(groups) > 1 and len(folders) == 1 else None
            participants.append(Participant(label, model, host, folder, by_dataset(without_copies(group))))
    return participants


def labels_by_file(predictions: Sequence[Predictions]) -> dict[Path, str]:
    """By file of predictions, its model's label on a board of these, the host left out."""
    labels = {}
    for of_model in by_name(predictions).values():
        groups = groups_of_runs(of_model)
        for label, group in zip(labels_of(of_model[0].model, groups), groups):
            labels.update({each.file: label for each in group})
    return labels


def by_name(predictions: Sequence[Predictions]) -> dict[tuple[str, str], list[Predictions]]:
    """Predictions by the model's name and the host."""
    named: dict[tuple[str, str], list[Predictions]] = {}
    for each in predictions:
        named.setdefault((each.model, each.host), []).append(each)
    return named


def by_dataset(predictions: Sequence[Predictions]) -> dict[str, tuple[Predictions, ...]]:
    """Predictions by data set."""
    sets: dict[str, tuple[Predictions, ...]] = {}
    for each in predictions:
        sets[each.dataset] = (*sets.get(each.dataset, ()), each)
    return sets


def find_bases(participants: Sequence[Participant], base: str | None, folders: Sequence[Path]) -> dict[str, str]:
    """By guarded model, its unguarded one: `base` for all others, or X for X_<guard>, of the same host and folder.

    X_none, the unguarded model by way of the guards' code, stands in X's place where X is not there or ran on another
    engine.
    A guarded model whose name finds none is compared with the unguarded one of the same weights, if there is just one.
    OutputError where `base` is not there. folders: named by that error.
    """
    if base is not None:
        chosen = [participant for participant in participants if base in (participant.label, participant.name)]
        if not chosen:
            raise OutputError(
                f"base model {base!r} has no predictions in {', '.join(map(str, folders))}; "
                f"choose one of {', '.join(participant.label for participant in participants)}"
            )
        candidates = {participant.label: chosen for participant in participants if participant not in chosen}
    else:
        candidates = {participant.label: base_candidates(participant, participants) for participant in participants}
    by_label = {participant.label: participant for participant in participants}
    bases = {label: nearest(by_label[label], others) for label, others in candidates.items()}
    return {label: nearest_base.label for label, nearest_base in bases.items() if nearest_base is not None}


def base_candidates(guarded: Participant, participants: Sequence[Participant]) -> list[Participant]:
    """The models of the same host that may be a guarded one's base; none for a model without a guard."""
    same_host = [participant for participant in participants if participant.host == guarded.host]
    of_name: dict[str, list[Participant]] = {}
    for participant in same_host:
        of_name.setdefault(participant.name, []).append(participant)
    split = split_guarded(guarded.name, lambda name: name in of_name or guarded_name(name, NO_GUARD) in of_name)
    if split:
        model, guard = split
        plain, by_none = of_name.get(model, []), of_name.get(guarded_name(model, NO_GUARD), [])
        if guard == NO_GUARD:
            return []
        named = on_its_engine(guarded, plain) or by_none or plain
        return [participant for participant in named if not other_weights(participant, guarded)]
    if not guard_of(guarded) or not weights_of(guarded):
        return []
    alike = [
        participant
        for participant in same_host
        if participant is not guarded and not guard_of(participant) and weights_of(participant) == weights_of(guarded)
    ]
    return on_its_engine(guarded, alike) or alike


def on_its_engine(guarded: Participant, candidates: Sequence[Participant]) -> list[Participant]:
    """Those that are not known to have run on another inference engine than the guarded model."""
    engine = engine_of(guarded)
    return [each for each in candidates if not engine or engine_of(each) in ("", engine)]


def nearest(guarded: Participant, candidates: Sequence[Participant]) -> Participant | None:
    """Of several, the one of the same host, weights, checkpoint and folder; None where that does not leave just one."""
    narrowings: tuple[Callable[[Participant], bool], ...] = (
        lambda candidate: candidate.host == guarded.host,
        lambda candidate: bool(weights_of(guarded)) and weights_of(candidate) == weights_of(guarded),
        lambda candidate: checkpoint_of(candidate) == checkpoint_of(guarded),
        lambda candidate: candidate.folder == guarded.folder,
    )
    left = list(candidates)
    for belongs in narrowings:
        left = [candidate for candidate in left if belongs(candidate)] or left
    return left[0] if len(left) == 1 else None


def guard_of(participant: Participant) -> str | None:
    """The guard that a model's facts name; None without one, under `none`, or without facts."""
    return next((facts.guard for facts in participant.facts() if facts.guard not in (None, "", NO_GUARD)), None)


def checkpoint_of(participant: Participant) -> str:
    """The checkpoint that a model's facts name; "" where nobody wrote it down."""
    return next((facts.checkpoint for facts in participant.facts()), "")


def other_weights(participant: Participant, other: Participant) -> bool:
    """Whether two models are known to have different weights."""
    weights, others = weights_of(participant), weights_of(other)
    return bool(weights and others) and weights != others


def weights_of(participant: Participant) -> str:
    """The fingerprint of a model's weights; "" where nobody wrote it down."""
    return next((facts.fingerprint for facts in participant.facts()), "")


def engine_of(participant: Participant) -> str:
    """The inference engine that a model ran on; "" where nobody wrote it down."""
    return next((facts.engine for facts in participant.facts() if facts.engine), "")
