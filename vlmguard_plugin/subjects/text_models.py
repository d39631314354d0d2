"""What all models that read text have in common: how much of it they read, and other people's words in it."""

from __future__ import annotations

from typing import Any


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
