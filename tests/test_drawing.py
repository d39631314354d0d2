"""Answers drawn token by token: by which numbers, how they are read, where they end."""

import numpy as np
import pytest
import torch
from helpers.drawn_by_hand import pictured_requests, speaking
from helpers.tiny_models import byte_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from vlmguard_plugin.subjects.base import Drawn, Draws
from vlmguard_plugin.subjects.drawing import DrawnLogits, end_tokens, read, text_behind


@pytest.fixture
def shown(pictures):
    return pictured_requests(pictures)


def test_tokens_are_drawn_by_their_row_of_numbers():
    random = np.random.RandomState(0)
    logits, numbers = random.normal(size=(40, 9)).astype(np.float32) * 3, random.random_sample((40, 2))
    logits[:, 4] = -np.inf
    for top_k, temperature in ((1, 1.0), (3, 0.7), (20, 5.0)):
        chosen = DrawnLogits(torch.tensor(numbers).float(), 6, top_k, temperature)
        left = chosen(torch.zeros(40, 7, dtype=torch.long), torch.tensor(logits)).numpy()
        for row, number, one in zip(logits, numbers[:, 1], left):
            likely = np.argsort(-row)[:top_k]
            weights = np.exp(row[likely].astype(float) / temperature)
            word = likely[np.searchsorted(np.cumsum(weights) / weights.sum(), number, side="right")]
            assert np.flatnonzero(np.isfinite(one)).tolist() == [word] != [4] and one[word] == 0


def test_a_text_is_read_behind_the_tokens_before_it():
    """A tokenizer of whole words leaves out the space before a text's first one."""
    words = {word: number for number, word in enumerate(["<unk>", "</s>", "▁As", "▁an", "▁AI", "▁No", ".", "▁Yes"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    assert fast.decode([5]) == "No" and text_behind(fast, [2, 3, 4], [5, 6]) == " No."
    assert read(fast, [4], [5, 6, 7, 1], ".", {1}) == (" No.", 2, False)
    assert read(fast, [4], [5, 7, 1, 1], ".", {1}) == (" No Yes", 3, True)
    assert read(fast, [4], [5, 7], ".", {1}) == (" No Yes", 2, False)
    assert read(fast, [4], [1], ".", {1}) == ("", 1, True)


def test_a_letter_of_several_tokens_is_not_cut_in_two():
    """What is drawn next goes on from the text, where half a letter would stand for another."""
    tokenizer = byte_tokenizer("<image>")
    tokens = tokenizer("aéé", add_special_tokens=False)["input_ids"]
    assert len(tokens) == 5
    assert read(tokenizer, [], tokens[:4], ".", {-1}) == ("aé", 3, False)
    assert read(tokenizer, [], tokens[:3], ".", {-1}) == ("aé", 3, False)
    assert read(tokenizer, [], tokens[1:2], ".", {-1}).tokens == 1, "one token at least, or it would go on for ever"


def test_arguments_of_whole_answers_do_not_count_from_each_part(shown):
    """Of the call, and of the checkpoint's generation_config."""
    subject = speaking()
    ends = end_tokens(subject.model, {})
    numbers = Draws([1], [""], [6], 1, 1.0, ".")
    subject.model.generation_config.min_new_tokens = 5
    with torch.no_grad():
        subject.model.lm_head.weight.zero_()
    plain = subject.draw(shown[:1], numbers)
    given = {"min_new_tokens": 4, "min_length": 900, "begin_suppress_tokens": sorted(ends), "max_time": 0.0}
    assert subject.draw(shown[:1], numbers, **given) == plain
    first = torch.zeros(subject.model.lm_head.weight.shape[0])
    first[min(ends)] = 9.0
    subject.model.lm_head.register_forward_hook(lambda module, arguments, logits: logits + first)
    assert subject.draw(shown[:1], numbers, **given) == [Drawn("", 1, True)]


def test_nothing_is_computed_behind_a_sentences_end(shown):
    short, passes = speaking(**{".": 99.0}), []
    short.model.register_forward_pre_hook(lambda module, arguments: passes.append(1))
    rows = short.draw(shown[:1], Draws([1], [""], [50], 1, 1.0, "."))
    assert rows == [Drawn(".", 1, False)] and len(passes) == 1


def test_what_is_drawn_for_each_has_a_length_of_its_own(shown):
    subject = speaking()
    draws = Draws([1, 2, 3], ["", " ab", ""], [1, 5, 3], 5, 1.5, ".")
    rows = subject.draw(shown, draws, max_new_tokens=99)
    alone = [
        subject.draw([query], Draws([seed], [begun], [length], 5, 1.5, "."))[0]
        for query, seed, begun, length in zip(shown, draws.seeds, draws.begun, draws.lengths)
    ]
    assert rows == alone and all(1 <= row.tokens <= length for row, length in zip(rows, draws.lengths))
