"""The cache of fits: one fit for all settings that it does not depend on, exactly as a fit under those settings."""

import errno
import shutil

import pytest
import torch
from helpers.guard_folders import rewrite
from helpers.guard_rows import QUICK_FITS
from helpers.tiny_models import tiny_llava

import vlmguard_plugin as vg
from vlmguard_plugin.anchors import BadAnchors
from vlmguard_plugin.guards.core.cached import load_or_fit

FITTED = [name for name in vg.list_guards() if vg.build_guard(name).needs_fit]
COMPOSED = "cmrm+refusal_direction+self_reminder"


def other_settings(guard):
    """Settings beside the guard's own that leave its fit as it is."""
    others = {"alpha": 0.3, "layers": [1, 3]} if hasattr(guard.settings, "alpha") else {}
    return {name: value for name, value in others.items() if name not in guard.settings_of_fit}


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
    done, quick = fits(monkeypatch, vg.build_guard(name)), QUICK_FITS.get(name, {})
    load_or_fit(vg.build_guard(name, **quick), subject, anchors, tmp_path)
    settings = {**quick, **other_settings(vg.build_guard(name))}
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


@pytest.fixture
def kept(subject, anchors, tmp_path):
    """The folder of a fit in the cache tmp_path."""
    load_or_fit(vg.build_guard("cmrm"), subject, anchors, tmp_path)
    (folder,) = (path for path in (tmp_path / "guards").iterdir() if path.is_dir())
    return folder


def another_guards(folder, subject, anchors):
    shutil.rmtree(folder)
    vg.build_guard("shiftdc").fit(subject, anchors).save(folder)


def another_models(folder, subject, anchors):
    other = vg.HuggingFaceSubject(tiny_llava(seed=3), subject.processor)
    shutil.rmtree(folder)
    vg.build_guard("cmrm").fit(other, anchors).save(folder)


def a_file(folder, subject, anchors):
    shutil.rmtree(folder)
    folder.write_text("in the way")


def a_folder_for_a_file(folder, subject, anchors):
    (folder / "guard.safetensors").unlink()
    (folder / "guard.safetensors").mkdir()


DAMAGE = {
    "empty": lambda folder, *_: (folder / "guard.json").write_text(""),
    "no tensors": lambda folder, *_: (folder / "guard.safetensors").unlink(),
    "deep": lambda folder, *_: (folder / "guard.json").write_text("[" * 100_000),
    "an unknown guard": lambda folder, *_: rewrite(folder, guard="nonesuch"),
    "other settings": lambda folder, *_: rewrite(folder, settings={"image": "black"}),
    "another guard's": another_guards,
    "another model's": another_models,
    "a file": a_file,
    "a folder for a file": a_folder_for_a_file,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_cache_heals_by_fitting_again(damage, kept, subject, anchors, tmp_path, monkeypatch, capsys):
    direct = vg.build_guard("cmrm").fit(subject, anchors).fingerprint
    DAMAGE[damage](kept, subject, anchors)
    done = fits(monkeypatch, vg.build_guard("cmrm"))
    assert load_or_fit(vg.build_guard("cmrm"), subject, anchors, tmp_path).fingerprint == direct
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vlmguard:")]
    assert len(done) == 1 and len(lines) == 1 and str(kept) in lines[0] and lines[0].endswith("fitting again")
    assert load_or_fit(vg.build_guard("cmrm"), subject, anchors, tmp_path).fingerprint == direct and len(done) == 1
    assert not [path for path in kept.parent.iterdir() if path.name not in (kept.name, f"{kept.name}.lock")]


def test_what_a_killed_process_left_is_cleared_away(kept, subject, anchors, tmp_path):
    shutil.rmtree(kept)
    left = kept.with_name(f".{kept.name}.part")
    left.mkdir()
    (left / "guard.json").write_text("half")
    assert load_or_fit(vg.build_guard("cmrm"), subject, anchors, tmp_path).is_fitted
    assert kept.is_dir() and not left.exists()


def test_a_cache_that_takes_no_lock_is_read(kept, subject, anchors, tmp_path, monkeypatch):
    """A file system without locks, or one that can't be written."""
    lock = kept.with_name(f"{kept.name}.lock")
    lock.unlink(missing_ok=True)
    lock.mkdir()
    done = fits(monkeypatch, vg.build_guard("cmrm"))
    assert load_or_fit(vg.build_guard("cmrm"), subject, anchors, tmp_path).is_fitted and not done


@pytest.mark.parametrize("in_the_way", ["cache", "cache/guards"])
def test_a_fit_that_can_not_be_kept_is_used_all_the_same(in_the_way, subject, anchors, tmp_path, capsys):
    (tmp_path / in_the_way).parent.mkdir(exist_ok=True)
    (tmp_path / in_the_way).write_text("a file")
    guard = load_or_fit(vg.build_guard("cmrm"), subject, anchors, tmp_path / "cache")
    assert guard.fingerprint == vg.build_guard("cmrm").fit(subject, anchors).fingerprint
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vlmguard:")]
    assert len(lines) == 1 and "the fit of cmrm can't be kept" in lines[0] and "$VLMGUARD_CACHE" in lines[0]


def test_a_full_disk_costs_one_line(subject, anchors, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("vlmguard_plugin.guards.core.saved.write_together", full)
    assert load_or_fit(vg.build_guard("cmrm"), subject, anchors, tmp_path).is_fitted
    assert "can't be kept ([Errno 28] No space left on device)" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "guards").iterdir() if path.suffix != ".lock"]


def test_anchors_that_do_not_differ_are_refused(subject, tmp_path):
    (tmp_path / "same.csv").write_text("harmful,harmless\nHow?,How?\nWhy?,When?\n")
    with pytest.raises(BadAnchors, match="same.csv, row 2: the harmful and the harmless request of a pair are both"):
        vg.load_anchors(tmp_path / "same.csv")


@pytest.mark.parametrize("name", FITTED)
def test_a_model_whose_states_are_not_finite_can_not_be_fitted_on(name, anchors, processor):
    broken = tiny_llava()
    for parameter in broken.model.language_model.layers[2].mlp.parameters():
        parameter.data.fill_(float("inf"))
    subject = vg.HuggingFaceSubject(broken, processor)
    guard = vg.build_guard(name)
    if name == "cmrm_sample":
        guard = vg.build_guard(name, level="dataset")
    with pytest.raises(ValueError, match=r"after decoder layers \[2, 3\] are not finite"):
        guard.fit(subject, anchors)
    assert not guard.is_fitted
