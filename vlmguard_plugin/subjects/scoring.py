"""How likely a model is to give an answer: what is scored, which answers share a pass, and the sum itself."""

from __future__ import annotations

from itertools import takewhile
from operator import eq
from typing import Callable, NamedTuple, Sequence

import torch
from torch import Tensor

from vlmguard_plugin.query import Query
from vlmguard_plugin.subjects.base import Likelihood


class ScoredAnswer(NamedTuple):
    """An answer whose likelihood is asked for, as tokens (an image's is one) behind its prompt's.

    prompt_tokens: how many of them are the prompt's. first: index of the first that counts.
    """

    query: Query
    answer: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    first: int

    @property
    def counted(self) -> tuple[int, ...]:
        """The tokens whose likelihood is added up."""
        return self.tokens[self.first :]

    @property
    def answer_tokens(self) -> int:
        """How many tokens at the end are no prompt: edited as if they were being decoded."""
        return len(self.tokens) - self.prompt_tokens


def scored_answer(query: Query, answer: str, prompt: str, tokens: Callable[[str], list[int]]) -> ScoredAnswer:
    """An answer behind a query's prompt; the two are made into tokens together.

    White space at the prompt's end is counted to the answer, for tokenizers join it to the word that follows
    (lm-evaluation-harness's convention). ValueError for an answer that adds no token.
    """
    whole, own = tokens(prompt + answer), tokens(prompt)
    shared = sum(takewhile(bool, map(eq, whole, own)))  # all of the prompt, unless the answer joins its last token
    first = max(1, len(tokens(prompt.rstrip())))
    if first >= len(whole):
        raise ValueError(
            f"the answer {answer!r} adds no token to its prompt, so it has no likelihood; give a longer one"
        )
    return ScoredAnswer(query, answer, tuple(whole), min(shared, len(whole) - 1), first)


def scored_tokens(prompt: Sequence[int], answer: Sequence[int]) -> ScoredAnswer:
    """The same for tokens, special ones included: text alone, at least one token each."""
    return ScoredAnswer(Query("", raw=True), "", (*prompt, *answer), len(prompt), len(prompt))


def sharing_a_pass(answers: Sequence[ScoredAnswer]) -> list[list[int]]:
    """Indices of answers that differ in their last token alone, so that one pass serves them, group by group."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, answer in enumerate(answers):
        pictures = tuple(id(image) for image in answer.query.all_images)
        groups.setdefault((answer.tokens[:-1], answer.prompt_tokens, pictures), []).append(index)
    return list(groups.values())


def likelihood(logits: Tensor, tokens: Sequence[int]) -> Likelihood:
    """Of the last tokens of a row. logits: [positions, words], the last position's is that of the last token."""
    before = logits[-len(tokens) - 1 : -1].float()
    wanted = torch.tensor(tokens, device=logits.device)
    chosen = torch.log_softmax(before, dim=-1).gather(1, wanted.unsqueeze(1))
    return Likelihood(float(chosen.sum()), bool((before.argmax(dim=-1) == wanted).all()))
