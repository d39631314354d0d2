"""Guarded models of lmms-eval by name and argument."""

import os
import subprocess
import sys
from importlib import invalidate_caches

import pytest


def test_names(place):
    from lmms_eval import models

    from vlmguard_plugin.hosts.lmms_eval.registration import manifests, register_models

    listed = models.list_available_models()
    assert {
        "vlmguard",
        "llava_vlmguard",
        "llava_cmrm",
        "llava_cmrm_sample",
        "demo_vlm",
        "demo_vlm_control_cmrm",
    } <= set(listed)
    assert "llava_refusal_direction" not in listed
    for name, guard in (
        ("llava", None), ("llava_refusal_direction", "refusal_direction"), ("demo_vlm_control_ecso", "ecso"),
        ("demo_vlm_vlmguard+self_reminder", "vlm_guard+self_reminder"),
    ):  # fmt: skip
        assert models.get_model(name).of_guard == guard
    assert models.get_model("llava", force_simple=True).__module__ == "lmms_eval.models.simple.llava", (
        "the host's own is still there"
    )
    with pytest.raises(ValueError, match="'nonesuch_cmrm' not found"):
        models.get_model("nonesuch_cmrm")
    register_models(models)
    assert models.get_model("llava_tbop").of_guard == "tbop"
    assert {manifest.model_id for manifest in manifests()} <= set(models.list_available_models())


def test_the_hosts_own_llava_is_left_alone_where_it_can_run(tmp_path, monkeypatch):
    from vlmguard_plugin.hosts.lmms_eval.registration import manifests

    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "llava").mkdir()
    assert "llava" in {manifest.model_id for manifest in manifests()}, "a folder is no package"
    (tmp_path / "llava" / "__init__.py").touch()
    invalidate_caches()
    assert {"llava", "llava_vlmguard"} & {manifest.model_id for manifest in manifests()} == {"llava_vlmguard"}


@pytest.mark.host
@pytest.mark.parametrize("switch, there", [("", "True"), ("1", "False")])
def test_registration_is_light_and_can_be_switched_off(switch, there):
    code = """
import sys, lmms_eval.models
heavy = {"torch", "transformers", "vlmeval", "lm_eval"}
print("llava_vlmguard" in lmms_eval.models.list_available_models(), heavy & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "VLMGUARD_DISABLE": switch}, capture_output=True, text=True
    )
    assert done.stdout.strip() == f"{there} set()", done.stdout + done.stderr


@pytest.mark.parametrize(
    "name, arguments, named",
    [
        ("vlmguard", "device=cpu", "pretrained is missing; give a folder, a hub name, or one of llava, demo_vlm"),
        ("vlmguard", "pretrained=llava,guard=vlmgard", "there is no guard 'vlmgard'; there are adashield"),
        ("vlmguard", "pretrained=llava,alpha=2", "alpha: belongs to a guard, but none is named; add guard=NAME"),
        ("vlmguard", "pretrained=llava,guard_dir=/nowhere", "guard_dir: belongs to a guard"),
        ("vlmguard", "pretrained=/nowhere,device=cpu", "there is no checkpoint folder /nowhere"),
        (
            "llava_vlmguard",
            "pretraind=llava",
            "has no setting 'pretraind'; it has .*--model_args are pretrained, guard, ",
        ),
        ("llava_vlmguard", "alpha=much", "alpha is 'much'"),
        ("llava_vlmguard", "layers=[1;2]", r"layers is '\[1;2\]', which is no JSON"),
        ("llava_vlmguard", "guard=cmrm", "guard is 'cmrm', but llava_vlmguard has the guard 'vlm_guard'"),
        ("llava_vlmguard", "guard_dir=/nowhere", "/nowhere"),
        ("llava_vlmguard", "anchors=/nowhere.csv", "/nowhere.csv"),
        ("llava_vlmguard", "max_new_tokens=many", "max_new_tokens is 'many'; give a whole number"),
        ("llava_vlmguard", "batch_size=auto", "batch_size is 'auto'; give a whole number"),
        ("llava_vlmguard", "max_batch_size=8", "max_batch_size is 8"),
    ],
)
def test_wrong_model_args_are_named_before_the_model_is_loaded(place, monkeypatch, name, arguments, named):
    from lmms_eval import models

    if "/nowhere,device" not in arguments:
        monkeypatch.setattr(
            "vlmguard_plugin.subjects.loading.load_subject", lambda *_, **__: pytest.fail("the model was loaded")
        )
    with pytest.raises((ValueError, OSError), match=named):
        models.get_model(name).create_from_arg_string(arguments)
