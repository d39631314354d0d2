"""Perplexity of answers against its definition, on tiny random models built here."""

import json
import logging
import math

import numpy
import pytest
import torch
from click.testing import CliRunner
from helpers.tiny_judges import PLAIN, judge_tokenizer, tiny_llama

from vlmguard_plugin.cli.main import main
from vlmguard_plugin.judges.base import JudgeError
from vlmguard_plugin.judges.local_model import LocalModel
from vlmguard_plugin.judges.perplexity import CHUNK, perplexities, summarise

ANSWERS = ["Red.", "Take a bowl and add flour.", "No", "It is a long sentence, and then it goes on and on, all of it."]
REQUESTS = ["Which colour?", "How do I bake bread?", "Is it?", "Say something."]


def tiny(template=None, context=2048, bos=True):
    tokenizer = judge_tokenizer(template)
    if not bos:
        tokenizer.bos_token = None
    return LocalModel(tiny_llama(context=context), tokenizer, context)


def by_definition(local, before, words):
    """exp of the mean of -log p(token | what stands before it), one token at a time, in numpy."""
    losses = []
    for position in range(len(words)):
        prefix = before + words[:position]
        if not prefix:
            continue
        with torch.no_grad():
            logits = local.model(torch.tensor([prefix])).logits[0, -1].double().numpy()
        shifted = logits - logits.max()
        losses.append(numpy.log(numpy.exp(shifted).sum()) - shifted[words[position]])
    return math.exp(numpy.mean(losses))


def test_equals_its_definition():
    local = tiny()
    expected = [by_definition(local, [1], local.words(answer)) for answer in ANSWERS]
    assert perplexities(local, ANSWERS) == pytest.approx(expected, rel=1e-4)
    assert max(expected) > 1.5 * min(expected), "answers must differ for this to test anything"


def test_a_batch_equals_one_at_a_time():
    local = tiny()
    together = perplexities(local, ANSWERS, batch_size=4)
    assert together == pytest.approx(perplexities(local, ANSWERS, batch_size=1), rel=1e-4)
    assert together == pytest.approx([perplexities(local, [answer])[0] for answer in ANSWERS], rel=1e-4)


def test_without_a_first_token_the_answers_first_is_not_scored():
    local = tiny(bos=False)
    expected = [by_definition(local, [], local.words(answer)) for answer in ANSWERS]
    assert perplexities(local, ANSWERS) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("template, form", [(None, "<s>{}\n\n"), (PLAIN, "<s>Rate it.\nuser> {}\njudge> END:")])
def test_given_the_request(template, form):
    local = tiny(template)
    befores = [local.words(form.format(request)) for request in REQUESTS]
    assert all(before[0] == 1 for before in befores)
    expected = [by_definition(local, before, local.words(answer)) for before, answer in zip(befores, ANSWERS)]
    assert perplexities(local, ANSWERS, REQUESTS, given="request") == pytest.approx(expected, rel=1e-4)
    assert perplexities(local, ANSWERS, REQUESTS) == pytest.approx(perplexities(local, ANSWERS), rel=1e-6)


def test_a_uniform_model_is_as_perplexed_as_it_has_tokens():
    local = tiny()
    with torch.no_grad():
        local.model.lm_head.weight.zero_()
    assert perplexities(local, ANSWERS) == pytest.approx([260.0] * 4, rel=1e-5)


def test_none_where_there_is_none_to_tell():
    assert perplexities(tiny(), ["", None, "   ", "x", float("nan")]) == [None] * 5
    values = perplexities(tiny(), ["", "Two words", None])
    assert [value is None for value in values] == [True, False, True]
    assert perplexities(tiny(), []) == []


def test_long_answers_are_cut_with_a_warning(caplog):
    local = tiny(context=64)
    answer = "abcdefgh" * 20
    with caplog.at_level(logging.WARNING):
        value = perplexities(local, [answer, "Short one"])[0]
    assert value == pytest.approx(by_definition(local, [1], local.words(answer)[:63]), rel=1e-4)
    assert "1 of 2 answers were cut to the model's 64 tokens" in caplog.text


