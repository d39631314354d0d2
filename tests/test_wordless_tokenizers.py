"""Checkpoints without their tokenizer's files, for which transformers may make a tokenizer of no words."""

import pytest
import torch
from helpers.tiny_models import tiny_llava, tiny_processor
from transformers import BertConfig, BertForSequenceClassification, Qwen2Config, Qwen2ForCausalLM

import vlmguard_plugin as vg
from vlmguard_plugin.guards.core.evaluators import RewardScores
from vlmguard_plugin.judges.base import JudgeError
from vlmguard_plugin.judges.local_model import LocalModel

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
SAID = "can't be (used|loaded)"
"""Of no tokenizer at all or, since transformers 5, of one that reads every text alike."""


def saved(model, folder):
    model.save_pretrained(folder)
    return str(folder)


def test_they_score_judge_and_filter_nothing(tmp_path, subject):
    torch.manual_seed(0)
    causal = saved(Qwen2ForCausalLM(Qwen2Config(**SIZES, num_key_value_heads=2, vocab_size=300)), tmp_path / "causal")
    one, two = (
        saved(BertForSequenceClassification(BertConfig(**SIZES, num_labels=labels)), tmp_path / f"labels-{labels}")
        for labels in (1, 2)
    )
    with pytest.raises(ValueError, match=f"^reward_model '.*' {SAID}") as said:
        RewardScores.load(one, "cpu")
    assert "\n" not in str(said.value)
    for model, api in ((two, {"api": "classifier", "unsafe_labels": ["LABEL_0"]}), (causal, {"api": "generator"})):
        guard = vg.build_guard("moderated", guard_model=model, **api)
        with pytest.raises(ValueError, match=f"^guard_model '.*' {SAID}") as said:
            guard.respond(subject, [vg.Query("Hi")], max_new_tokens=2)
        assert "\n" not in str(said.value)
    with pytest.raises(JudgeError, match=f"model .* {SAID}"):
        LocalModel.load(causal)


def test_nor_do_they_answer():
    processor = tiny_processor()
    processor.tokenizer = Wordless(processor.tokenizer)
    with pytest.raises(
        ValueError, match="Wordless can't be used: it reads different texts as the same tokens: .* give"
    ):
        vg.HuggingFaceSubject(tiny_llava(), processor)


class Wordless:
    """A tokenizer all of whose texts are as many unknown words."""

    def __init__(self, own):
        self._own = own

    def __getattr__(self, name):
        return getattr(self._own, name)

    def __call__(self, text, **options):
        return {"input_ids": [0] * len(text.split())}
