"""Guarded models of lm-evaluation-harness by name and argument, and what the results tell of a run."""

import json
from importlib.metadata import version

import pytest
from helpers.lm_eval_tasks import built, evaluated
from lm_eval.api.registry import get_model, model_registry

import vlmguard_plugin as vg
from vlmguard_plugin.hosts.lm_eval.model import GuardedLM
from vlmguard_plugin.runs.facts import RunFacts


@pytest.mark.parametrize(
    "name", ["vlmguard", "llava", "llava-vlmguard", "llava_vlmguard", "llava-cmrm", "llava-cmrm-sample"]
)
def test_names_are_registered(name):
    assert issubclass(get_model(name), GuardedLM)


def test_every_model_has_every_guard():
    for model in ("llava", "demo-vlm", "demo-vlm-control"):
        for guard in vg.list_guards():
            registered = get_model(f"{model}-{guard.replace('vlm_guard', 'vlmguard').replace('_', '-')}")
            assert (registered.model, registered.guard) == (model.replace("-", "_"), guard)
    assert "hf-multimodal" in model_registry


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        ("vlmguard", {"pretrained": None}, "add pretrained="),
        ("vlmguard", {"guard": "nope"}, "there is no guard 'nope'"),
        ("vlmguard", {"alpha": 1}, "add guard=NAME"),
        ("llava-vlmguard", {"alhpa": 1}, "no setting 'alhpa'"),
        ("llava-vlmguard", {"layers": 3}, "layers is 3"),
        ("llava-vlmguard", {"guard": "cmrm"}, "has the guard 'vlm_guard'"),
        ("llava-vlmguard", {"guard_dir": "/no/such/guard"}, "/no/such/guard"),
        ("vlmguard", {"batch_size": "auto"}, "batch_size is 'auto'"),
        ("vlmguard", {"max_gen_toks": "long"}, "max_gen_toks is 'long'"),
        ("vlmguard", {"dtype": "float7"}, "dtype is 'float7'"),
        ("vlmguard", {}, "there is no checkpoint folder /no/such/model"),
    ],
)
def test_wrong_arguments_are_refused_before_the_model_is_loaded(name, arguments, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        get_model(name).create_from_arg_obj({"pretrained": "/no/such/model", **arguments}, {"batch_size": 1})


def test_a_guard_dir_must_be_the_guards(place, guarded):
    guarded.guarded.guard.save(place / "saved")
    with pytest.raises(ValueError, match="holds the guard 'vlm_guard'"):
        GuardedLM(pretrained="/no/such/model", guard="cmrm", guard_dir=str(place / "saved"))
    with pytest.raises(ValueError, match="add guard=vlm_guard"):
        GuardedLM(pretrained="/no/such/model", guard_dir=str(place / "saved"))
    again = built(place, guard="vlm_guard", guard_dir=str(place / "saved"))
    assert again.guarded.guard.fingerprint == guarded.guarded.guard.fingerprint


def test_the_results_tell_what_was_run(manager, guarded):
    results = evaluated(guarded, manager, ["t_text", "t_choice"], apply_chat_template=True)
    told = guarded.get_model_info()["vlmguard"]
    facts = RunFacts.from_dict(told)
    assert (facts.host, facts.host_version, facts.model) == ("lm_eval", version("lm_eval"), "llava-vlmguard")
    assert (facts.guard, facts.settings["alpha"], facts.guard_fingerprint) == (
        "vlm_guard",
        0.5,
        guarded.guarded.guard.fingerprint,
    )
    assert facts.generation == {"max_new_tokens": 8, "do_sample": False, "stop": []}
    assert (told["tasks"]["t_text"]["answers"], told["tasks"]["t_choice"]["answers"]) == (5, 15)
    assert told["tasks"]["t_text"]["generation"] == {"max_new_tokens": 8, "do_sample": False, "stop": []}
    assert told["tasks"]["t_text"]["tokens"] == 8 * 5
    fired, decided = told["tasks"]["t_text"]["gates"]["unmarked"]
    assert 0 <= fired <= decided == 5 and told["tasks"]["t_choice"]["gates"] is None, "likelihoods are not counted"
    json.dumps(told)
    assert results["samples"]["t_text"]
