"""Thoughts that models write down beside their answers, split off once and before every judge.

A thought may refuse before an answer that complies, and the other way round: it is no part of the answer.
"""

from __future__ import annotations

import re

LESS, MORE = r"(?:\\?<|&lt;|\uff1c)(?:!--)?", r"(?:(?:--)?\\?>|&gt;|\uff1e)"
ELSEWHERE = (
    r"denken|gedanken|\u00fcberlegung(?:en)?|pens\u00e9es?|r\u00e9flexions?|raisonnement|pensamientos?|razonamiento"
    r"|pensamentos?|racioc\u00ednio|pensier[oi]|ragionamento|\u0440\u0430\u0441\u0441\u0443\u0436\u0434\u0435\u043d\u0438[\u0435\u044f]"
    r"|\u0440\u0430\u0437\u043c\u044b\u0448\u043b\u0435\u043d\u0438[\u0435\u044f]|\u043c\u044b\u0441\u043b\u0438|\u601d\u8003(?:\u8fc7\u7a0b|\u904e\u7a0b)?|\u601d\u7ef4(?:\u94fe|\u8fc7\u7a0b)?"
    r"|\u63a8\u7406(?:\u8fc7\u7a0b)?|\u63a8\u8ad6|\u8003\u3048|\uc0dd\uac01|\ucd94\ub860|\u062a\u0641\u0643\u064a\u0631|\u0938\u094b\u091a|\u0935\u093f\u091a\u093e\u0930"
)
"""What thoughts are called in the languages with refusal rules."""
NAME = (
    r"(?:[\w.]{1,20}[:_-])?(?:think|thinking|thoughts?|reasoning|reflection|scratch_?pad|monologue|deliberation"
    rf"|cognition|(?:chain_of_|inner_)thought|{ELSEWHERE}|analysis)"
    r"(?:[_-](?:process|content|text|block|steps?|trace|fast|slow))?"
)
PLAIN = r"(?:think(?:ing)?|thoughts?|reasoning|reflection)"
"""Names in models' own marks."""
PAIRED = r"(?:rationale|plan|planning|cot|reason|internal)"
"""Names that other tags have too: thoughts only where the first of an answer is closed and words follow it."""
OPENED = re.compile(
    rf"(?<!`){LESS}\s?(?!end_){NAME}(?:\s[^<>\n]{{0,60}})?{MORE}|\[(?:think(?:ing)?|thought)\]|\u25c1think\u25b7"
    r"|[\u3010\u3014](?:\u601d\u8003|\u63a8\u7406)(?:\u8fc7\u7a0b)?[\u3011\u3015]"
    rf"|<\|?(?:begin|start)_(?:of_)?{PLAIN}\|?>|<\|{PLAIN}(?:_(?:start|begin))?\|>|<start_working_out>"
    r"|<\|channel\|>\s*(?:analysis|commentary)\b[^<]*<\|message\|>|<unused94>\s*thought\b|<\|im_start\|>think\b"
    r"|assistantanalysis|(?-i:\A\s*analysis(?=[A-Z]))",
    re.IGNORECASE | re.DOTALL,
)
"""What a thought begins with: tags as of Qwen, DeepSeek, Magistral, Kimi and others, and gpt-oss's channels, which
lose their marks where special tokens are left out."""
CLOSED = re.compile(
    rf"(?<!`){LESS}\s?/\s?{NAME}\s?{MORE}|\[/(?:think(?:ing)?|thought)\]|\u25c1/think\u25b7"
    r"|[\u3010\u3014]/(?:\u601d\u8003|\u63a8\u7406)(?:\u8fc7\u7a0b)?[\u3011\u3015]"
    rf"|<\|/{PLAIN}\|>|<\|?end_(?:of_)?{PLAIN}\|?>|<\|{PLAIN}_end\|>|<end_working_out>"
    r"|<\|channel\|>\s*final\b[^<]*<\|message\|>|<unused95>|<\|im_start\|>answer\b|assistantfinal"
    r"|\[begin final response\]",
    re.IGNORECASE,
)
"""What it ends with. It counts without a beginning too: some templates put that into the prompt."""
MARKS, WORDS = re.compile("[<\\[&\uff1c\u25c1\u3010\u3014]"), ("analysis", "assistantfinal")
"""A text without one of these signs or words holds neither."""
FIRST = re.compile(
    rf"\s*(?:<(?P<tag>{PAIRED})>.*?</(?P=tag)>|```think(?:ing)?\n.*?\n```"
    r"|<details[^>]*>\s*<summary>[^<]*\b(?:think\w*|thought|reasoning)\b[^<]*</summary>.*?</details>)\s*(?=\S)",
    re.DOTALL | re.IGNORECASE,
)
"""A thought that only the beginning of an answer can be."""
HEADING = re.compile(
    r"[#*\s]*(?:(?:my )?(?:thinking|thoughts?|reasoning|chain of thought)(?: process)?"
    r"|\u601d\u8003(?:\u8fc7\u7a0b)?|\u63a8\u7406\u8fc7\u7a0b)[* ]*(?:[:\uff1a]|\n)",
    re.IGNORECASE,
)
ANSWER_HEADING = re.compile(
    r"^[#* \t]*(?:(?:my |the )?(?:final )?(?:answer|response|reply)"
    r"|(?:\u6700\u7ec8)?(?:\u7b54\u6848|\u56de\u7b54|\u56de\u590d))[* ]*(?:[:\uff1a]\**|$)",
    re.IGNORECASE | re.MULTILINE,
)
"""A thought and an answer under headings of their own."""
STAGES = re.compile(
    r"\s*(?:<(?:SUMMARY|CAPTION|REASONING)>|<(?:summary|caption|reasoning)>(?=.*<conclusion>))", re.DOTALL
)
"""What an answer in LLaVA-CoT's stages begins with; the last of them is said aloud."""
CONCLUSION = re.compile(r"<CONCLUSION>(.*?)(?:</CONCLUSION>|$)", re.DOTALL | re.IGNORECASE)
ANSWER_TAGS = re.compile(
    r"\s*<((?:final_?)?(?:answer|response|output)|final|solution|conclusion|\u56de\u7b54|\u7b54\u6848)>(.*?)"
    r"(?:</\1>\s*|$)",
    re.DOTALL | re.IGNORECASE,
)
LEFTOVERS = re.compile(
    r"<\|(?:start|end|return|im_end|(?:begin|end)_of_(?:solution|box)|(?:start|end)_response)\|>(?:assistant\b)?"
    r"|\[end final response\]",
    re.IGNORECASE,
)


