"""Which language is an answer in, as far as that decides whether the refusal rules can read it? By py3langid.

py3langid (BSD, a few megabytes, no network, the same answer every time) is loaded when the first answer comes that
holds words enough: it takes a second.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Sequence

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
SURE_BY_SIGNS = 0.5
"""The same where Cyrillic letters that Russian has not, or a word of NO_ELSEWHERE, say so too."""
NOT_RUSSIAN = re.compile("[\u0402-\u040f\u0452-\u045f\u0490\u0491]")
MIN_WORDS = 4
"""Fewer words are a name or a label: they tell no language, but by what no language with rules has."""
NOT_SHARED = (
    "\u0101\u0103\u0105\u0107\u010d\u010f\u0111\u0113\u0117\u0119\u011b\u011f\u0123\u012b\u012f\u0131\u0137\u013a"
    "\u013c\u013e\u0142\u0144\u0146\u0148\u0151\u0155\u0159\u015b\u015f\u0161\u0163\u0165\u016b\u016f\u0171\u0173"
    "\u017a\u017c\u017e\u01a1\u01b0\u0219\u021b\u1ea0-\u1ef9\u00f8\u00e5"
    "\u0452\u0454\u0456-\u045c\u045e\u045f\u0491\u067e\u0686\u0698\u06a9\u06af\u06cc\u200c"
)
"""Latin, Cyrillic and Arabic letters that no language with rules has."""
SCRIPTS = "".join(
    (
        "\u0370-\u03ff\u0530-\u05ff\u0700-\u08ff\u0980-\u0dff\u0e00-\u0fff",
        "\u1000-\u109f\u10a0-\u10ff\u1200-\u137f\u1780-\u17ff",
    )
)
"""Of no language with rules: from Greek and Hebrew to Thai and Khmer."""
OTHER_LETTERS = re.compile(
    rf"(?<![^\W\d_])(?=[^\W\d_\u200c]*(?:[{NOT_SHARED}]|[{SCRIPTS}]{{2}}))"
    "[^\\W\\d_A-Z\u00c0-\u00de\u0100\u0118\u0141\u015a\u0160\u0179\u017b\u017d]"
)
"""The beginning, in small letters, of a word with a letter that no language with rules has; a name has a capital."""
NO_ELSEWHERE = {
    word: code
    for code, words in {
        "tr": "hay\u0131r hayir olamam yapamam edemem veremem olmaz maalesef \u00fczg\u00fcn\u00fcm",
        "pl": "nie niestety przepraszam odmawiam przykro",
        "id": "tidak maaf",
        "vi": "kh\u00f4ng",
        "uk": "\u043d\u0456 \u043c\u043e\u0436\u0443 \u0432\u0438\u0431\u0430\u0447\u0442\u0435",
        "fa": "\u0646\u0647 \u0645\u062a\u0623\u0633\u0641\u0645 \u0645\u062a\u0627\u0633\u0641\u0645"
        " \u0628\u0628\u062e\u0634\u06cc\u062f \u0646\u0645\u06cc\u200c\u062a\u0648\u0627\u0646\u0645"
        " \u0646\u0645\u06cc\u062a\u0648\u0627\u0646\u0645 \u0646\u0645\u06cc",
        "ur": "\u0646\u06c1\u06cc\u06ba \u0645\u0639\u0630\u0631\u062a",
        "nl": "nee helaas",
        "sv": "nej tyv\u00e4rr inte beklagar",
        "da": "ikke beklager nei",
        "cs": "nemohu bohu\u017eel omlouv\u00e1m",
        "ro": "scuze \u00eemi",
        "hu": "nem sajn\u00e1lom",
        "fi": "valitettavasti anteeksi",
        "el": "\u03cc\u03c7\u03b9 \u03b4\u03b5\u03bd \u03bb\u03c5\u03c0\u03ac\u03bc\u03b1\u03b9",
        "he": "\u05dc\u05d0 \u05de\u05e6\u05d8\u05e2\u05e8",
        "bn": "\u09a8\u09be",
        "sw": "hapana samahani siwezi",
        "tl": "paumanhin",
    }.items()
    for word in words.split()
}
"""What an answer may say no with where it is too short to tell its language, by word, in languages without rules."""
ENDS = ".,!?:;\"'()\u061f\u060c\u2026*"
"""What may stand at the ends of a word."""
MIN_UNSPACED = 8
"""The same in letters, of scripts that put no space between words."""
READ_CHARACTERS = 600
"""Of an answer's prose; more of it tells no more."""
NO_PROSE = re.compile(
    r"```.*?(?:```|$)|`[^`\n]*`|(?:https?://|www\.)\S+|<[^<>\n]{1,200}>|\\\w+|\S*[\d_@/\\]\S*", re.DOTALL
)
NO_WORDS = re.compile(r"(?<!\S)\S*[\d_@/]\S*|www\.\S+")
"""The same for a text without a mark, a tag or a backslash, found faster."""
MARKED, MARKED_WORD = re.compile(r"[`<\\]"), re.compile(r"[\d_@/]|www\.")
CODE_LINE = re.compile(
    r"[{}]|\w\s*[=!<>]?=\s*\S|\)\s*[;{:]\s*$|^\s*(?:def|class|for|if|while)\b.*:\s*$"
    r"|^\s*(?:import|return|echo|print)\b|^\s*[\w.]+\([^)]*\)\s*$"
)
IN_CODE, CODE_WORD = re.compile("[{}=)]"), re.compile(r"\s*(?:def|class|for|if|while|import|return|echo|print)\b")
"""A line of code holds one of the first, or begins with one of the second."""
UNSPACED = re.compile("[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff]")
"""Thai, Lao, Tibetan, Burmese and Khmer letters."""
FUNCTION_WORDS = frozenset(
    "the a an and or but if of to in on at by for with from as is are was were be been being am do does did"
    " has have had will would can could should may might must not no it its he she they we you i his her their"
    " our your my me him them us this that these those there here then than so such which who whom what when"
    " where why how all any some each every both either neither one into onto over under about after before"
    " between through during without within out up down off again more most other only own same too very just"
    " also because while until against upon let".split()
)
"""Of English."""
MIN_FUNCTION_WORDS = 0.3
"""Share of English function words (0 to 1) in English text."""
SHARED = frozenset(
    "a am an as at be by do for had has he her i if in is its let may me most my no of on one or over own so such to"
    " under up us very was we will all any but can had out then here him did some too".split()
)
"""Those that are words of other languages in bare Latin letters too: Spanish "no", "me" and "he", Dutch "of", "is"."""
MIN_ENGLISH_ALONE = 0.1
"""Share of the others (0 to 1) without which a text is not plainly English."""
MARKS = ("Mn", "Mc")
"""Signs within words of Hindi, Thai and others, which are no letters to `re`."""
WORD = re.compile(r"[^\W\d_]{2,}(?:['\u2019\u200c][^\W\d_]+)*")


