"""What a sweep has come to: its points, the leaderboard of its folder, and what is missing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from vlmguard_plugin.calibration.sweep.points import Point
from vlmguard_plugin.leaderboard.board import Block, Board, Entry


@dataclass(frozen=True)
class Curve:
    """What a sweep has come to.

    points: the unguarded model first, then by setting; those of earlier sweeps of this model and guard in the same
        folder too. missing: by (point, data set), why there are no predictions. board: of the whole folder.
    """

    model: str
    guard: str
    out: Path
    points: tuple[Point, ...]
    missing: dict[tuple[str, str], str]
    board: Board

    def notes(self) -> list[str]:
        """What a reader has to know: runs with problems, and points that were not all asked in the same way."""
        found = [entry_of(block, point.name) for block in self.board.blocks for point in self.points]
        origins = list({id(entry.origin): entry.origin for entry in found if entry}.values())
        notes = [
            f"{origin.model} on {origin.dataset}: {'; '.join(origin.problems)}" for origin in origins if origin.problems
        ]
        for what in ("fingerprint", "generation", "dtype"):
            values = [getattr(facts, what) for origin in origins for facts in origin.facts]
            ways = sorted({json.dumps(value, sort_keys=True, default=str) for value in values if value})
            if len(ways) > 1:
                notes.append(
                    f"the points differ in {what} beside the settings ({', '.join(ways)}); "
                    "to ask all anew choose another --out"
                )
        return notes


def entry_of(block: Block, point: str) -> Entry | None:
    """A point's entry of a data set; of several runs of it (another fit, say), which the board tells apart, the newest.

    None where it has none.
    """
    runs = [entry for entry in block.entries if entry.model == point or entry.model.startswith(f"{point} (")]
    return max(runs, key=newest_session, default=None)


def newest_session(entry: Entry) -> str:
    """When an entry's run has last begun; "" where nobody wrote it down."""
    return max((session.started for facts in entry.origin.facts for session in facts.sessions), default="")
