"""How likely a model is to give an answer: what is scored, which answers share a pass, and the sum itself."""

from __future__ import annotations

import inspect
from itertools import takewhile
from operator import eq
from typing import Any, Callable, ContextManager, NamedTuple, Sequence

import torch
from torch import Tensor, nn

from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.decoder import OnePassHeard
from vlmguard_plugin.steering.editing import with_answers
from vlmguard_plugin.subjects.base import Likelihood

ONE_ANSWER = {"num_return_sequences": 1, "return_dict_in_generate": False}
"""Arguments of `generate` that a checkpoint's generation_config must not decide: one text a query."""
ONE_PASS = {**ONE_ANSWER, "do_sample": False, "num_beams": 1, "max_new_tokens": 1}
"""The same for one pass over prompts, a row each."""


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
    whole, shared = tokens_behind(answer, prompt, tokens)
    first = max(1, len(tokens(prompt.rstrip())))
    if first >= len(whole):
        raise ValueError(
            f"the answer {answer!r} adds no token to its prompt, so it has no likelihood; give a longer one"
        )
    return ScoredAnswer(query, answer, tuple(whole), min(shared, len(whole) - 1), first)


def tokens_behind(answer: str, prompt: str, tokens: Callable[[str], list[int]]) -> tuple[list[int], int]:
    """Those of an answer behind its prompt, made together, and how many of them are the prompt's.

    These are all of the prompt's own, unless the answer joins its last one.
    """
    whole, own = tokens(prompt + answer), tokens(prompt)
    return whole, sum(takewhile(bool, map(eq, whole, own)))


def scored_tokens(prompt: Sequence[int], answer: Sequence[int]) -> ScoredAnswer:
    """The same for tokens, special ones included: text alone, at least one token each."""
    return ScoredAnswer(Query("", raw=True), "", (*prompt, *answer), len(prompt), len(prompt))


def sharing_a_pass(answers: Sequence[ScoredAnswer], beside: Sequence[ScoredAnswer] = ()) -> list[list[int]]:
    """Indices of answers that differ in their last token alone, so that one pass serves them, group by group.

    beside: the same answers to the requests put otherwise, which then have to share theirs too.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, forms in enumerate(zip(answers, beside) if beside else zip(answers)):
        pictures = tuple(id(image) for image in answers[index].query.all_images)
        begun = tuple((form.tokens[:-1], form.prompt_tokens) for form in forms)
        groups.setdefault((begun, pictures), []).append(index)
    return list(groups.values())


def check_same_answers(answers: Sequence[ScoredAnswer], beside: Sequence[ScoredAnswer]) -> None:
    """ValueError where an answer's tokens are others behind the request put otherwise."""
    for own, other in zip(answers, beside, strict=True):
        if own.counted != other.counted:
            raise ValueError(
                f"the answer {own.answer!r} has other tokens behind the request put otherwise, so its logits can't be "
                "contrasted; begin it with a space or a line break"
            )


def pass_logits(
    model: nn.Module, inputs: Any, answer_tokens: Tensor, last: int, editing: ContextManager[None]
) -> Tensor:
    """Logits of the last positions of a pass that begins as a generation does: [rows, at least `last`, words].

    answer_tokens: int [rows], how many of each row's last tokens are an answer's. editing: the edits' context.
    """
    heard: list[Tensor] = []

    def hear(module: nn.Module, args: Any, output: Any) -> None:
        heard.append(output.logits)
        raise OnePassHeard

    generator: Any = model
    keep = {"logits_to_keep": last} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    handle = model.register_forward_hook(hear)
    try:
        with with_answers(model, answer_tokens), editing, torch.no_grad():
            generator.generate(**inputs, **keep, **ONE_PASS)
    except OnePassHeard:
        pass
    finally:
        handle.remove()
    return heard[0]


def likelihood(logits: Tensor, tokens: Sequence[int]) -> Likelihood:
    """Of the last tokens of a row. logits: [positions, words], the last position's is that of the last token."""
    before = logits[-len(tokens) - 1 : -1].float()
    wanted = torch.tensor(tokens, device=logits.device)
    chosen = torch.log_softmax(before, dim=-1).gather(1, wanted.unsqueeze(1))
    return Likelihood(float(chosen.sum()), bool((before.argmax(dim=-1) == wanted).all()))
