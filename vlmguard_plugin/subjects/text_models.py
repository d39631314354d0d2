"""What all models that read text have in common: how much of it they read, and other people's words in it."""

from __future__ import annotations

from typing import Any, Callable

TRIAL = ("Red cars are bad.", "Big dogs can run.")
"""Texts of one form: to a tokenizer that lacks their words they are alike."""


def context_length(config: Any, tokenizer: Any) -> int:
    """Tokens that a model can read and write, by its own and its tokenizer's word; 2048 where neither says.

    config: of the model, or of the part of it that reads text.
    """
    known = (getattr(config.get_text_config(), "max_position_embeddings", None), tokenizer.model_max_length)
    return min([length for length in known if length and length < 10**9], default=2048)


def plain_words(text: str, tokenizer: Any) -> str:
    """The text without the tokenizer's special tokens, so that it can't end a turn or start one."""
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    for token in sorted(special | set(tokenizer.all_special_tokens), key=len, reverse=True):
        text = text.replace(token, " ")
    return text


def check_reads(read: Callable[[str], Any], tokenizer: Any = None) -> None:
    """ValueError where different texts come to a model as the same tokens, so that it can say nothing of them.

    read: from a text to the tokens that the model is given, as numbers. tokenizer: whose own words are tried where it
    lacks those of TRIAL, as one of few words may.
    """
    first, other = map(read, TRIAL)
    if first == other and tokenizer is not None:
        own = sorted(word for word in tokenizer.get_vocab() if word.isalnum()) or TRIAL
        first, other = read(own[0]), read(own[-1])
    if first == other:
        raise ValueError(
            "it reads different texts as the same tokens: the files of its tokenizer are missing, or its chat template "
            "leaves texts out; give a whole checkpoint"
        )
