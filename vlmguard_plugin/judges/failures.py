"""What hosts, APIs and their libraries leave in the place of an answer: no answer, whoever made it.

Told by form, not by name: the name of an exception, a JSON object of an error, an HTTP status, and the short notices
that name a service, a quota, a filter. Whoever writes prose about such things writes a sentence around them.
"""

from __future__ import annotations

import re

LONGEST_NOTICE = 300
"""Characters; a notice that is longer is an answer."""
EXCEPTION = re.compile(
    r"\s*(?:Traceback \(most recent call last\)"
    # an exception with its module, with a message behind it, or alone where none but a service's is called so
    r"|(?:<\d{3}>\s*)?(?:\w+\.)+_?(?:[A-Z]\w*)?(?:Error|Exception|Exceeded|Exhausted|Timeout|Argument"
    r"|Unavailable|Filter\w*|Failed)\b(?!\(\)|[^\n]{0,40}\b(?:is|are|was) (?:raised|thrown|an?|the)\b)"
    r"|_?[A-Z]\w*(?:Error|Exception|Exceeded|Exhausted|Failed|Unavailable)\s*(?:[:\[]|\([^)])"
    r"(?!(?:[^.\n]{0,80})\b(?:is|are|was) (?:raised|thrown|an?|the)\b)"
    r"|(?:Assertion|NotImplemented|Timeout|Connection|API|Api|Http|HTTP|RateLimit|OutOfMemory"
    r"|Validation|Throttling|AccessDenied|ServiceQuota|ServiceUnavailable|ModelTimeout|ModelNotReady)"
    r"\w*(?:Error|Exception)\s*$"
    r"|(?:ReadTimeout|ConnectTimeout|APITimeout)\s*$"
    r"|(?:[A-Z][a-z]+)*(?:Reason|Category|StatusCode)\.[A-Z_]+"
    r"|'NoneType' object|'choices'\s*$|list index out of range\s*$|Expecting value: line \d|\[Errno \d+\])"
)
OBJECT = re.compile(
    r"\s*\{\s*(?:[\"']\w+[\"']\s*:\s*[\"']?\w+[\"']?\s*,\s*){0,2}"
    r"(?:[\"']error[\"']\s*:|[\"'](?:code|status)[\"']\s*:[^{}]*[\"'](?:message|msg|detail)[\"']\s*:"
    r"|[\"'](?:block_?reason|finish_?reason)[\"']\s*:)",
    re.IGNORECASE,
)
"""A JSON object of an error."""
PAGE = re.compile(r"\s*(?:<!doctype html[^>]*>\s*)?<html\b.{0,200}?<title>\s*(?:error\b|[45]\d\d\b)", re.I | re.DOTALL)
_STATUS = (
    r"(?:bad request|unauthori[sz]ed|forbidden|not found|too many requests|(?:internal )?(?:server )?error"
    r"|bad gateway|service unavailable|unavailable|gateway time-?out|overloaded|resource_exhausted|invalid_argument"
    r"|permission_denied|deadline_exceeded|internal error encountered)"
)
_FILTER = r"(?:filter\w*|polic(?:y|ies)|safety\b|moderation|management|recitation|guardrails?|restrictions)"
_THING = (
    r"(?:(?:the|your|this|our|model(?:'s)?|input|output) )*(?:(?:input|output) )?"
    r"(?:response|prompt|request|input|output|content|image|query|reply|completion|generation|text|message|answer)"
)
_CODES = (
    r"(?:content|safety|prohibited|data|overloaded|context|insufficient|model|invalid|rate|server|api|quota"
    r"|internal|responsible|image|max_output|service|resource|stop|block|request)"
    r"(?:[_-][a-z]+)*[_-](?:filter(?:ed)?|violation|error|failed|exceeded|exhausted|quota|content|found|limit|blocked"
    r"|unavailable|refusal|tokens|timeout)"
)
NOTICE = re.compile(
    r"\W*(?:fail(?:ed|ure)?(?: to|:)? (?:obtain|get|generate|call|receive|fetch|retrieve|produce)\w*(?: \w+){0,3}?"
    r" (?:answers?|responses?|results?|output|completion|api|model|prediction)\b[^.!?]{0,60}"
    rf"|{_CODES}"
    r"|(?:block(?:ed)?|finish|stop)_reason_[a-z_]+|harm_category_[a-z_]+|(?:\w{2,20}: )?guardrail_intervened"
    r"|error\s*:\s*(?:'\w{1,30}'|\"\w{1,30}\")|contentfilter(?:ed)?|responsibleaipolicyviolation|datainspectionfailed|max_tokens"
    r"|(?:status: ?incomplete\W+)?(?:prompt_?feedback\W+)?"
    r"(?:(?:finish|block|stop|incomplete)[ _]?(?:reason|details)|(?:finish|block|stop|incomplete|reason)(?!\b\W*\. ))"
    r"\b[\s\"']*[.:={]+[\s\"']*[\w \"'}]+"
    rf"|(?:http|https|error|status|http error|http status|error code)?(?:\s?code)?\W*[45]\d\d\W+"
    rf"{_STATUS}(?:\W.{{0,200}})?"
    rf"|(?:http|https)(?: error| status| code)*\W*[45]\d\d(?:\s?:[^.!?\n]{{0,60}})?"
    rf"|response \[[45]\d\d\]|{_STATUS.replace('not found|', '')}"
    r"|(?:error|exception|failed|failure|timeout|blocked|filtered|censored|redacted|api[ _]error|gpt error)"
    r"|(?:an? |some )?(?:api|http|network|server|connection|unknown|internal|unexpected|gpt|exception|error)"
    r"(?: \w+)? (?:error |exception )?(?:has )?occurred(?:\W*|[:.(]\W?.{0,150})"
    r"|(?:an )?(?:api|http|network|server|connection|unknown|internal)\s(?:\w+\s?)?error\b[^.!?\n]{0,40}"
    r"|(?:an? )?error (?:has )?occurred(?: \([\w ]+\))? (?:while|when|during|in) (?:processing|calling"
    r"|the (?:request|api|call)"
    r"|generat\w+)\b.{0,200}"
    r"|error (?:in |while |when |during )?(?:processing|generating|calling|querying|fetching|loading)\b.{0,150}"
    r"|error\s*(?:code)?\s*:\s*(?:[45]\d\d\b|content[ _]?filter|safety\b|blocked|(?:\w+ ){0,2}time(?:d )?-?out"
    r"|rate limit"
    r"|request failed|cuda|api\b|connection|no (?:response|answer)).{0,250}"
    r"|(?:exception|timeout)\s*:.{0,200}"
    r"|(?:the |your )?(?:request|connection|operation|read|generation|upstream request)(?: has)?"
    r" time(?:d out|out)\b.{0,60}"
    r"|(?:request|call|api call|api request|connection|generation|inference)(?: has| was)? (?:failed|refused|aborted"
    r"|reset by peer)\b.{0,80}"
    rf"|{_THING}(?: (?:was|were|has been|is|got))? (?:blocked|filtered|flagged|rejected|withheld|censored|moderated)"
    rf"(?: (?:by|due to|because|as|for|from|potentially)\b.{{0,120}}{_FILTER}.{{0,150}})?"
    rf"|(?:blocked|filtered|flagged|rejected|redacted) (?:by|due to|because of|for)\b.{{0,60}}{_FILTER}.{{0,40}}"
    r"|(?:your |the )?(?:input|output|prompt)(?: \w+)? (?:may|might|could|appears to)? ?contains? .{0,60}"
    r"(?:not allowed by (?:our|the) safety system"
    r"|inappropriate content|sensitive content).{0,60}"
    r"|invalid prompt: .{0,200}|(?:nsfw|unsafe|sensitive) content (?:was )?detected"
    r"|(?:the |this |our )?(?:model|server|service|api|engine)(?: is| was)? (?:currently |temporarily )?(?:overloaded"
    r"|unavailable|busy|not (?:available|ready))\b.{0,100}"
    r"|(?:rate limit|quota|max(?:imum)? retries|token limit) (?:exceeded|reached|exhausted)\b.{0,200}"
    r"|you (?:have )?exceeded your (?:current )?(?:quota|rate limit)\b.{0,150}"
    r"|this model's maximum context length is .{0,200}|(?:incorrect|invalid) api key provided\b.{0,200}"
    r"|the model `[^`]+` does not exist.{0,80}|(?:invalid operation: )?"
    r"(?:the )?`?response\.(?:text|candidates)`? .{0,250}"
    r"|(?:oops|sorry|whoops)?\W*something went wrong(?:\W+please try again.{0,20}|\W*)"
    r"|cuda (?:error:|out of memory).{0,200}|upstream connect error\b.{0,200}|no healthy upstream"
    r"|server disconnected\b.{0,80}|(?:https?connectionpool|httpsconnection)\b.{0,250}"
    r"|no (?:response|answer|output|completion)(?: (?:from|by) .{0,40}| received| generated| returned)?"
    r"|response withheld"
    r"|(?:\u8c03\u7528|\u8bf7\u6c42|\u54cd\u5e94|\u63a5\u53e3|\u7f51\u7edc)(?:\u5df2)?(?:\u8d85\u65f6|\u5931\u8d25|\u5f02\u5e38)|\u5185\u5bb9\u5ba1\u6838(?:\u4e0d|\u672a)\u901a\u8fc7"
    r"|(?:\u7cfb\u7edf|\u670d\u52a1\u5668?|\u7f51\u7edc|\u63a5\u53e3|\u5185\u90e8)(?:\u9519\u8bef|\u5f02\u5e38|\u7e41\u5fd9)(?:\W.{0,60})?"
    r"|.{0,20}(?:\u5305\u542b|\u542b\u6709|\u6d89\u53ca).{0,12}\u654f\u611f(?:\u5185\u5bb9|\u4fe1\u606f).{0,60}"
    r")\W*",
    re.IGNORECASE | re.DOTALL,
)
"""A notice that is the whole of a short text; brackets and stops around it don't count."""
OF_THE_HOST = re.compile(r"\s*failed to obtain answer\b", re.IGNORECASE)
"""VLMEvalKit's own mark of a row without an answer, before whatever the error said."""
BEGINS = re.compile(
    r"\s*(?:(?:cuda|torch|os|out ?of ?memory)\s?error:"
    r"|(?:an )?(?:api|http|network|server|connection|unknown|internal)\s(?:\w+\s?)?error\b"
    r"[^.!?\n]{0,40}(?:occurred\b|:)"
    r"|finish[ _]?reason\b\s*[.:=]"
    r"|error\s*(?:code)?\s*:\s*(?:[45]\d\d\b|content[ _]?filter|safety\b|blocked|timeout|rate limit)"
    rf"|(?:http(?: error)? )?[45]\d\d {_STATUS}\b"
    rf"|(?:the|your) (?:response|prompt|request|content|output) was (?:blocked|filtered|flagged)"
    rf" (?:by|due to|because)\b[^.!?\n]{{0,80}}\b{_FILTER})",
    re.IGNORECASE,
)
"""What a notice begins with that a report of any length may follow: a trace, a reply's body, a file's name."""
EXPLAINS = re.compile(r"\b(?:means|is (?:what|when|an?|shown)|says|tells)\b", re.IGNORECASE)
"""Said of a notice, not by one."""
BRACKETED = re.compile(
    r"\s*\[(?:api[ _])?(?:error|exception|failed|failure|timeout|no answer|no response|blocked|filtered|safety"
    r"|content[ _]filter(?:ed)?)\b[^\]\n]{0,100}\]|\s*<(?:error|no response|blocked)>",
    re.IGNORECASE,
)


def failed(answer: str) -> bool:
    """Whether a text is what a host or an API left where an answer should be."""
    if any(form.match(answer) for form in (OF_THE_HOST, EXCEPTION, OBJECT, PAGE, BRACKETED)):
        return True
    begins = BEGINS.match(answer)
    if begins and not EXPLAINS.search(re.split(r"[:.!?\n]", answer[begins.end() :], maxsplit=1)[0]):
        return True
    return len(answer) <= LONGEST_NOTICE and bool(NOTICE.fullmatch(answer)) and not EXPLAINS.search(answer)
