"""What a model has said: the words of its answer, if there are any, without the thoughts that it writes down before.

Thoughts (`thoughts`) are no part of an answer, and no judge reads them. What a host or an API has put in the place of
an answer (`failures`) is none: unknown, never safe, never an attack success.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from vlmguard_plugin.judges.failures import failed
from vlmguard_plugin.judges.thoughts import spoken

MISSING = ("nan", "NaN", "None", "null", "NULL", "<NA>", "(empty)", "[empty]", "<empty>")
"""What a host writes for no answer when it turns everything into text; a model's own "none" differs."""


class Said(NamedTuple):
    """words: of the answer, without thoughts, or "". missing: why there is nothing to judge, or None."""

    words: str
    missing: str | None = None


def said(answer: str | float | None) -> Said:
    """What there is to judge of an answer: None, NaN, a failure marker and an unfinished thought are nothing.

    Raises TypeError for an answer that is neither text nor None nor NaN.
    """
    return said_in(answer) if isinstance(answer, str) else Said("", missing_answer(answer))


@lru_cache(maxsize=4096)  # many answers are the same refusal
def said_in(answer: str) -> Said:
    """The same of a text."""
    missing = missing_answer(answer)
    if missing:
        return Said("", missing)
    words = spoken(answer)
    if words is None:
        return Said("", "the answer ends within a thought")
    missing = missing_answer(words) if words != answer else None
    return Said("" if missing else words, missing)


def missing_answer(answer: str | float | None) -> str | None:
    """Why there is no answer at all (None, NaN, a failure marker of the host or an API), or None.

    Raises TypeError for an answer that is neither text nor None nor NaN.
    """
    if answer is None or (isinstance(answer, float) and math.isnan(answer)):
        return "no answer"
    if not isinstance(answer, str):
        raise TypeError(f"answer is {type(answer).__name__} ({answer!r}); it must be a string, None or NaN")
    if answer.strip() in MISSING:
        return "no answer"
    if failed(answer):
        return "the failure marker of a host or an API"
    return None
