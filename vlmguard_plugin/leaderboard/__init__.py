"""The leaderboard: hosts' prediction files -> judges -> rates with intervals, paired with the unguarded model.

    board = leaderboard("outputs")                     # or ["outputs", "logs", ...], of any of the three hosts
    show(board); to_markdown(board); to_csv(board); to_json(board); to_html(board); finding(board)

A board is data and knows no form of its own; these functions take one. Needs the extra `leaderboard` (part of those
for the hosts): what is heavy is imported at first use, and none of it loads torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Iterable

from vlmguard_plugin.statistics.levels import MAX_UNKNOWN

if TYPE_CHECKING:
    from rich.console import Console

    from vlmguard_plugin.leaderboard.board import Board

__all__ = ["finding", "leaderboard", "schema_text", "show", "to_csv", "to_html", "to_json", "to_markdown"]


def leaderboard(
    output_dirs: str | Path | Iterable[str | Path],
    base: str | None = None,
    judge: str = "rules",
    max_unknown: float = MAX_UNKNOWN,
) -> Board:
    """The board of all models and data sets in hosts' output folders.

    output_dirs: one or several: VLMEvalKit's --work-dir, lmms-eval's and lm-evaluation-harness's --output_path.
    base: the model that all others are compared with; None compares X_<guard> with X. judge: "rules", or one whose
    judgements `vlmguard judge` has written there. max_unknown: share of unknown answers, 0 to 1, above which a rate
    is withheld.
    Raises OutputError (a ValueError) that names the folder where there is nothing to show.
    """
    try:
        from vlmguard_plugin.leaderboard.build import build_board
    except ModuleNotFoundError as error:
        message = (
            f"the leaderboard needs {error.name}, which is not installed; pip install 'vlmguard_plugin[leaderboard]'"
        )
        raise ModuleNotFoundError(message, name=error.name) from error
    return build_board(output_dirs, base, judge, max_unknown)


def finding(board: Board) -> str:
    """What the board found, in words, one paragraph a line: a headline, then what each guarded model changed.

    A line that begins with "Warning" tells of something that got significantly worse.
    """
    from vlmguard_plugin.leaderboard.outputs.sentences import finding as in_words

    return in_words(board)


def show(board: Board, console: Console | None = None, short: bool = False) -> None:
    """Print the finding and one table a data set; made for 120 columns. console: rich's; None for the terminal.

    short: the table over all data sets alone.
    """
    from vlmguard_plugin.leaderboard.outputs import tables

    tables.show(board, console, short)


def to_markdown(board: Board) -> str:
    """The finding and one Markdown table a data set."""
    from vlmguard_plugin.leaderboard.outputs import tables

    return tables.to_markdown(board)


def to_json(board: Board) -> str:
    """Everything, at full precision, as JSON; `schema_text` describes it."""
    from vlmguard_plugin.leaderboard.outputs import data

    return data.to_json(board)


def to_csv(board: Board) -> str:
    """One line a model, data set and measure."""
    from vlmguard_plugin.leaderboard.outputs import data

    return data.to_csv(board)


def to_html(board: Board, answers: bool = False) -> str:
    """One page that needs nothing else. answers: whether it holds the models' answers, closed until asked for."""
    from vlmguard_plugin.leaderboard.outputs import page

    return page.to_html(board, answers)


def schema_text() -> str:
    """The JSON Schema of a board's JSON."""
    return (Path(__file__).parent / "outputs" / "schema.json").read_text(encoding="utf-8")
