"""The models beside the subject: what CLIP and a reward model score, and which checkpoints are refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.drawn_by_hand import Scores, pictured_requests
from helpers.tiny_evaluators import clip_folder, reward_folder
from helpers.tiny_judges import tiny_llama
from helpers.tiny_models import byte_tokenizer
from PIL import Image
from transformers import CLIPImageProcessor

import vlmguard_plugin as vg
from vlmguard_plugin.guards.core.evaluators import ClipScores, RewardScores


@pytest.fixture(scope="module")
def scores():
    return Scores(clip_folder(), reward_folder())


@pytest.fixture
def shown(pictures):
    return pictured_requests(pictures)


def test_scores_are_those_of_the_models(scores, shown, pictures):
    clip, reward = ClipScores.load(str(clip_folder()), "cpu"), RewardScores.load(str(reward_folder()), "cpu")
    texts = ["a red thing.", "", "words that are too many for so small a model of texts and pictures"]
    for query in shown:
        own = clip.scores([clip.picture(image) for image in query.images], texts)
        np.testing.assert_allclose(own, [scores.shown(query.images, text) for text in texts], atol=2e-5)
    assert own != clip.scores([clip.picture(pictures[0])], texts)
    blank = vg.BlankImage("white")
    np.testing.assert_allclose(
        clip.scores([clip.picture(blank)], texts[:1]),
        [scores.shown([Image.new("RGB", (28, 28), "white")], texts[0])],
        atol=2e-5,
    )
    for request, answer in (("Be good.", "No."), ("Be good.", ""), ("<|turn|>x", "y</s>z")):
        plain = [text.replace("<|turn|>", " ").replace("</s>", " ") for text in (request, answer)]
        np.testing.assert_allclose(reward.score(request, answer), scores.good(*plain), atol=2e-5)


def test_a_reward_model_without_a_chat_template_reads_a_pair(scores):
    reward = RewardScores.load(str(reward_folder(template=None)), "cpu")
    ids = byte_tokenizer("<|turn|>")("Be good.", "No.", return_tensors="pt")
    with torch.no_grad():
        expected = float(reward.model(**ids).logits[0, 0])
    assert reward.score("Be good.", "No.") == pytest.approx(expected, abs=2e-5)
    short = RewardScores.load(str(reward_folder(context=40)), "cpu")
    assert short.score("Be good.", "No" * 99) == short.score("Be good.", "No" * 30), "its end is cut off"


@pytest.fixture
def folder(tmp_path):
    """Of a language model: no reward model, and no CLIP model."""
    tiny_llama().save_pretrained(tmp_path)
    byte_tokenizer("<|turn|>").save_pretrained(tmp_path)
    return tmp_path


def test_checkpoints_that_are_something_else(folder):
    with pytest.raises(ValueError, match=r"reward_model '.*' has no weights score.weight, which would be random"):
        RewardScores.load(str(folder), "cpu")
    with pytest.raises(ValueError, match=r"clip '.*' can't be used: it is of the type 'llama'; give a CLIPModel"):
        ClipScores.load(str(folder), "cpu")
    with pytest.raises(ValueError, match="gives 3 numbers for an answer; give a sequence classifier with one"):
        RewardScores.load(str(reward_folder(labels=3)), "cpu")
    (folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"reward_model '.*' can't be used: ") as said:
        RewardScores.load(str(folder), "cpu")
    assert "\n" not in str(said.value)


def test_code_and_pickles(folder):
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoModelForSequenceClassification": "modeling.Mine"}
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": own}))
    with pytest.raises(ValueError, match="brings Python code of its own, which is not run; give a checkpoint of an"):
        RewardScores.load(str(folder), "cpu")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="has no weights in model.safetensors, and pickles are not loaded"):
        RewardScores.load(str(folder), "cpu")


def test_scores_that_are_no_numbers(pictures):
    """No threshold would hold them: the answer would pass for a safe one."""
    clip, reward = ClipScores.load(str(clip_folder()), "cpu"), RewardScores.load(str(reward_folder()), "cpu")
    with torch.no_grad():
        reward.model.score.weight.fill_(float("nan"))
        clip.model.logit_scale.fill_(float("inf"))
    with pytest.raises(ValueError, match="reward_model '.*' gives the score nan; its numbers overflow"):
        reward.score("Be good.", "No.")
    with pytest.raises(ValueError, match="clip '.*' gives the score -?inf; its numbers overflow"):
        clip.scores([clip.picture(pictures[0])], ["a thing"])


def test_of_a_long_answer_the_end_counts():
    """Candidates differ in their ends: without them all would be as good."""
    reward = RewardScores.load(str(reward_folder()), "cpu")
    reward.context = 40
    assert reward.score("Be good. " * 9, "Sure") != reward.score("Be good. " * 9, "No")


def test_a_template_that_can_not_be_followed(tmp_path):
    shutil.copytree(reward_folder(), tmp_path / "reward")
    (tmp_path / "reward" / "chat_template.jinja").write_text("{{ raise_exception('needs a system turn') }}")
    with pytest.raises(ValueError, match="reward_model '.*' can't be used: needs a system turn"):
        RewardScores.load(str(tmp_path / "reward"), "cpu")


def test_checkpoints_that_read_different_texts_alike(tmp_path):
    """All answers would be as good, and all pictures as unsafe."""
    shutil.copytree(clip_folder(), tmp_path / "clip")
    for name in ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "clip" / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="^clip '.*' can't be used: ") as said:
        ClipScores.load(str(tmp_path / "clip"), "cpu")  # under transformers 5 there is a tokenizer, of no words
    assert "\n" not in str(said.value)
    shutil.copytree(reward_folder(), tmp_path / "reward")
    (tmp_path / "reward" / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    with pytest.raises(
        ValueError, match="^reward_model '.*' can't be used: it reads different texts as .*template leaves"
    ):
        RewardScores.load(str(tmp_path / "reward"), "cpu")


def test_pictures_of_another_size_than_the_clip_model_s_are_refused_where_it_is_loaded(tmp_path):
    shutil.copytree(clip_folder(), tmp_path / "clip")
    larger = {"shortest_edge": 42}, {"height": 42, "width": 42}
    CLIPImageProcessor(size=larger[0], crop_size=larger[1]).save_pretrained(tmp_path / "clip")
    (tmp_path / "clip" / "processor_config.json").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="^clip '.*' can't be used: .*42") as said:
        ClipScores.load(str(tmp_path / "clip"), "cpu")
    assert "\n" not in str(said.value)
