"""Which models take part in a board, and which of them is whose unguarded base."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Mapping, Sequence

from vlmguard_plugin.naming import NO_GUARD, guarded_name, split_guarded
from vlmguard_plugin.runs.answers import OutputError, Predictions
from vlmguard_plugin.runs.facts import RunFacts


@dataclass(frozen=True)
class Participant:
    """A model as it stands on the board. label: its name there. name: the host's. folder: where names alone can't tell
    runs under different settings apart, else None. sets: its predictions by data set, one a repetition."""

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

    The same model on the same data set in several folders is one model asked several times (seeds), unless the facts
    of the runs say that it was not the same model, guard or setting: then each folder's is one of its own. The host is
    part of the label where there are several.
    """
    hosts = {each.host for each in predictions}
    by_model: dict[tuple[str, str], list[Predictions]] = {}
    for each in predictions:
        by_model.setdefault((each.model, each.host), []).append(each)
    participants = []
    for (model, host), of_model in by_model.items():
        label = f"{model} [{host}]" if len(hosts) > 1 else model
        ways = {settings for each in of_model if (settings := settings_of(each))}
        folders = list(dict.fromkeys(each.folder for each in of_model))
        if len(ways) < 2 or len(folders) < 2:
            participants.append(Participant(label, model, host, None, by_dataset(of_model)))
            continue
        for folder in folders:
            sets = by_dataset([each for each in of_model if each.folder == folder])
            participants.append(Participant(f"{label} ({folder})", model, host, folder, sets))
    return participants


def by_dataset(predictions: Sequence[Predictions]) -> dict[str, tuple[Predictions, ...]]:
    """Predictions by data set."""
    sets: dict[str, tuple[Predictions, ...]] = {}
    for each in predictions:
        sets[each.dataset] = (*sets.get(each.dataset, ()), each)
    return sets


def settings_of(predictions: Predictions) -> str:
    """What tells one way of answering from another, seeds aside; "" where nobody wrote it down."""
    if not predictions.runs:
        return ""
    identity = {
        name: value for name, value in predictions.runs[-1].identity.items() if name not in ("seed", "host", "model")
    }
    return json.dumps(identity, sort_keys=True, default=str)


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
    by_name: dict[str, list[Participant]] = {}
    for participant in same_host:
        by_name.setdefault(participant.name, []).append(participant)
    split = split_guarded(guarded.name, lambda name: name in by_name or guarded_name(name, NO_GUARD) in by_name)
    if split:
        model, guard = split
        plain, by_none = by_name.get(model, []), by_name.get(guarded_name(model, NO_GUARD), [])
        return [] if guard == NO_GUARD else on_its_engine(guarded, plain) or by_none or plain
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
    """Of several, the one of the same host and folder; None where that does not leave just one."""
    narrowings: tuple[Callable[[Participant], bool], ...] = (
        lambda candidate: candidate.host == guarded.host,
        lambda candidate: candidate.folder == guarded.folder,
    )
    left = list(candidates)
    for belongs in narrowings:
        left = [candidate for candidate in left if belongs(candidate)] or left
    return left[0] if len(left) == 1 else None


def guard_of(participant: Participant) -> str | None:
    """The guard that a model's facts name; None without one, under `none`, or without facts."""
    return next((facts.guard for facts in participant.facts() if facts.guard not in (None, "", NO_GUARD)), None)


def weights_of(participant: Participant) -> str:
    """The fingerprint of a model's weights; "" where nobody wrote it down."""
    return next((facts.fingerprint for facts in participant.facts()), "")


def engine_of(participant: Participant) -> str:
    """The inference engine that a model ran on; "" where nobody wrote it down."""
    return next((facts.engine for facts in participant.facts() if facts.engine), "")
