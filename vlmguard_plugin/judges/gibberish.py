"""Letters that make no words, words that make no sentence, and a word cut off: what `degeneration` asks of Latin"
" letters."""

from __future__ import annotations

import re
import unicodedata

from vlmguard_plugin.judges.language import FUNCTION_WORDS, identifier, prose

NEVER_FOLLOW = {
    "b": "fghkmpqvxz",
    "c": "bdfgmpqvx",
    "d": "cpqx",
    "f": "bcdghkmpqvxz",
    "g": "cfqvxz",
    "h": "bcfghxz",
    "j": "bcfghjlpqrwxyz",
    "k": "fgpqxz",
    "l": "qrxz",
    "m": "cqvx",
    "n": "pqx",
    "o": "x",
    "p": "bdkmqvz",
    "q": "bcfghjklmnpqrstvwxz",
    "r": "x",
    "s": "qx",
    "t": "cdfpqx",
    "v": "bcdfghkmpqtvwx",
    "w": "bfgjkpqtvwxz",
    "x": "bcfgjklnpqrsvwxyz",
    "y": "qx",
    "z": "fqx",
}
"""By letter, those that come after it in less than 3 of 10,000 pairs in each of 32 languages, by the letter counts of
langdetect (Apache 2.0)."""
NEVER = re.compile("|".join(f"{first}(?=[{second}])" for first, second in NEVER_FOLLOW.items()))
MIN_PAIRS = 25
MAX_NEVER = 0.12
"""Share of such pairs (0 to 1): no more than 0.05 in 15,000 answers of models in seven languages, 0.24 at random."""
LATIN_WORD = re.compile(r"[^\W\d_]{3,}")

MISPLACED = {
    first: frozenset(followers.split())
    for firsts, followers in (
        (
            "the a an your their his my our",
            "the a an your their our my and or but if of to in on at by for with from as is are was were be been am"
            " it they"
            " we he she you has have had would should could which this that these those not do does did",
        ),
        ("of for with from at by into", "is are was were am has had do does did can could may would should but of"),
        ("to", "is are was were am has had been does did could would may can should but of"),
        ("in on", "is are am has had do does did could may would should will of"),
        ("and or but", "and or but been"),
        ("is are was were", "is are was were be am can could may would should will do does did has have had"),
        ("could may would should must", "is are was were am has had been does did of to for with from"),
        ("i", "a an the of to for with from by be your their my our these this is are has"),
        ("we they", "a an the of to for with from by be your their my our these this is am has was does"),
        ("he she", "a an the of to for with from by be your their my our these this are am have were do"),
        ("be been", "is are was were am be can could may would should will do does did has have had"),
        ("not", "is are was were am of and or but can could would should will has"),
        ("have has had", "is are was were am be of and or can could would should will"),
    )
    for first in firsts.split()
}
"""Words that don't follow a word within an English sentence."""
MIN_SALAD_WORDS = 20
MIN_MISPLACED = 2
MAX_MISPLACED = 0.025
"""So many pairs like that, and this share (0 to 1) of all words, are no English order."""
MIN_HEAP_WORDS = 20
MIN_HEAP_SHARE = 0.2
"""Share of function words (0 to 1) below which so many English words without a stop or a comma are a heap; real ones
have 0.27 and more."""
ENGLISH_WORD = re.compile(r"([a-z]+(?:['-][a-z]+)*)|[^\w\s'-]+|\n+|\s-+\s")
"""An English word, or the end of a clause, of which nothing is kept."""

FRAGMENT = re.compile(r"[B-DF-HJ-NP-TV-XZ]?[b-df-hj-np-tv-xz]{1,4}")
"""No vowel, not in capitals, and nothing after it."""
SHORT_FORMS = frozenset(
    "mr mrs ms dr st jr sr kg km cm mm nm ml cl dl hz khz mhz ghz gb mb kb tb lb lbs ft hr hrs pm tv pc vs hm hmm mm"
    " mmm"
    " shh psst pst brr nth cd dvd wc tbh pls thx np ty css xml html sql php mph rpm ph bbq ltd pty pvt dc sgt ch pp"
    " ss n"
    " nd rd th's".split()
)
ELEMENTS = frozenset(
    "Br Cd Cf Cl Cm Cn Cr Cs Db Ds Fl Fm Fr Gd Hf Hg Hs Kr Lr Lv Md Mg Mn Mt Nb Nd Nh Np Pb Pd Pm Pr Pt Rb Rf Rg Rh"
    " Rn Sb"
    " Sc Sg Sm Sn Sr Tb Tc Tl Tm Ts Yb Zn Zr".split()
)
"""Symbols of chemical elements without a vowel; thorium's is left out."""


def gibberish(text: str) -> str | None:
    """Why a text of Latin letters is no language ("non-language: ..."), or None."""
    if fragment(text):
        return "non-language: a word cut off"
    words = prose(text)
    return unlikely_letters(words) or misplaced_words(words)


def fragment(text: str) -> bool:
    """Whether a text is the beginning of a word and nothing else."""
    short = FRAGMENT.fullmatch(text)
    return bool(short) and len(text) > 1 and text.lower() not in SHORT_FORMS and text not in ELEMENTS


def unlikely_letters(words: str) -> str | None:
    """Reason if letters stand side by side as in no language of Latin letters."""
    lower_case = [word for word in LATIN_WORD.findall(words) if not word.isupper()]  # not acronyms or sequences
    letters = plain_letters(" ".join(lower_case))
    pairs = len(letters) + 1 - 2 * len(lower_case)
    never = len(NEVER.findall(letters))
    if pairs >= MIN_PAIRS and never > MAX_NEVER * pairs:
        return f"non-language: {never} of {pairs} pairs of letters are in no language"
    return None


def plain_letters(text: str) -> str:
    """A text in lower case without accents."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFD", text.lower())
    return "".join(character for character in decomposed if unicodedata.category(character) != "Mn")


def misplaced_words(words: str) -> str | None:
    """Reason if English words stand in no order, or are heaped up."""
    said = ENGLISH_WORD.findall(words.lower())
    n = len(said) - said.count("")
    if n < MIN_SALAD_WORDS:
        return None
    misplaced = sum(second in MISPLACED.get(first, ()) for first, second in zip(said, said[1:]))
    if misplaced >= MIN_MISPLACED and misplaced >= MAX_MISPLACED * n:
        return f"non-language: {misplaced} of {n} words stand where they can't"
    longest = longest_clause(said)
    function_words = sum(word in FUNCTION_WORDS for word in longest)
    if len(longest) >= MIN_HEAP_WORDS and function_words < MIN_HEAP_SHARE * len(longest) and in_english(longest):
        return f"non-language: {len(longest)} words in a heap"
    return None


def longest_clause(said: list[str]) -> list[str]:
    """The first of the longest runs of words between the ends of clauses, which are empty."""
    ends = [-1, *(place for place, word in enumerate(said) if not word), len(said)]
    start, end = max(zip(ends, ends[1:]), key=lambda pair: pair[1] - pair[0])
    return said[start + 1 : end]


def in_english(words: list[str]) -> bool:
    """Whether words without an order are English ones."""
    return identifier().classify(" ".join(words))[0] == "en"
