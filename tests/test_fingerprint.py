"""The identity of a model: of what computes, as it computes now."""

import copy

import accelerate
import pytest
import torch
from helpers.tiny_models import tiny_llava, tiny_processor
from transformers import LlavaConfig, LlavaForConditionalGeneration

import vlmguard_plugin as vg
from vlmguard_plugin.guards.core.cached import load_or_fit
from vlmguard_plugin.steering.fingerprint import is_readable, model_fingerprint, parts_of


@pytest.fixture
def model():
    return tiny_llava()


def layers_of(model):
    return model.model.language_model.layers


def swap_layers(model):
    layers = layers_of(model)
    layers[1], layers[2] = layers[2], layers[1]


def load_other_weights(model):
    model.load_state_dict(tiny_llava(seed=5).state_dict())


CHANGES = {
    "a norm": lambda model: model.model.language_model.norm.weight.data.mul_(1.5),
    "a bias of the vision tower": lambda model: next(
        parameter for name, parameter in model.named_parameters() if "vision" in name and parameter.dim() == 1
    ).data.add_(1.0),
    "layers swapped": swap_layers,
    "weights loaded later": load_other_weights,
    "a kept buffer": lambda model: model.register_buffer("scales", torch.ones(4)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_the_computation_changes_the_fingerprint(change, anchors):
    subject = vg.HuggingFaceSubject(tiny_llava(), tiny_processor())
    before = subject.fingerprint
    guard = vg.build_guard("cmrm").fit(subject, anchors)
    CHANGES[change](subject.model)
    assert subject.fingerprint != before
    with pytest.raises(vg.WrongModel, match="model fingerprint"):
        guard.respond(subject, [vg.Query("Hi")], max_new_tokens=1)


def test_what_does_not_leaves_it(model):
    before = model_fingerprint(model)
    model.register_buffer("cos", torch.ones(4), persistent=False)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert model_fingerprint(model) == before == model_fingerprint(copy.deepcopy(model).to(torch.bfloat16))


def adapted(model, *names):
    """The model with a LoRA adapter of each name, random throughout."""
    import peft

    for seed, name in enumerate(names):
        config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        torch.manual_seed(seed)
        if seed == 0:
            model = peft.get_peft_model(model, config, adapter_name=name)
        else:
            model.add_adapter(name, config)
    return model


def test_the_active_adapter_counts(model, anchors):
    """Fitted under one it is refused under another, and under none; a second one that is just loaded is nothing."""
    bare = model_fingerprint(model)
    alone = model_fingerprint(adapted(tiny_llava(), "a"))
    both = adapted(model, "a", "b")
    subject = vg.HuggingFaceSubject(both, tiny_processor())
    guard = vg.build_guard("vlm_guard").fit(subject, anchors)
    assert subject.fingerprint == alone != bare
    both.set_adapter("b")
    with pytest.raises(vg.WrongModel, match="model fingerprint"):
        guard.respond(subject, [vg.Query("Hi")], max_new_tokens=1)
    seen = {alone, subject.fingerprint}
    with both.disable_adapter():
        seen.add(subject.fingerprint)
    both.set_adapter("a")
    assert len(seen) == 3 and subject.fingerprint == alone
    for layer in both.modules():
        if isinstance(getattr(layer, "scaling", None), dict):
            layer.scaling["a"] *= 2
    assert subject.fingerprint not in seen


def test_quantised_weights_count(model):
    quantisation = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    other = tiny_llava(seed=1)
    for each in (model, other):
        quantisation.quantize_(layers_of(each), quantisation.Int8WeightOnlyConfig())
    seen = {model_fingerprint(each) for each in (tiny_llava(), tiny_llava(seed=1), model, other)}
    assert len(seen) == 4 and all(map(is_readable, seen))


def test_offloaded_weights_are_read_where_they_lie(model, tmp_path):
    from accelerate import cpu_offload, disk_offload

    whole = model_fingerprint(model)
    on_cpu = cpu_offload(copy.deepcopy(model), execution_device="cpu")
    on_disk = disk_offload(copy.deepcopy(model), str(tmp_path / "weights"), execution_device="cpu")
    assert any(parameter.device.type == "meta" for parameter in on_cpu.parameters())
    assert model_fingerprint(on_cpu) == whole == model_fingerprint(on_disk)
    other = disk_offload(tiny_llava(seed=1), str(tmp_path / "others"), execution_device="cpu")
    assert model_fingerprint(other) not in (whole, model_fingerprint(on_cpu))


def test_weights_that_can_not_be_read_are_said_and_nothing_is_kept(anchors, tmp_path, capsys):
    """An own tensor class that refuses to be looked into, as some quantised ones do."""

    class Closed(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            if function in (torch.Tensor.detach, torch.Tensor.reshape):
                raise NotImplementedError("no")
            return super().__torch_function__(function, types, args, kwargs or {})

    subject = vg.HuggingFaceSubject(tiny_llava(), tiny_processor())
    subject.model.register_buffer("codes", torch.ones(4).as_subclass(Closed))
    assert not is_readable(subject.fingerprint) and subject.fingerprint == subject.fingerprint
    guard = load_or_fit(vg.build_guard("cmrm"), subject, anchors, tmp_path)
    assert guard.respond(subject, [vg.Query("Hi")], max_new_tokens=1)
    assert "weights can't all be read" in capsys.readouterr().err and not list(tmp_path.rglob("guard.json"))
    other = vg.HuggingFaceSubject(tiny_llava(), tiny_processor())
    other.model.register_buffer("codes", torch.ones(4).as_subclass(Closed))
    with pytest.raises(vg.WrongModel):
        guard.check_fits(other)


@pytest.mark.parametrize("change", ["mean", "template", "vocabulary"])
def test_the_processor_counts(change, anchors, tmp_path):
    """A fit with other pictures or prompts is neither used nor taken from the cache."""
    subject = vg.HuggingFaceSubject(tiny_llava(), tiny_processor())
    load_or_fit(vg.build_guard("cmrm"), subject, anchors, tmp_path)
    guard = vg.build_guard("cmrm").fit(subject, anchors)
    guard.save(tmp_path / "guard")
    processor = tiny_processor()
    if change == "mean":
        processor.image_processor.image_mean = [0.1, 0.9, 0.4]
    elif change == "template":
        processor.chat_template = "Be brief. " + processor.chat_template
    else:
        processor.tokenizer.add_tokens(["steal"])
    other = vg.HuggingFaceSubject(tiny_llava(), processor)
    for use in (lambda: guard.check_fits(other), lambda: vg.load_guard(tmp_path / "guard", other)):
        with pytest.raises(vg.WrongModel, match="another chat template, tokenizer or image processor"):
            use()
    load_or_fit(vg.build_guard("cmrm"), other, anchors, tmp_path)
    assert len(list((tmp_path / "guards").rglob("guard.json"))) == 2
    assert vg.load_guard(tmp_path / "guard", vg.HuggingFaceSubject(tiny_llava(), tiny_processor())).is_fitted


def test_a_vocabulary_that_grows_in_use_counts_and_is_read_once(monkeypatch):
    subject = vg.HuggingFaceSubject(tiny_llava(), tiny_processor())
    tokenizer = subject.prompts.tokenizer
    read = []
    own = tokenizer.get_vocab
    monkeypatch.setattr(tokenizer, "get_vocab", lambda: read.append(1) or own())
    before = subject.prompt_form
    assert subject.prompt_form == before and len(read) == 1
    tokenizer.add_tokens(["steal"])
    assert subject.prompt_form != before and len(read) == 2


def rotary(**changes):
    """A tiny model with other rotary positions, its weights the same."""
    model = tiny_llava()
    text = copy.deepcopy(model.config.text_config)
    for name, value in changes.items():
        setattr(text, name, value)
    other = LlavaForConditionalGeneration(LlavaConfig(**{**model.config.to_dict(), "text_config": text.to_dict()}))
    other.load_state_dict(model.state_dict())
    return other


def test_how_positions_are_turned_counts():
    names = {"rope_parameters": {"rope_type": "default", "rope_theta": 77.0}, "rope_theta": 77.0}
    there = {name: value for name, value in names.items() if hasattr(tiny_llava().config.text_config, name)}
    assert model_fingerprint(rotary()) == model_fingerprint(tiny_llava()) != model_fingerprint(rotary(**there))


def test_weights_that_are_packed_away_are_not_read(model):
    packed = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {torch.nn.Linear}, dtype=torch.qint8)
    assert is_readable(model_fingerprint(model)) and not is_readable(model_fingerprint(packed))


def test_an_offloaded_model_answers_alike(model):
    subject = vg.HuggingFaceSubject(copy.deepcopy(model), tiny_processor())
    expected = subject.generate([vg.Query("Hello")], max_new_tokens=3)
    accelerate.cpu_offload(subject.model, execution_device="cpu")
    assert subject.model.device.type == "meta"
    assert subject.generate([vg.Query("Hello")], max_new_tokens=3) == expected


def test_of_what_is_loaded_or_copied_to_be_read_the_samples_alone_are_kept(model, tmp_path):
    """Off-loaded weights, and copies of those that lie scattered, would fill the memory together."""
    before, kept = model_fingerprint(model), max(parameter.numel() * 4 for parameter in model.parameters())
    assert max(map(bytes_kept, parts_of(model))) == kept, "a view of the model's own weights costs nothing"
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data = parameter.data.transpose(0, 1).contiguous().transpose(0, 1)
    few = max(parameter.numel() * 4 for parameter in model.parameters() if parameter.dim() == 1)
    assert max(map(bytes_kept, parts_of(model))) <= few < kept
    assert model_fingerprint(model) == before
    accelerate.disk_offload(model, tmp_path, torch.device("cpu"))
    assert max(map(bytes_kept, parts_of(model))) <= few and model_fingerprint(model) == before


def bytes_kept(part):
    return 0 if isinstance(part, bytes) else part.untyped_storage().nbytes()
