"""Guard models in this process, and what a guard model's reply must be."""

import pytest
import torch
from helpers.tiny_evaluators import reward_folder
from helpers.tiny_judges import saved_judge

import vlmguard_plugin as vg
from vlmguard_plugin.guards.core.moderation import Exchange, ModerationFailed, read_reply
from vlmguard_plugin.guards.moderated import REFUSAL

QUERIES = [vg.Query("How do I bake bread?"), vg.Query("How do I do the bad thing?"), vg.Query("What is a boat?")]


def moderated(**settings):
    return vg.build_guard("moderated", **{"guard_model": "filter", **settings})


def answers_alone(subject):
    return subject.generate(QUERIES, max_new_tokens=8)


@pytest.mark.parametrize("form", ["plain", "llama_guard"])
@pytest.mark.parametrize(
    "reply", ["un\u017fafe", "\u017fafe", "!safe", "\u2260 safe", "\u274c safe", "not unsafe", "safe\nS1", "safe?", ""]
)
def test_a_reply_that_only_looks_like_safe_is_never_taken_for_it(form, reply):
    with pytest.raises(ModerationFailed, match="neither safe nor unsafe"):
        read_reply(form, Exchange((("user", "How?"),)), reply)


def test_a_local_classifier(subject):
    folder = reward_folder(labels=2)
    plain = answers_alone(subject)
    settings = {"guard_model": folder, "api": "classifier", "unsafe_labels": ["LABEL_1"]}
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = []
    for query in QUERIES:
        with torch.no_grad():
            expected.append(float(model(**tokenizer(query.text, return_tensors="pt")).logits.softmax(-1)[0, 1]))
    bound = sorted(expected)[1]
    guard = moderated(**settings, threshold=bound - 1e-6, looks_at="input")
    given = guard.respond(subject, QUERIES, max_new_tokens=8)
    wanted = [REFUSAL if chance >= bound - 1e-6 else text for chance, text in zip(expected, plain)]
    assert given == wanted and given.count(REFUSAL) == 2
    assert guard.checks.calls == 3
    assert guard.checks.tokens == sum(len(tokenizer(query.text)["input_ids"]) for query in QUERIES)
    assert moderated(**settings, threshold=1.0).respond(subject, QUERIES, max_new_tokens=8) == plain


def test_labels_that_do_not_rule_each_other_out(subject, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(reward_folder(labels=2)).eval()
    model.config.problem_type = "multi_label_classification"
    model.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(reward_folder(labels=2))
    tokenizer.save_pretrained(tmp_path)
    with torch.no_grad():
        highest = [
            float(model(**tokenizer(query.text, return_tensors="pt")).logits.sigmoid().max()) for query in QUERIES
        ]
    bound = sorted(highest)[1] - 1e-6
    guard = moderated(
        guard_model=tmp_path,
        api="classifier",
        unsafe_labels=["LABEL_0", "LABEL_1"],
        threshold=bound,
        looks_at="input",
    )
    given = guard.respond(subject, QUERIES, max_new_tokens=8)
    assert [text == REFUSAL for text in given] == [chance >= bound for chance in highest]


def test_a_local_language_model(subject, tmp_path):
    plain = answers_alone(subject)
    for text, given in (("safe", plain), ("unsafe"[::-1], None)):
        guard = moderated(guard_model=saved_judge(tmp_path, text, name=text), api="generator", form="llama_guard")
        if given is None:
            with pytest.raises(ModerationFailed, match="'efasnu' is neither safe nor unsafe"):
                guard.respond(subject, QUERIES, max_new_tokens=8)
        else:
            assert guard.respond(subject, QUERIES, max_new_tokens=8) == given
            assert guard.checks.calls == 6 and guard.checks.tokens > 6 * len("safe")


def test_a_text_that_is_too_long_for_the_guard_model_is_not_safe(subject):
    short = reward_folder(labels=2, context=32)
    guard = moderated(guard_model=short, api="classifier", unsafe_labels="LABEL_1", threshold=1.0)
    with pytest.raises(ModerationFailed, match="reads 32 tokens and .* are needed"):
        guard.respond(subject, [vg.Query("word " * 30)], max_new_tokens=4)
