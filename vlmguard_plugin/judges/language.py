"""Which language is an answer in, as far as that decides whether the refusal rules can read it? By py3langid.

py3langid (BSD, a few megabytes, no network, the same answer every time) is loaded when the first answer comes that
holds words enough: it takes a second.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

READ = {
    "en": "English",
    "zh": "Chinese",
    "fr": "French",
    "de": "German",
    "es": "Spanish",
    "it": "Italian",
    "pt": "Portuguese",
    "ru": "Russian",
    "ar": "Arabic",
    "hi": "Hindi",
    "ja": "Japanese",
    "ko": "Korean",
}
"""The languages that there are refusal rules for, by ISO 639 code."""
NEAR = {"wuu", "yue", "lzh", "arz", "ary", "la"}
"""What is taken for one of those: Chinese and Arabic as they are spoken in places, and Latin, which names of species
and filler texts are in."""
SURE = 0.8
"""Probability (0 to 1) of a language without rules from which it is believed: of the three likeliest together, since
neighbours (Czech and Slovak, Danish and Norwegian) share it."""
MIN_WORDS = 4
"""Fewer words are a name or a label: they tell no language."""
MIN_UNSPACED = 8
"""The same in letters, of scripts that put no space between words."""
READ_CHARACTERS = 2000
"""Of an answer; more of it tells no more."""
NO_PROSE = re.compile(r"```.*?(?:```|$)|`[^`\n]*`|(?:https?://|www\.)\S+|<[^<>\n]{1,200}>|\\\w+|\S*[\d_@/\\]\S*", re.DOTALL)
CODE_LINE = re.compile(r"[{};=]|\w\((?!s\))|^\s*(?:def|class|import|return|for|if|echo|print)\b.*:?$")
UNSPACED = re.compile("[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff]")
"""Thai, Lao, Tibetan, Burmese and Khmer letters."""
WORD = re.compile(r"[^\W\d_]{2,}(?:['\u2019\u200c][^\W\d_]+)*")


def without_rules(answer: str) -> str | None:
    """ISO 639 code of the language of an answer that no refusal rules can read, or None.

    None too where the answer holds too little prose to tell: a name, a number, code.
    """
    text = " ".join(prose(answer)[:READ_CHARACTERS].split())
    marks = "".join(character for character in text if unicodedata.category(character) not in ("Mn", "Mc"))
    if len(WORD.findall(marks)) < MIN_WORDS and len(UNSPACED.findall(text)) < MIN_UNSPACED:
        return None
    likeliest = identifier().rank(text.lower() if text.isupper() else text)[:3]
    unread = sum(probability for code, probability in likeliest if code not in READ and code not in NEAR)
    return likeliest[0][0] if unread >= SURE else None


def prose(answer: str) -> str:
    """An answer without code, addresses and whatever holds a digit."""
    return "\n".join(line for line in NO_PROSE.sub(" ", answer).splitlines() if not CODE_LINE.search(line))


@lru_cache(maxsize=1)
def identifier() -> LanguageIdentifier:
    """The library's own model, with probabilities; a copy of ours, so that nobody else's settings reach it."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
