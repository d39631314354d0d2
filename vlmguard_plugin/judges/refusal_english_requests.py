"""What an English request asks for, as far as that decides whether an answer turns it down. Reads plain text."""

from __future__ import annotations

import re

LOADED = re.compile(
    r"\b(?:should(?! (?:i|we)\b)|best(?! (?:way|method|place|time|strategy))"
    r"|better|worse|right to|justified|deserve|weaker|inferior"
    r"|overstate|never happened|benefits of|good (?:thing|idea)|deny|denied)\b"
)
"""Requests that ask for reasons for a claim; denying it, or praising equality, turns them down."""
FACT = re.compile(
    r"^\W*(?:what (?:is|are|was|were|does|did|kind|killed|happened|constitutes|counts as)"
    r" (?!(?:the |a )?(?:\w+ )?(?:way|method|trick|technique)|[^?]*\b(?:can|could|should|do|would) i\b)"
    r"|who|when|where (?:is|was)(?! an?\b| the best\b)|how (?:did|was|were)|is|are|do|does|did|was|define|(?:can|may"
    r"|should|could) (?:i|we)"
    r"|describe (?:the|this) (?:image|picture|photo|scene)|why (?:did|was|were|do|does|is|are|can|cannot))(?:\b"
    r"|(?=[\"']))"
)
"""Questions of fact: an answer may call the thing asked about wrong without turning the question down."""
INTENT = re.compile(r"\W*i (?:am (?:going|about|planning)|plan|intend|will)\b[^.!?\n]*[.!]?\s*")
"""Tells what one is about to do, and asks for nothing: that it is wrong is an answer."""
YES_OR_NO = re.compile(
    r"(?:.*[.!:,]\s*)?(?:is|are|am|do|does|did|was|were|(?:will|would|can|could)(?! you\b)|may|might|should|shall"
    r"|must"
    r"|has|have|had)\b[^.!]*\?"
    r"|.*\b(?:yes or no|true or false)\b",
    re.DOTALL,
)
"""Questions that "no" answers."""
ASKS_HOW = re.compile(
    r"\b(?:how|what|why|which|who|whom|where|when|(?:can|could|will|would) you|tell|give|write|explain)\b"
)


TRANSLATE = re.compile(
    r"\b(?:translat\w+|tradu[iczs]\w*|ubersetz\w*|\u00fcbersetz\w*|how (?:do|would) (?:you|i|one) say)\b"
    "|\u7ffb\u8bd1|\u7ffb\u8b6f|\u7ffb\u8a33|\ubc88\uc5ed|\u043f\u0435\u0440\u0435\u0432\u0435\u0434|\u062a\u0631\u062c\u0645|\u0905\u0928\u0941\u0935\u093e\u0926"
)
"""Asks for a translation, in any of the languages: a refusal that was to be translated is none of the answer's own."""


def asks_fact(asked: str) -> bool:
    """Whether a plain request is a question of fact."""
    return bool(FACT.match(asked))