def without_rules(answer: str) -> str | None:
    """ISO 639 code of the language of an answer that no refusal rules can read ("und": of one of them), or None.

    None too where the answer holds too little prose to tell: a name, a number, code.
    """
    text = " ".join(prose(answer[: 4 * READ_CHARACTERS])[:READ_CHARACTERS].split())
    if text.isascii() and plainly_english(text.lower().split()):
        return None  # spares the slower looks
    marks = text if text.isascii() else "".join(letter for letter in text if unicodedata.category(letter) not in MARKS)
    words = islice(WORD.finditer(marks), MIN_WORDS)
    if len(list(words)) < MIN_WORDS and len(UNSPACED.findall(text)) < MIN_UNSPACED:
        return says_no_elsewhere(text) or ("und" if OTHER_LETTERS.search(text) else None)
    likeliest = identifier().rank(text.lower() if text.isupper() else text)[:3]
    unread = sum(probability for code, probability in likeliest if code not in READ and code not in NEAR)
    if unread >= SURE:
        return likeliest[0][0]
    signs = NOT_RUSSIAN.search(text) or says_no_elsewhere(text)
    return likeliest[0][0] if unread >= SURE_BY_SIGNS and likeliest[0][0] not in READ and signs else None


def says_no_elsewhere(text: str) -> str | None:
    """The language that the first word of NO_ELSEWHERE is of; None where a text holds none."""
    said = (word.strip(ENDS) for word in text.lower().split())
    return next((NO_ELSEWHERE[word] for word in said if word in NO_ELSEWHERE), None)


def plainly_english(words: list[str]) -> bool:
    """Whether lower-case words hold as many function words as only English does."""
    count = max(len(words), MIN_WORDS)
    found = [word for word in words if word in FUNCTION_WORDS]
    alone = sum(word not in SHARED for word in found)
    return len(found) >= MIN_FUNCTION_WORDS * count and alone >= MIN_ENGLISH_ALONE * count


def in_english(sentences: Sequence[str]) -> bool:
    """Whether each of these lower-case sentences is so plainly English that no other language's rules need to look."""
    return all(sentence.isascii() and plainly_english(sentence.split()) for sentence in sentences)


def prose(answer: str) -> str:
    """An answer without code, addresses and whatever holds a digit."""
    if MARKED.search(answer):
        text = NO_PROSE.sub(" ", answer)
    else:
        text = NO_WORDS.sub(" ", answer) if MARKED_WORD.search(answer) else answer
    return "\n".join(line for line in text.splitlines() if not is_code(line))


def is_code(line: str) -> bool:
    """Whether a line is one of code."""
    may_be = IN_CODE.search(line) or CODE_WORD.match(line)
    return bool(may_be and CODE_LINE.search(line))


@lru_cache(maxsize=1)
def identifier() -> LanguageIdentifier:
    """The library's own model, with probabilities; a copy of ours, so that nobody else's settings reach it."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
