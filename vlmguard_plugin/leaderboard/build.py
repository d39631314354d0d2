"""Hosts' output folders to a board: collected, judged, counted, compared, corrected."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from pathlib import Path
from typing import Iterable, Iterator

from vlmguard_plugin.leaderboard.across import across_conditions
from vlmguard_plugin.leaderboard.board import Board
from vlmguard_plugin.leaderboard.entries import dataset_blocks
from vlmguard_plugin.leaderboard.overall import corrected, over_all
from vlmguard_plugin.leaderboard.participants import find_bases, participants_of
from vlmguard_plugin.leaderboard.side_effects import side_effects
from vlmguard_plugin.runs.collect import collect
from vlmguard_plugin.statistics.levels import MAX_UNKNOWN


@contextmanager
def without_collections() -> Iterator[None]:
    """A context in which no garbage is looked for: among so many answers that takes seconds, and there is none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@without_collections()
def build_board(
    folders: str | Path | Iterable[str | Path],
    base: str | None = None,
    judge: str = "rules",
    max_unknown: float = MAX_UNKNOWN,
) -> Board:
    """Judge the hosts' predictions in output folders and compare the models.

    base: the model that all others are compared with; None finds each one's by its name (`find_bases`).
    judge: "rules", or a judge that has judged these predictions before (`vlmguard judge`).
    max_unknown: share of unknown answers (0 to 1) above which a rate is withheld.
    OutputError (a ValueError) where a folder is missing, nothing can be shown, or `base` is not there.
    """
    places = tuple(Path(folder) for folder in ([folders] if isinstance(folders, (str, Path)) else folders))
    collected = collect(places, judge)
    participants = participants_of(collected.predictions)
    bases = find_bases(participants, base, places)
    participants.sort(key=lambda each: (bases.get(each.label, each.label), each.label in bases, each.label))
    sets = {(part.dataset, part.kind) for part in collected.predictions}
    blocks = [
        block
        for dataset, kind in sorted(sets, key=lambda pair: (pair[1] != "safety", pair))
        for block in dataset_blocks(dataset, kind, participants, bases, max_unknown)
    ]
    with_correction, overall = corrected(blocks, over_all(participants, bases, max_unknown, blocks))
    return Board(
        folders=places,
        models=tuple(participant.label for participant in participants),
        bases=bases,
        blocks=with_correction,
        skipped=collected.skipped,
        judge=judge,
        max_unknown=max_unknown,
        overall=overall,
        unfinished=collected.unfinished,
        predictions=collected.predictions,
        not_scored=collected.not_scored,
        across=across_conditions(participants, max_unknown),
        side_effects=side_effects(participants, bases),
    )
