"""Exact judges: is a multiple-choice or open answer right? Rules only, no model.

An answer that can't be read as a choice counts as wrong and is flagged "unparsed", so that a model
that rambles and a model that errs can be told apart.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from typing import Iterable, Mapping, Sequence

from vlmguard_plugin.judges.said import said

UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
).split()
NUMBERS = {word: str(number) for number, word in enumerate(UNITS)}
NUMBERS.update(thirty="30", forty="40", fifty="50", sixty="60", seventy="70", eighty="80", ninety="90", hundred="100")
TAG = re.compile(r"<\|[^|<>\n]{1,40}\|>|</?\w+>")
ARTICLES = {"a", "an", "the"}
STATED = (
    r"(?i:(?<![^\W_])(?:answer|ans|choice|correct(?=\s?:)|(?:correct|right|best)[ _](?:option|letter|one)"
    r"|i(?:'d| would| will)? (?:choose|pick|select|say|go with)|it(?:'s| is)|must be|therefore|thus|hence"
    r"|so(?= [\W_]{0,3}[A-Z][\W_]{0,3}(?:$|\n)))\b)"
    r"[\"'*_]{0,3}(?i: is| would be| should be| must be| has to be)?(?i: actually| clearly| probably| definitely"
    r"|(?: most)? likely)?,?\s*[:=]?\s*(?i:option |choice |letter )?[\W_]{0,3}"
)
"""What the letter of an answer comes after; {letters} follow."""
STATED_ELSEWHERE = (
    "(?i:\u7b54\u6848|\u6545\u9009|\u9009\u62e9|\u9009\u9879|\u5e94\u9009|\u9078\u64c7|\u9009|\u7b54\u3048"
    "|\u6b63\u89e3|\uc815\ub2f5|\uc815\ub2f5\uc740"
    "|antwort|r\u00e9ponse(?: correcte)?|respuesta(?: correcta)?|risposta(?: corretta)?|resposta(?: correta| certa)?"
    "|\u043e\u0442\u0432\u0435\u0442|\u0627\u0644\u0625\u062c\u0627\u0628\u0629|\u0627\u0644\u062c\u0648\u0627\u0628"
    "|\u0909\u0924\u094d\u0924\u0930)"
    r"\s*(?i:\u662f|\u4e3a|\u306f|\uc740|\ub294|ist|est|es|\u00e8|\u00e9|\u0647\u064a|\u0647\u0648"
    r"|\u0939\u0948)?\s*[:=\-\u2013\u2014]?\s*(?:(?i:die|la|a)\s+)?(?i:(?:letra|lettera|lettre)\s+)?[\"'*_(\[]{0,3}"
)
"""The same in Chinese, Japanese, Korean, German, French, Spanish, Italian, Portuguese, Russian, Arabic and Hindi."""
NEGATIONS = {"not", "no", "isn't", "aren't", "never", "\u4e0d", "\u975e"}
COPULA = "\u662f"
"""Chinese "is", between a negation and what is denied."""
JOINS = (("or",), ("and",), ("\u6216",), ("\u548c",))
"""Behind an option's text these bring in a further one."""
FOR_OPTION = re.compile(r"yes|true|correct|right|\u2713|\u2714|\u2705|\u5bf9|\u6b63\u786e")
AGAINST_OPTION = re.compile(
    r"no|not|false|incorrect|wrong|\u2717|\u2718|\u274c|\u4e0d\u5bf9|\u4e0d\u6b63\u786e|\u9519\u8bef|\u9519"
)
"""What an answer says for and against an option where it judges each ("A: no. B: yes.")."""
LETTER_IN_JSON = re.compile(
    r"[\"'](?:answer|letter|option|choice|selected|prediction|correct)(?:_?(?:letter|option|answer|choice))?[\"']\s*:"
    r"\s*[\"']\W?([A-Z])\W?(?:[\"']|[.:)] )",
    re.IGNORECASE,
)
LIKE_LETTERS = {0x0410: "A", 0x0421: "C", 0x0391: "A", 0x0392: "B", 0x0395: "E"}
"""Capitals of Cyrillic and Greek that look like the Latin letter, and count as no other option in their alphabet."""
UNSPACED = "\u3040-\u30ff\u3400-\u9fff"
"""Letters of Chinese and Japanese, which put no space between words."""
WORD = re.compile(rf"\d+(?:\.\d+)?|[{UNSPACED}]|(?:(?![{UNSPACED}])[^\W\d_])+(?:'[^\W\d_]+)*")


