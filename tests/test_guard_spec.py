"""What names a guarded model: built once from arguments and environment, and checked before a model is loaded."""

import dataclasses

import pytest
from helpers.tiny_models import tiny_llava, tiny_processor

import vlmguard_plugin as vg
from vlmguard_plugin.hosts.guard_spec import ARGUMENTS, GuardSpec, agreed_guard


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch):
    for name in ("GUARD_DIR", "ANCHORS", "MAX_NEW_TOKENS", "DEVICE", "DTYPE", "BATCH_SIZE", "ENGINE"):
        monkeypatch.delenv(f"VLMGUARD_{name}", raising=False)


@pytest.fixture
def saved(subject, anchors, tmp_path):
    """The folder of a fitted vlm_guard of rank 2."""
    folder = tmp_path / "saved"
    vg.build_guard("vlm_guard", rank=2, layers=[1]).fit(subject, anchors).save(folder)
    return str(folder)


def test_what_is_not_given_comes_from_the_environment(monkeypatch):
    for name, value in (("MAX_NEW_TOKENS", "7"), ("DEVICE", "cpu"), ("DTYPE", "bfloat16"), ("BATCH_SIZE", "3")):
        monkeypatch.setenv(f"VLMGUARD_{name}", value)
    spec = GuardSpec("llava")
    assert (spec.answer_tokens, spec.device, spec.dtype, spec.batch_size) == (7, "cpu", "bfloat16", 3)
    given = GuardSpec("llava", max_new_tokens=5, dtype="float32", batch_size=2, device="cuda:1")
    assert (given.answer_tokens, given.device, given.dtype, given.batch_size) == (5, "cuda:1", "float32", 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.model = "other"


def test_an_engine_and_its_options_come_from_arguments_or_the_environment(monkeypatch):
    spec = GuardSpec.of("llava", "cmrm", alpha=0.5, engine="vllm", tensor_parallel_size="4", enforce_eager="False")
    assert (spec.engine, spec.settings) == ("vllm", {"alpha": 0.5})
    assert spec.engine_options == {"tensor_parallel_size": 4, "enforce_eager": False}
    assert GuardSpec("llava").engine == "transformers"
    monkeypatch.setenv("VLMGUARD_ENGINE", "vllm")
    assert GuardSpec("llava").engine == "vllm"
    assert GuardSpec("llava", engine="transformers").engine == "transformers"


def test_without_either_the_models_own_hold():
    assert (GuardSpec("llava").answer_tokens, GuardSpec("demo_vlm").answer_tokens) == (512, 48)
    assert GuardSpec("demo_vlm", "nullsteer", {"alpha": 2.0}).unfitted_guard().settings.alpha == 2.0
    assert GuardSpec("demo_vlm", "nullsteer").unfitted_guard().settings.layers == (15,)


def test_a_hosts_arguments_are_a_specs_own_or_the_guards_settings():
    spec = GuardSpec.of("llava", "cmrm", alpha=0.5, batch_size="4", dtype="float16")
    assert (spec.settings, spec.batch_size, spec.dtype) == ({"alpha": 0.5}, 4, "float16")
    assert set(ARGUMENTS) == {"guard_dir", "anchors", "max_new_tokens", "device", "dtype", "batch_size", "engine"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"guard": "cmmr"}, "there is no guard 'cmmr'; there are adashield"),
        ({"guard": "cmrm", "strength": 1}, "guard 'cmrm' has no setting 'strength'"),
        ({"guard": "cmrm", "alpha": "much"}, "alpha is 'much'"),
        ({"alpha": 1}, "alpha: belongs to a guard, but none is named; add guard=NAME"),
        ({"anchors": "a.csv"}, "anchors: belongs to a guard"),
        ({"load_in_4bit": True}, "load_in_4bit: a checkpoint is loaded as it is stored"),
        ({"guard": "cmrm", "load_in_8bit": True}, "load_in_8bit: a checkpoint is loaded as it is stored"),
        ({"alhpa": 1, "alpha": 1}, "alhpa: neither an argument here .guard_dir, .*nor a setting of any guard"),
        ({"guard": "cmrm", "anchors": "/none.csv"}, "/none.csv"),
        ({"engine": "vlm"}, "engine is 'vlm'; choose one of transformers, vllm"),
        ({"tensor_parallel_size": 2}, "tensor_parallel_size: belongs to engine=vllm"),
        ({"engine": "vllm", "tensor_parallel_size": "0"}, "tensor_parallel_size is '0'; give a whole number above 0"),
        ({"engine": "vllm", "enforce_eager": "maybe"}, "enforce_eager is 'maybe'; give true or false"),
        ({"engine": "vllm", "device": "cuda:3"}, "device is 'cuda:3', but vLLM takes the devices that it sees"),
        ({"guard": "cmrm", "guard_dir": "/none"}, "/none"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; give a whole number"),
        ({"batch_size": True}, "batch_size is True; give a whole number"),
        ({"dtype": "int8"}, "dtype is 'int8'; choose one of float32"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(arguments, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        GuardSpec.of("/no/such/model", **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["many", "0", "-1"])
def test_a_wrong_number_in_the_environment_names_the_variable(monkeypatch, value):
    monkeypatch.setenv("VLMGUARD_MAX_NEW_TOKENS", value)
    with pytest.raises(ValueError, match=rf"\$VLMGUARD_MAX_NEW_TOKENS is '{value}'; give a whole number"):
        GuardSpec("llava")


def test_a_folder_counts_where_it_holds_the_guard(saved, subject, monkeypatch):
    again = GuardSpec("any", "vlm_guard", {"alpha": 3.0}, guard_dir=saved).fitted_guard(subject)
    assert (again.settings.alpha, again.settings.rank) == (3.0, 2)
    with pytest.raises(ValueError, match="holds the guard 'vlm_guard', but 'cmrm' was asked for"):
        GuardSpec("any", "cmrm", guard_dir=saved)
    with pytest.raises(ValueError, match="guard_dir: belongs to a guard, but none is named; add guard=vlm_guard"):
        GuardSpec("any", guard_dir=saved)
    with pytest.raises(ValueError, match="a fitted guard's folder goes into guard_dir, beside its name"):
        GuardSpec("any", saved)
    monkeypatch.setenv("VLMGUARD_GUARD_DIR", saved)
    assert GuardSpec("any", "vlm_guard").guard_dir == saved
    assert GuardSpec("any", "cmrm").guard_dir is None and GuardSpec("any").guard_dir is None


def test_a_folders_guard_is_refused_on_another_model(saved):
    other = vg.HuggingFaceSubject(tiny_llava(seed=5), tiny_processor())
    with pytest.raises(vg.WrongModel, match="model fingerprint"):
        GuardSpec("any", "vlm_guard", guard_dir=saved).fitted_guard(other)


def test_the_guard_of_a_models_name_goes_before_none_and_against_another():
    assert agreed_guard("cmrm", None, "llava_cmrm") == agreed_guard("cmrm", "cmrm", "llava_cmrm") == "cmrm"
    assert agreed_guard(None, "tbop", "vlmguard") == "tbop" and agreed_guard(None, None, "llava") is None
    with pytest.raises(ValueError, match="guard is 'tbop', but llava_cmrm has the guard 'cmrm'"):
        agreed_guard("cmrm", "tbop", "llava_cmrm")
