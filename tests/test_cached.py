"""The cache of fits: one fit for all settings that it does not depend on, exactly as a fit under those settings."""

import pytest
import torch

import vlmguard_plugin as vg
from vlmguard_plugin.guards.core.cached import load_or_fit

FITTED = [name for name in vg.list_guards() if vg.build_guard(name).needs_fit]
COMPOSED = "cmrm+refusal_direction+self_reminder"


def other_settings(guard):
    """Settings beside the guard's own that leave its fit as it is."""
    return {"alpha": 0.3, "layers": [1, 3]} if hasattr(guard.settings, "alpha") else {}


def fits(monkeypatch, guard):
    """A list that grows with each fit of this guard's class."""
    done, real = [], type(guard).fit

    def fit(self, *arguments, **named):
        done.append(self.unfitted_settings())
        return real(self, *arguments, **named)

    monkeypatch.setattr(type(guard), "fit", fit)
    return done


def assert_same(loaded, direct, subject, pictures):
    assert loaded.fingerprint == direct.fingerprint and loaded.settings == direct.settings
    assert {key: value for key, value in loaded.facts.items() if key != "versions"} == direct.facts  # those of the file
    assert loaded.tensors.keys() == direct.tensors.keys()
    for name, tensor in direct.tensors.items():
        assert torch.equal(loaded.tensors[name], tensor)
        assert loaded.tensors[name].stride() == tensor.stride(), (
            "sums depend on it in the last bit, and greedy answers on that"
        )
    asked = [vg.Query("How to mend a bike?", (pictures[0],)), vg.Query("How to mend a boat?")]
    assert loaded.respond(subject, asked, max_new_tokens=4) == direct.respond(subject, asked, max_new_tokens=4)


@pytest.mark.parametrize("name", FITTED)
def test_one_fit_serves_settings_that_do_not_enter_it(name, subject, anchors, pictures, tmp_path, monkeypatch):
    done = fits(monkeypatch, vg.build_guard(name))
    load_or_fit(vg.build_guard(name), subject, anchors, tmp_path)
    settings = other_settings(vg.build_guard(name))
    loaded = load_or_fit(vg.build_guard(name, **settings), subject, anchors, tmp_path)
    assert len(done) == 1
    assert_same(loaded, vg.build_guard(name, **settings).fit(subject, anchors), subject, pictures)


def test_a_composition_shares_its_fit_too(subject, anchors, pictures, tmp_path, monkeypatch):
    first, second = (
        {"cmrm": {"alpha": alpha}, "refusal_direction": {"layers": [layer]}} for alpha, layer in ((1.0, 0), (0.2, 2))
    )
    done = fits(monkeypatch, vg.build_guard("cmrm"))
    load_or_fit(vg.build_guard(COMPOSED, **first), subject, anchors, tmp_path)
    loaded = load_or_fit(vg.build_guard(COMPOSED, **second), subject, anchors, tmp_path)
    assert len(done) == 1
    assert_same(loaded, vg.build_guard(COMPOSED, **second).fit(subject, anchors), subject, pictures)
    load_or_fit(vg.build_guard(COMPOSED, cmrm={"estimator": "pca"}), subject, anchors, tmp_path)
    assert [settings["estimator"] for settings in done] == [
        "mean",
        "mean",
        "pca",
    ]  # the second is the direct fit above


@pytest.mark.parametrize(
    "name, settings",
    [("vlm_guard", {"rank": 2}), ("cmrm", {"image": "black"}), ("tbop", {"rank": 3}), ("nullsteer", {"rank": 4})],
)
def test_settings_that_enter_the_fit_are_fitted(name, settings, subject, anchors, pictures, tmp_path, monkeypatch):
    done = fits(monkeypatch, vg.build_guard(name))
    load_or_fit(vg.build_guard(name), subject, anchors, tmp_path)
    loaded = load_or_fit(vg.build_guard(name, **settings), subject, anchors, tmp_path)
    assert len(done) == 2
    assert_same(loaded, vg.build_guard(name, **settings).fit(subject, anchors), subject, pictures)


def test_a_setting_beyond_the_model_is_refused_though_the_fit_is_there(subject, anchors, tmp_path):
    load_or_fit(vg.build_guard("cmrm"), subject, anchors, tmp_path)
    with pytest.raises(ValueError, match="beyond the model's 4 decoder layers"):
        load_or_fit(vg.build_guard("cmrm", layers=[9]), subject, anchors, tmp_path)