@dataclass(frozen=True)
class Score:
    """correct: the answer is right. status: "parsed" (read), "unparsed" (could not be read: wrong)
    or "unknown" (no answer: neither right nor wrong). reading: the letter or the words that decided."""

    correct: bool
    status: str
    reading: str | None = None

    @property
    def label(self) -> str:
        """The score in one word: "right", "wrong", "unparsed" (which is wrong too) or "unknown"."""
        return ("right" if self.correct else "wrong") if self.status == "parsed" else self.status


def judge_choice(answer: str | float | None, letter: str, options: Mapping[str, str]) -> Score:
    """Score a multiple-choice answer.

    letter: the right one. options: text by capital letter, for example {"A": "red", "B": "blue"}.
    """
    if letter not in options:
        raise ValueError(
            f"right answer {letter!r} is not among the options {', '.join(options)}; give one of these letters"
        )
    text, missing = said(answer)
    if missing:
        return Score(False, "unknown")
    chosen = chosen_letter(text, options)
    if chosen is None:
        return Score(False, "unparsed")
    return Score(chosen == letter, "parsed", chosen)


def chosen_letter(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter that an answer chooses, or None where it chooses none or several.

    Read in this order: the last letter in a box (LaTeX), a letter alone ("B", "(b)."), an option to the letter
    ("-2"), a list of letters ("B, C": none), what follows the options said once more, "the answer is B",
    {"answer": "B"} or "B is correct", the one option called right where each is judged ("A: no. B: yes."), a letter
    with punctuation first ("B. blue"), an option's text first, the text of exactly one option, "(B)" or "option B"
    anywhere, the one letter that stands alone near the end ("that would be B").
    """
    letters = "".join(options)
    text = TAG.sub(" ", unicodedata.normalize("NFKC", answer)).strip()
    boxed = re.findall(rf"\\boxed\s*\{{\s*(?:\\(?:text|mathrm|mathbf|textbf)\s*\{{)?\s*\(?([{letters}])\b", text)
    if boxed:
        return str(boxed[-1])
    alone = re.fullmatch(rf"[\W_]*([{letters}])[\W_]*", text.translate(LIKE_LETTERS), re.IGNORECASE)
    if alone:
        return alone.group(1).upper()
    same = [letter for letter, option in options.items() if plain(option) and plain(option) == plain(text)]
    if len(same) == 1:
        return same[0]
    if re.fullmatch(rf"[\W_]*[{letters}](?:[\s,;/&+]+(?:(?:and|or)\s+)?[{letters}])+[\W_]*", text):
        listed = set(re.findall(rf"(?<!\w)[{letters}](?!\w)", text))
        return listed.pop() if len(listed) == 1 else None
    echo = r"\W*".join(rf"{letter}\W{{1,4}}{re.escape(option.strip())}" for letter, option in options.items())
    if echoed := re.match(rf"\W*(?:{echo})(?![^\W_])", text, re.IGNORECASE):  # the options, said once more
        return chosen_letter(rest, options) if (rest := text[echoed.end() :]) else None
    ended = r"(?:[).:]|[\"']\s*(?:[,}\]]|$)|(?![\w'])(?! \w)|(?<=[B-HJ-Z])(?![\w'])|(?= (?:because|since|as)\b))"
    chosen = set(re.findall(rf"{STATED}([{letters}]){ended}", text))
    chosen |= set(re.findall(rf"{STATED_ELSEWHERE}([{letters}])(?![A-Za-z'])", text))
    alike = re.findall(rf"{STATED_ELSEWHERE}([{''.join(map(chr, LIKE_LETTERS))}])(?![^\W_])", text)
    chosen |= {letter.translate(LIKE_LETTERS) for letter in alike} & set(options)
    chosen |= {letter.upper() for letter in LETTER_IN_JSON.findall(text)} & set(options)
    chosen |= set(re.findall(rf"\b([{letters}]) is (?:the )?(?:correct|right|best)\b", text))
    if not chosen:
        small = re.search(r"(?i:answer is|option|choice):? \(?([b-hj-z])\)?\W*$", text)
        chosen = {small.group(1).upper()} & set(options) if small else set()
    right, wrong = judged_one_by_one(text, options)
    chosen = chosen or right
    if not chosen and not goes_through(text, options):
        first = re.match(rf"[\s*\"'(\[]*([{letters}])(?:[\s*\"']*[).:\],]|[\s*\"')]*\n| (?:because|since)\b)", text)
        chosen = {first.group(1)} if first else option_first(text, options)
    if not chosen:
        chosen = options_named(text, options)
    if not chosen:
        chosen = set(re.findall(rf"\(([{letters}])\)", text)) | set(re.findall(rf"\b[Oo]ption ([{letters}])\b", text))
    if not chosen:
        chosen = letter_near_end(text, letters)
    chosen -= wrong
    return chosen.pop() if len(chosen) == 1 else None


def judged_one_by_one(text: str, options: Mapping[str, str]) -> tuple[set[str], set[str]]:
    """The letters that an answer calls right, and those it calls wrong, where it judges one option after the other.

    It does where two letters or more have a verdict each, as in "A: no. B: yes." or {"A": false, "B": true}, also
    behind the option's text ("A. red - wrong"); never where the options begin with such words themselves.
    """
    if are_verdicts(options):
        return set(), set()
    verdict = rf"((?i:{FOR_OPTION.pattern}|{AGAINST_OPTION.pattern}))(?![^\W_])"
    between = r"[\s\"')\]*.:;\-=?,(|\u2013\u2014]{0,4}(?:\bis )?"
    verdicts: dict[str, str] = {}
    for letter, option in options.items():
        named = rf"(?:(?i:{re.escape(option.strip().rstrip('.'))}){between})?" if option.strip() else ""
        found = re.findall(rf"(?<![^\W_]){letter}(?![^\W_]*'){between}{named}{verdict}", text)
        verdicts |= {letter: found[-1]} if found else {}
    if len(verdicts) < 2:
        return set(), set()
    right = {letter for letter, verdict in verdicts.items() if FOR_OPTION.fullmatch(verdict.lower())}
    return right, set(verdicts) - right


def are_verdicts(options: Mapping[str, str]) -> bool:
    """Whether an option begins with a verdict ("Yes", "no parking"), so that "A: yes" may only repeat it."""
    verdict = re.compile(rf"(?i:{FOR_OPTION.pattern}|{AGAINST_OPTION.pattern})(?![^\W_])")
    return any(verdict.match(plain(option)) for option in options.values())


def goes_through(text: str, options: Mapping[str, str]) -> bool:
    """Whether an answer goes through the options from the first one on ("A: ... B: ..."), so that it begins with no
    choice.

    Not where options are verdicts themselves ("A: yes"). It does where the second letter begins a line or sentence with
    the same mark behind it, and the first does once: a choice that is then explained option by option says it twice.
    """
    first, second = [*options, "", ""][:2]
    mark = re.match(rf"[\s*\"'(\[]*{first}[*\"']*([).:\]])", text) if second else None
    if not mark or are_verdicts(options):
        return False
    begun = re.findall(rf"(?:^|[\n.;,!?])[\s*\"'(\[\-]*([{first}{second}])[*\"']*{re.escape(mark[1])}", text)
    return second in begun and begun.count(first) == 1


def plain(text: str) -> str:
    """A text as it is compared to the letter: no case, no outer spaces, no full stop at its end."""
    return unicodedata.normalize("NFKC", text).strip().rstrip(".").lower()


def letter_near_end(text: str, letters: str) -> set[str]:
    """The letter that alone of all stands by itself, among the last four words; "A" before a word is an article.

    A letter behind "not" is not chosen. VLMEvalKit reads a letter so, but for the article and the "not".
    """
    said = re.sub(r"[.()\[\],:;!*#{}]", " ", text).split()
    alone = {word for word in said if len(word) == 1 and word in letters}
    if len(alone) != 1:
        return set()
    (letter,) = alone
    place = said.index(letter)
    followed = letter == "A" and place + 1 < len(said)
    before = words(" ".join(said[max(place - 2, 0) : place]))
    return alone if place >= len(said) - 4 and not (followed or denied(before)) else set()


def option_first(text: str, options: Mapping[str, str]) -> set[str]:
    """The letter of the option whose text an answer begins with, the longest one; whatever it explains behind it.

    Empty where none does, or where another option follows as a further choice ("a cat or a dog").
    """
    given = words(text)
    begins = {letter: len(words(option)) for letter, option in options.items() if words(option)}
    begins = {letter: length for letter, length in begins.items() if given[:length] == words(options[letter])}
    longest = {letter for letter, length in begins.items() if length == max(begins.values())}
    if len(longest) != 1:
        return set()
    (letter,) = longest
    return set() if given[begins[letter] : begins[letter] + 1] in JOINS else longest


def options_named(text: str, options: Mapping[str, str]) -> set[str]:
    """Letters of the options whose text stands in an answer; an option inside a longer named one is left out."""
    said = words(text)
    named = {letter: words(option) for letter, option in options.items()}
    named = {letter: option for letter, option in named.items() if option and stands_in(option, said)}
    return {
        letter
        for letter, option in named.items()
        if not any(len(longer) > len(option) and stands_in(option, longer) for longer in named.values())
    }


def judge_open(answer: str | float | None, expected: str, rivals: Iterable[str] = ()) -> Score:
    """Score a short open answer: right if the expected words stand in it and no rival answer does.

    expected: the right words. rivals: the other answers a question of this kind can have ("blue" where
    "red" is right), so that naming all of them, or "light blue" for "blue", is not right.
    Case, punctuation and articles don't count, number words equal digits, and "not red" does not name red.
    """
    wanted = words(expected)
    if not wanted:
        raise ValueError(f"expected answer is {expected!r}; it must hold a letter or digit")
    text, missing = said(answer)
    if missing:
        return Score(False, "unknown")
    given = words(text)
    if not given:
        return Score(False, "unparsed")
    if expected.strip() == "A":  # a letter, which is an article elsewhere
        letter = chosen_letter(text, dict.fromkeys("ABCDEFGH", ""))
        return Score(letter == "A", "parsed" if letter else "unparsed", letter)
    if wanted in (("yes",), ("no",)):
        return Score(given[0] == wanted[0], "parsed" if given[0] in ("yes", "no") else "unparsed", given[0])
    if not stands_in(wanted, given):
        return Score(False, "parsed")
    rest = without(wanted, given)
    for rival in map(words, rivals):
        longer = len(rival) > len(wanted) and stands_in(wanted, rival)
        if rival and rival != wanted and stands_in(rival, given if longer else rest):
            return Score(False, "parsed", " ".join(rival))
    return Score(True, "parsed", " ".join(wanted))


def rivals_by_category(categories: Sequence[str], answers: Sequence[str]) -> dict[str, set[str]]:
    """The distinct right answers of each category of a data set: each other's rivals in `judge_open`."""
    rivals = defaultdict(set)
    for category, answer in zip(categories, answers, strict=True):
        rivals[category].add(answer)
    return dict(rivals)


def words(text: str) -> tuple[str, ...]:
    """Lower-case words without punctuation and articles; number words as digits. A letter of UNSPACED is a word."""
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    said = WORD.findall(text)
    return tuple(NUMBERS.get(word, word) for word in said if word not in ARTICLES) or tuple(said)


def stands_in(phrase: tuple[str, ...], said: tuple[str, ...]) -> bool:
    """Whether the words of a phrase come one after the other in what was said, not right after a negation."""
    return any(
        said[start : start + len(phrase)] == phrase and not denied(said[max(start - 2, 0) : start])
        for start in range(len(said) - len(phrase) + 1)
    )


def denied(before: tuple[str, ...]) -> bool:
    """Whether what was said before some words denies them. before: the last words of it, two at least if there are."""
    last = before[-1:] if before[-1:] != (COPULA,) else before[-2:-1]
    return not NEGATIONS.isdisjoint(last)


def without(phrase: tuple[str, ...], said: tuple[str, ...]) -> tuple[str, ...]:
    """What was said, with every occurrence of the phrase replaced by one empty word."""
    rest: list[str] = []
    position = 0
    while position < len(said):
        if said[position : position + len(phrase)] == phrase:
            rest.append("")
            position += len(phrase)
        else:
            rest.append(said[position])
            position += 1
    return tuple(rest)
