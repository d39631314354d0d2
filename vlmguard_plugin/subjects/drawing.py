"""Answers drawn token by token, each row by random numbers of its own, and continued."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessorList, StoppingCriteriaList

from vlmguard_plugin.steering.editing import with_answers
from vlmguard_plugin.subjects.base import Contrast, Drawn, Draws
from vlmguard_plugin.subjects.contrast import contrasting, of_pairs
from vlmguard_plugin.subjects.scoring import ONE_ANSWER, tokens_behind
from vlmguard_plugin.subjects.stopping import stopping

if TYPE_CHECKING:
    from vlmguard_plugin.query import Query
    from vlmguard_plugin.steering.edit import SomeEdits
    from vlmguard_plugin.subjects.base import EditsForBatch
    from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject

CHOOSING = (
    "do_sample", "num_beams", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff",
    "max_new_tokens", "max_length", "seed",
)  # fmt: skip
"""Arguments of `generate` in whose place `Draws` stands."""
OF_WHOLE_ANSWERS: dict[str, Any] = {
    "min_length": 0,
    **dict.fromkeys(
        ("min_new_tokens", "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id", "max_time",
         "exponential_decay_length_penalty", "stop_strings")
    ),
}  # fmt: skip
"""Arguments that count from where `generate` begins, which is in the midst of an answer here: what turns them off."""
CONTEXT = 8
"""Tokens before what was drawn that it is read beside: a tokenizer may leave the first space of a text out."""


class DrawnLogits:
    """Leaves one token in each row's logits: the one that is drawn from its most likely ones.

    numbers: float32 [rows, tokens], 0 to 1: where each token lies in the summed probabilities of these, the most
    likely first. The same numbers draw the same tokens in any batch.
    """

    def __init__(self, numbers: Tensor, prompt_tokens: int, top_k: int, temperature: float) -> None:
        self.numbers, self.prompt_tokens = numbers, prompt_tokens
        self.top_k, self.temperature = top_k, temperature

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits [rows, words] for such ones: 0 for the token that is drawn, minus infinity for all others."""
        self.numbers = self.numbers.to(scores.device)
        likely, words = scores.float().topk(min(self.top_k, scores.shape[-1]), dim=-1)
        summed = (likely / self.temperature).softmax(dim=-1).cumsum(dim=-1)
        number = self.numbers[:, input_ids.shape[1] - self.prompt_tokens].unsqueeze(1)
        place = (summed <= number * summed[:, -1:]).sum(dim=-1, keepdim=True)
        word = words.gather(1, place.clamp(max=words.shape[1] - 1))
        return torch.full_like(scores, -torch.inf).scatter(1, word, 0.0)


def drawn(
    subject: HuggingFaceSubject,
    queries: Sequence[Query],
    draws: Draws,
    edits: SomeEdits | EditsForBatch | None = None,
    contrast: Contrast | None = None,
    **generation: Any,
) -> list[Drawn]:
    """What is drawn for each query, in order; see subjects.base.Drawer."""
    kept = {name: value for name, value in generation.items() if name not in CHOOSING}
    generation = {**kept, **OF_WHOLE_ANSWERS, **ONE_ANSWER, "do_sample": False, "num_beams": 1}
    if contrast is not None:
        generation = contrasting(subject.model, generation, contrast.alpha)
    texts: dict[int, Drawn] = {}
    for indices in subject.batches(queries, contrast):
        batch = [queries[index] for index in indices]
        batch += [contrast.queries[index] for index in indices] if contrast else []
        batch_edits = edits(batch) if callable(edits) else edits
        texts.update(zip(indices, drawn_batch(subject, batch, draws, indices, batch_edits, generation)))
    return [texts[index] for index in range(len(queries))]


