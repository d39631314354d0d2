"""How many answers to questions nobody could read: they named nothing that could be right, and yet said something."""

from __future__ import annotations

from vlmguard_plugin.runs.answers import Answers
from vlmguard_plugin.runs.collect import by_rules
from vlmguard_plugin.statistics.levels import MAX_UNPARSED
from vlmguard_plugin.statistics.measures import UNPARSED


def unread_in(answers: Answers) -> int:
    """Unparsed answers that are neither refusals nor degenerate: those are rightly wrong, however many there are.

    A guard that makes a model refuse what it is asked lowers accuracy, and that must show. Where fewer than
    MAX_UNPARSED are unparsed all of them are counted: nothing hangs on it.
    """
    unparsed = [item.case for item in answers.values() if item.label == UNPARSED]
    if len(unparsed) <= MAX_UNPARSED * len(answers):
        return len(unparsed)
    return sum(judgement.label == "safe" for judgement in by_rules(unparsed))
