"""Generation in lm-evaluation-harness's model: arguments, seeds, order and batches."""

import pytest
import torch
from helpers.lm_eval_tasks import NOUNS, requests_of
from PIL import Image

from vlmguard_plugin.hosts.lm_eval.requests import generation_of


def test_generation_arguments():
    assert generation_of({"until": ["\n", ""], "max_gen_toks": 5}, 256) == (
        ("\n",),
        {"max_new_tokens": 5, "do_sample": False},
    )
    assert generation_of({"until": "a", "do_sample": False, "temperature": 0.7}, 9) == (
        ("a",),
        {"max_new_tokens": 9, "do_sample": False},
    )
    assert generation_of({"do_sample": True, "temperature": 0.7, "top_p": 0.9}, 9)[1] == {
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.9,
        "max_new_tokens": 9,
    }


def test_two_lengths_under_two_names():
    """The host merges a task's and the user's, and would take the task's without a word."""
    with pytest.raises(ValueError, match="max_gen_toks=512 and max_new_tokens=10; give max_gen_toks"):
        generation_of({"max_gen_toks": 512, "max_new_tokens": 10}, 256)
    assert generation_of({"max_gen_toks": 10, "max_tokens": "10"}, 256)[1]["max_new_tokens"] == 10
    assert generation_of({"max_new_tokens": 10, "until": []}, 256)[1]["max_new_tokens"] == 10


def test_sampled_answers_come_from_the_seed(plain):
    requests = requests_of(["What is a cake?"] * 3, [{"do_sample": True, "temperature": 2.0, "max_gen_toks": 8}] * 3)
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(plain.generate_until(requests))
    assert drawn[0] == drawn[1] != drawn[2]


def test_answers_come_in_the_requests_order_and_batches_really_go_at_once(plain):
    contexts = [f"{'long ' * (i % 4)}What is a {noun}?" for i, noun in enumerate(NOUNS * 3)]
    rows = []
    handle = plain.subject.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    plain.subject.batch_size = 8
    settings = [{"max_gen_toks": 4 + i % 2} for i in range(len(contexts))]
    together = plain.generate_until(requests_of(contexts, settings))
    handle.remove()
    plain.subject.batch_size = 1
    assert together == [
        plain.generate_until(requests_of([context], [setting]))[0] for context, setting in zip(contexts, settings)
    ]
    plain.subject.batch_size = 4
    assert [shape[0] for shape in rows if shape[1] > 1] == [8, 7]


def test_choices_of_one_question_share_a_pass_where_they_can(plain):
    passes = []
    handle = plain.subject.model.register_forward_pre_hook(lambda module, args: passes.append(1))
    likelihoods = plain.loglikelihood(requests_of(["Which? Answer:"] * 4, list("ABCD"), kind="loglikelihood"))
    handle.remove()
    assert len(passes) == 1 and len(set(likelihoods)) == 4


def test_a_damaged_request_stops_the_run(plain):
    with pytest.raises(ValueError, match="has 0 places for pictures"):
        plain.generate_until(requests_of(["Look!"], [{}], [{"visual": [Image.new("RGB", (8, 8))]}]))