def drawn_batch(
    subject: HuggingFaceSubject,
    batch: Sequence[Query],
    draws: Draws,
    indices: Sequence[int],
    edits: SomeEdits | None,
    generation: dict[str, Any],
) -> list[Drawn]:
    """The same for a batch: the queries of these indices, and behind them, if there are more, their other wordings."""
    tokenizer, paired = subject.processor.tokenizer, len(batch) > len(indices)
    times = 2 if paired else 1
    begun = [subject.prompts.readable(draws.begun[index]) for index in indices] * times
    answer_tokens = [tokens_given(subject, query, text) for query, text in zip(batch, begun, strict=True)]
    inputs = subject.encode(batch, begun)
    prompt_tokens, most = inputs["input_ids"].shape[1], max(draws.lengths[index] for index in indices)
    numbers = np.stack([np.random.RandomState(draws.seeds[index]).random_sample(most) for index in indices])
    of_rows = torch.from_numpy(numbers).float().repeat(times, 1)
    chosen = DrawnLogits(of_rows, prompt_tokens, draws.top_k, draws.temperature)
    stopped = stopping(tokenizer, [draws.end], prompt_tokens)
    generation = {
        **generation,
        "max_new_tokens": most,
        "logits_processor": LogitsProcessorList([*(generation.get("logits_processor") or ()), chosen]),
        "stopping_criteria": StoppingCriteriaList([*(generation.get("stopping_criteria") or ()), stopped]),
    }
    with ExitStack() as stack:
        if any(answer_tokens):
            stack.enter_context(with_answers(subject.model, torch.tensor(answer_tokens)))
        stack.enter_context(subject.editing(edits))
        stack.enter_context(torch.no_grad())
        tokens = subject.model.generate(**inputs, **generation)
    new = of_pairs(tokens[:, prompt_tokens:]) if paired else tokens[:, prompt_tokens:]
    before = inputs["input_ids"][:, -CONTEXT:].tolist()
    rows = [
        read(tokenizer, context, row[: draws.lengths[index]], draws.end, end_tokens(subject.model, generation))
        for index, context, row in zip(indices, before, new.tolist())
    ]
    subject.generated_tokens += sum(row.tokens for row in rows)
    return rows


def tokens_given(subject: HuggingFaceSubject, query: Query, answer: str) -> int:
    """How many tokens at the end of prompt and answer are the answer's."""
    if not answer:
        return 0
    tokens = partial(subject.prompts.tokens, special=subject.prompts.lacks_first_token(query))
    whole, prompt_tokens = tokens_behind(answer, subject.prompt(query), tokens)
    return len(whole) - prompt_tokens


def read(tokenizer: Any, context: list[int], new: list[int], end: str, ends: set[int]) -> Drawn:
    """What was drawn in a row of new tokens, up to one of the tokens `ends` or the text `end`; the rest is padding.

    context: the tokens before it.
    """
    count = next((place for place, token in enumerate(new) if token in ends), len(new))
    text = text_behind(tokenizer, context, new[:count])
    if end not in text:
        ended = count < len(new)
        kept = count if ended else without_part_of_letter(tokenizer, context, new[:count])
        return Drawn(text_behind(tokenizer, context, new[:kept]), kept + ended, ended)
    tokens = next(number for number in range(1, count + 1) if end in text_behind(tokenizer, context, new[:number]))
    return Drawn(text[: text.index(end) + len(end)], tokens, False)


def without_part_of_letter(tokenizer: Any, context: list[int], new: list[int]) -> int:
    """How many of new tokens stand before a letter that the last ones only begin; all where they make up no other."""
    whole = range(len(new), 0, -1)
    return next(
        (kept for kept in whole if not text_behind(tokenizer, context, new[:kept]).endswith("\ufffd")), len(new)
    )


def text_behind(tokenizer: Any, context: list[int], new: list[int]) -> str:
    """The text of new tokens as it stands behind those before them."""
    before: str = tokenizer.decode(context, skip_special_tokens=True)
    whole: str = tokenizer.decode(context + new, skip_special_tokens=True)
    return whole[len(before) :] if whole.startswith(before) else tokenizer.decode(new, skip_special_tokens=True)


def end_tokens(model: Any, generation: dict[str, Any]) -> set[int]:
    """The tokens with which the model ends an answer, by `generate`'s arguments or a configuration."""
    configs = (generation.get("generation_config"), getattr(model, "generation_config", None))
    known = (generation.get("eos_token_id"), *(getattr(config, "eos_token_id", None) for config in configs))
    ends = next((given for given in known if given is not None), ())
    return {ends} if isinstance(ends, int) else {int(token) for token in ends}
