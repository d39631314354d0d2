"""What a model has said: the words of its answer, if there are any, without the thoughts that it writes down before.

A thought may refuse before an answer that complies, and the other way round: it is no part of the answer, and no judge
reads it. What a host or an API has put in the place of an answer is none: unknown, never safe, never an attack success.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

MISSING = ("nan", "NaN", "None", "<NA>")
"""What a host writes for no answer when it turns everything into text; a model's own "none" differs."""
_LIBRARIES = (
    "openai|anthropic|google|httpx|httpcore|requests|urllib3|aiohttp|litellm|botocore|vertexai|dashscope|mistralai"
    "|cohere"
)
_API_ERRORS = (
    r"(?:bad ?request|rate ?limit|api|api ?connection|api ?status|time ?out|permission ?denied|authentication"
    r"|internal ?server|not ?found|content ?filter\w*|blocked ?prompt|stop ?candidate|retry|service ?unavailable"
    r"|invalid ?argument|resource ?exhausted|http|ssl|read ?timeout|connect ?timeout|remote ?protocol|json ?decode)"
)
FAILURE = re.compile(
    r"\s*(?:failed to obtain answer"
    r"|\[?(?:error|exception|failed|failure|timeout|no answer|no response|blocked|filtered)\]"
    r"|traceback \(most recent call last\)"
    r"|(?:runtime|value|key|type|index|attribute|os|out ?of ?memory|cuda|torch|connection|timeout)\s?error:"
    rf"|(?:{_LIBRARIES})(?:\.\w+)+(?:error|exception|filter\w*)?\b\s*[:(]"
    rf"|{_API_ERRORS}(?:error|exception)(?:\s*[:(\[]|\s+occurred|\s*$)"
    r"|(?:an )?(?:api|http|network|server|connection|unknown|internal)\s(?:\w+\s?)?error\b[^.!?\n]{0,40}"
    r"(?:occurred|:|$)"
    r"|finish[ _]?reason\b\s*[.:=]"
    r"|error\s*(?:code)?\s*:\s*(?:[45]\d\d\b|content[ _]?filter|safety\b|blocked|timeout|rate limit)"
    r"|(?:the )?(?:request|connection|operation|read|generation)(?: has)? timed out\b[^!?]{0,60}$"
    r"|(?:http(?: error)? )?[45]\d\d (?:bad request|unauthorized|forbidden|not found|too many requests"
    r"|internal server error|bad gateway|service unavailable|gateway time-?out)\b"
    r"|content[ _]?filter(?:ed)?\W*$"
    r"|(?:the|your) (?:response|prompt|request|content|output) was (?:blocked|filtered|flagged) (?:by|due to|because)\b"
    r"[^.!?\n]{0,80}\b(?:filter\w*|policy|safety|management|moderation|recitation))",
    re.IGNORECASE,
)
"""What a host, an API or its library has put in the place of an answer."""
_NAMES = "think|thinking|thought|thoughts|reasoning|reflection|seed:think|analysis"
OPENED = re.compile(
    rf"<(?:{_NAMES})>|\[think\]|\u25c1think\u25b7|<\|(?:begin_of_thought|channel\|>\s*(?:analysis|commentary)\b[^<]*<\|message)\|>",
    re.IGNORECASE,
)
"""What a thought begins with: tags as of Qwen, DeepSeek, Magistral and Kimi, and gpt-oss's channels."""
CLOSED = re.compile(
    rf"</(?:{_NAMES})>|\[/think\]|\u25c1/think\u25b7|<\|end_of_thought\|>"
    r"|<\|channel\|>\s*final\b[^<]*<\|message\|>",
    re.IGNORECASE,
)
"""What it ends with. It counts without a beginning too: some templates put that into the prompt."""
STAGES = re.compile(r"\s*<(?:SUMMARY|CAPTION|REASONING)>")
"""What an answer in LLaVA-CoT's stages begins with; the last of them is said aloud."""
CONCLUSION = re.compile(r"<CONCLUSION>(.*?)(?:</CONCLUSION>|$)", re.DOTALL)
ANSWER_TAGS = re.compile(r"\s*<answer>(.*?)(?:</answer>\s*|$)", re.DOTALL | re.IGNORECASE)
LEFTOVERS = re.compile(r"<\|(?:start|end|return|begin_of_solution|end_of_solution)\|>(?:assistant\b)?")


class Said(NamedTuple):
    """words: of the answer, without thoughts, or "". missing: why there is nothing to judge, or None."""

    words: str
    missing: str | None = None


def said(answer: str | float | None) -> Said:
    """What there is to judge of an answer: None, NaN, a failure marker and an unfinished thought are nothing.

    Raises TypeError for an answer that is neither text nor None nor NaN.
    """
    missing = missing_answer(answer)
    if missing:
        return Said("", missing)
    assert isinstance(answer, str)  # nothing else comes through missing_answer
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
    if FAILURE.match(answer):
        return "the failure marker of a host or an API"
    return None


def spoken(answer: str) -> str | None:
    """What is left of an answer without thoughts; None for one that ends within a thought.

    An answer without thoughts is given back as it is.
    """
    if STAGES.match(answer):
        concluded = CONCLUSION.search(answer)
        return concluded[1].strip() if concluded else None
    ends = list(CLOSED.finditer(answer))
    if ends:
        answer = answer[ends[-1].end() :]
    elif not OPENED.match(answer.lstrip()):
        return answer
    if OPENED.match(answer.lstrip()):
        return None
    answer = LEFTOVERS.sub("", answer).strip()
    tagged = ANSWER_TAGS.fullmatch(answer)
    return tagged[1].strip() if tagged else answer
