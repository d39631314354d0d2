"""A rule's quick look never hides what its pattern finds: proven by taking each pattern apart."""

import pytest

from vlmguard_plugin.judges import refusal_english, refusal_english_objections, refusal_terse
from vlmguard_plugin.judges.refusal_rule import Rule, rule

try:
    from re import _parser as parser
except ImportError:  # before Python 3.11
    import sre_parse as parser

RULES = [
    found
    for module in (refusal_english, refusal_english_objections, refusal_terse)
    for value in vars(module).values()
    for found in (value if isinstance(value, tuple) and not isinstance(value, Rule) else [value])
    if isinstance(found, Rule)
]
ANYTHING = "\0"
"""Stands for characters of any kind and number."""


def without_pieces(checked):
    """What ends the texts that a rule's pattern fits and that hold none of its pieces, as far as it is written out."""
    longest = max(map(len, checked.pieces))

    def kept(ends):
        return {end[-longest:] for end in ends if not any(piece in end for piece in checked.pieces)}

    def after_all(ends, nodes):
        for kind, value in nodes:
            ends = kept(after(ends, kind, value))
        return ends

    def after(ends, kind, value):
        if kind is parser.LITERAL:
            return {end + chr(value) for end in ends}
        if kind is parser.SUBPATTERN:
            return after_all(ends, value[3])
        if kind is parser.BRANCH:
            return set().union(*(after_all(ends, branch) for branch in value[1]))
        if kind in (parser.MAX_REPEAT, parser.MIN_REPEAT):
            fewest, most, repeated = value
            if (fewest, most) == (0, 1):
                return ends | after_all(ends, repeated)
            return {end + ANYTHING for end in (after_all(ends, repeated) if fewest else ends)}
        if kind in (parser.AT, parser.ASSERT, parser.ASSERT_NOT):
            return ends
        return {end + ANYTHING for end in ends}

    return after_all({""}, parser.parse(checked.pattern.pattern))


def test_the_proof_finds_what_a_quick_look_hides():
    assert without_pieces(rule("cannot|will not", r"\bi (?:cannot|(?:am|will) not)\b(?: help)?"))
    assert not without_pieces(rule("cannot|am not|will not", r"\bi (?:cannot|(?:am|will) not)\b(?: help)?"))
    assert without_pieces(rule("help", r"no(?: help)?")) and without_pieces(rule("a", r"[abc]"))


@pytest.mark.parametrize("checked", RULES, ids=lambda checked: checked.pieces[0].strip())
def test_whatever_a_rule_fits_holds_one_of_its_pieces(checked):
    assert not without_pieces(checked)


@pytest.mark.parametrize("checked", refusal_english.DECLINE, ids=lambda checked: checked.pieces[0].strip())
def test_a_sentence_without_the_words_of_refusals_fits_no_rule(checked):
    assert not without_pieces(Rule(refusal_english.DECLINE_WORDS, checked.pattern))


def test_a_rule_looks_for_its_pattern():
    assert rule("cat|dog", r"\b(?:cats|dog)\b").fits("two cats") and not rule("cat", r"\bcats\b").fits("a cat")
    assert len(RULES) > 30