def test_longer_than_one_chunk():
    local = tiny()
    answer = "abcdefgh" * (CHUNK // 8 + 20)
    with torch.no_grad():
        ids = torch.tensor([[1, *local.words(answer)]])
        loss = local.model(ids, labels=ids).loss.item()
    assert perplexities(local, [answer])[0] == pytest.approx(math.exp(loss), rel=1e-4)


def test_a_batch_that_fails_is_halved(caplog):
    local = tiny()
    expected = perplexities(local, ANSWERS)
    poison = local.words("#")[0]

    def fail(module, args, kwargs):
        if len(kwargs["input_ids"]) > 1 or (kwargs["input_ids"] == poison).any():
            raise RuntimeError("CUDA out of memory")

    local.model.register_forward_pre_hook(fail, with_kwargs=True)
    *values, poisoned = perplexities(local, [*ANSWERS, "no # please"])
    assert values == pytest.approx(expected, rel=1e-4) and poisoned is None
    assert "out of memory" in caplog.text


def test_a_saved_model(tmp_path):
    local = tiny()
    local.model.save_pretrained(tmp_path)
    local.tokenizer.save_pretrained(tmp_path)
    assert perplexities(tmp_path, ANSWERS) == pytest.approx(perplexities(local, ANSWERS), rel=1e-4)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"given": "all"}, "'all'"),
        ({"given": "request"}, "no requests"),
        ({"batch_size": 0}, "batch size is 0"),
        ({"given": "request", "requests": ["one"]}, "1 requests for 4"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(JudgeError, match=message):
        perplexities(tiny(), ANSWERS, **settings)


def test_summary():
    values = [2.0, 3.0, None, 4.0, 5.0, 100.0]
    summary = summarise(values)
    assert (summary.median, summary.mean, summary.n, summary.unknown) == (4.0, 22.8, 5, 1)
    assert 2.0 <= summary.low <= 4.0 <= summary.high <= 100.0 and summary.low < summary.high
    assert summarise(values) == summary


def test_the_interval_covers_the_median_as_often_as_it_says():
    draw = numpy.random.default_rng(3)
    covered = 0
    for _ in range(40):
        summary = summarise(list(numpy.exp(draw.normal(size=60))))
        covered += summary.low <= 1.0 <= summary.high
    assert covered >= 33, "95% of 40 is 38; fewer than 33 would be a chance of one in a thousand"


def test_summary_of_little():
    assert summarise([]).median is None and summarise([None]).unknown == 1
    assert summarise([3.0]).median == 3.0 and summarise([3.0]).low is None


def test_the_command(tmp_path):
    import pandas

    place = tmp_path / "out" / "vlm"
    place.mkdir(parents=True)
    facts = {"index": [1, 2, 3], "question": REQUESTS[:3], "harmful": [1, 0, 0]}
    pandas.DataFrame({**facts, "prediction": [*ANSWERS[:2], ""]}).to_csv(place / "vlm_Set.tsv", sep="\t", index=False)
    local = tiny()
    local.model.save_pretrained(tmp_path / "lm")
    local.tokenizer.save_pretrained(tmp_path / "lm")
    run = CliRunner().invoke(main, ["perplexity", str(tmp_path / "out"), "--model", str(tmp_path / "lm"), "--json"])
    assert run.exit_code == 0, run.output
    (entry,) = json.loads(run.stdout)["perplexity"]
    assert (entry["model"], entry["dataset"], entry["summary"]["n"], entry["summary"]["unknown"]) == (
        "vlm",
        "Set",
        2,
        1,
    )
    assert entry["summary"]["mean"] == pytest.approx(sum(perplexities(local, ANSWERS[:2])) / 2, rel=1e-3)
    shown = CliRunner().invoke(main, ["perplexity", str(tmp_path / "out"), "--model", str(tmp_path / "lm")]).stdout
    assert "Perplexity" in shown and ANSWERS[0] not in shown
