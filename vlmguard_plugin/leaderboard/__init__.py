"""The leaderboard: hosts' prediction files -> judges -> rates with intervals, paired with the unguarded model.

    board = leaderboard("outputs")                     # or ["outputs", "logs", ...], of any of the three hosts
    board.to_terminal(); board.to_markdown(); board.to_csv(); board.to_json(); board.to_html(); finding(board)

Needs the extra `leaderboard` (part of those for the hosts); it is imported at first use.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Iterable

if TYPE_CHECKING:
    from vlmguard_plugin.leaderboard.board import Board

__all__ = ["finding", "leaderboard", "schema_text"]


def leaderboard(
    output_dirs: str | Path | Iterable[str | Path],
    base: str | None = None,
    judge: str = "rules",
    max_unknown: float = 0.1,
) -> Board:
    """The board of all models and data sets in hosts' output folders.

    output_dirs: one or several: VLMEvalKit's --work-dir, lmms-eval's and lm-evaluation-harness's --output_path.
    base: the model that all others are compared with; None compares X_<guard> with X. judge: "rules", or one whose
    judgements `vlmguard judge` has written there. max_unknown: share of unknown answers, 0 to 1, above which a rate
    is withheld.
    Raises OutputError (a ValueError) that names the folder where there is nothing to show.
    """
    try:
        from vlmguard_plugin.leaderboard.board import build_board
    except ModuleNotFoundError as error:
        message = (
            f"the leaderboard needs {error.name}, which is not installed; pip install 'vlmguard_plugin[leaderboard]'"
        )
        raise ModuleNotFoundError(message, name=error.name) from error
    return build_board(output_dirs, base, judge, max_unknown)


def schema_text() -> str:
    """The JSON Schema of a board's JSON."""
    return (Path(__file__).parent / "outputs" / "schema.json").read_text(encoding="utf-8")


def finding(board: Board) -> str:
    """What the board found, in words: one sentence a guarded model."""
    from vlmguard_plugin.leaderboard.verdict import finding as in_words

    return in_words(board)