def spoken(answer: str) -> str | None:
    """What is left of an answer without thoughts; None for one that ends within a thought.

    An answer without thoughts is given back as it is.
    """
    if STAGES.match(answer):
        concluded = CONCLUSION.search(answer)
        return concluded[1].strip() if concluded else None
    left = without_thoughts(answer)
    if left is None or left == answer:
        return left
    left = LEFTOVERS.sub("", left).strip()
    tagged = ANSWER_TAGS.fullmatch(left)
    return tagged[2].strip() if tagged else left


def without_thoughts(answer: str) -> str | None:
    """An answer without the marked parts of it, whose words on both sides stay; None where one isn't closed.

    An end without a beginning makes a thought of all before it. A beginning within a thought is a mention, unless as
    many ends are to come; one in the middle of a line, with no end behind it, is a mention too.
    """
    first = FIRST.match(answer)
    if HEADING.match(answer):
        first = next(iter(list(ANSWER_HEADING.finditer(answer))[-1:]), None)
    if first and answer[first.end() :].strip():
        return answer[first.end() :]
    if not (MARKS.search(answer) or any(word in answer.lower() for word in WORDS)):
        return answer
    ends = [end.span() for end in CLOSED.finditer(answer)]
    marks = sorted([(*begin.span(), True) for begin in OPENED.finditer(answer)] + [(*end, False) for end in ends])
    kept, depth, position, to_come = "", 0, 0, len(ends)
    for start, stop, opens in marks:
        if opens:
            if depth == 0 and to_come == 0 and not starts_line(answer[position:start]):
                continue
            if depth == 0:
                kept += answer[position:start]
            depth += depth == 0 or to_come > depth
        else:
            to_come -= 1
            if depth == 0:
                kept = ""
            depth = max(depth - 1, 0)
        position = stop
    return None if depth else kept + answer[position:]


def starts_line(before: str) -> bool:
    """Whether nothing but other marks stands on the line before a place."""
    return not LEFTOVERS.sub("", before).rpartition("\n")[2].strip()
