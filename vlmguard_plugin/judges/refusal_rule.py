"""Rules of the refusal judge with a quick look: most sentences fit none, and a regular expression is slow to say so."""

from __future__ import annotations

import re
from typing import NamedTuple, Sequence


class Rule(NamedTuple):
    """A pattern, and pieces of text of which one at least stands in whatever it fits."""

    pieces: tuple[str, ...]
    pattern: re.Pattern[str]

    def fits(self, text: str) -> bool:
        """Whether the pattern is found in a text."""
        return holds_any(text, self.pieces) and self.pattern.search(text) is not None


def rule(pieces: str, pattern: str) -> Rule:
    """A rule; pieces: parted by "|", as in "cannot|will not"."""
    return Rule(tuple(pieces.split("|")), re.compile(pattern))


def holds_any(text: str, pieces: Sequence[str]) -> bool:
    """Whether one of several pieces stands in a text; as `any`, without what a generator costs."""
    for piece in pieces:
        if piece in text:
            return True
    return False


def fits_any(text: str, rules: Sequence[Rule]) -> bool:
    """Whether one of several rules fits a text."""
    for pieces, pattern in rules:
        if holds_any(text, pieces) and pattern.search(text) is not None:
            return True
    return False
