"""Guards, compositions and guarded subjects as those who hold them see them: nobody has to ask which it is."""

import json

import pytest
import torch
from helpers.guard_folders import rewrite
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.calibration.calibrate import calibrate
from vlmguard_plugin.guards.core.cached import load_or_fit
from vlmguard_plugin.guards.core.composed import ComposedGuard
from vlmguard_plugin.guards.core.guarded_subject import GuardedScorer, GuardedSubject

TOGETHER = {"vlm_guard": {"alpha": 3.0, "layers": [1]}, "self_reminder": {}}


@pytest.fixture(scope="module")
def fitted(subject, anchors):
    return vg.build_guard("vlm_guard", alpha=3.0, layers=[1]).fit(subject, anchors)


@pytest.fixture
def asked(pictures):
    return [vg.Query("What is this?", (pictures[0],)), vg.Query("Just a text"), vg.Query("And that?", (pictures[2],))]


def test_a_guarded_subject_is_a_subject(subject, fitted, asked):
    guarded = GuardedSubject(subject, (fitted,))
    for fact in ("num_layers", "hidden_size", "fingerprint", "batch_size", "generated_tokens"):
        assert getattr(guarded, fact) == getattr(subject, fact)
    assert guarded.prompt_form.startswith(subject.prompt_form) and guarded.prompt_form != subject.prompt_form
    with fitted.on(subject):
        expected = subject.record(asked)
    assert torch.equal(guarded.record(asked), expected) and not torch.equal(expected, subject.record(asked))
    assert guarded.generate(asked, max_new_tokens=4) == fitted.respond(subject, asked, max_new_tokens=4)


def test_edits_beside_a_guarded_subjects_own_act_after_them(subject, fitted, asked, anchors):
    other = vg.build_guard("refusal_direction", alpha=4.0, layers=[2]).fit(subject, anchors)
    guarded = GuardedSubject(subject, (fitted,))
    both = subject.record(asked, [fitted.edits(subject, asked), other.edits(subject, asked)])
    assert torch.equal(guarded.record(asked, other.edits(subject, asked)), both)
    with guarded.editing(other.edits(subject, None)):
        assert torch.equal(subject.record(asked), both)
    assert not torch.equal(both, guarded.record(asked))


def test_a_guarded_scorer_scores_as_the_guard_does(subject, fitted, asked):
    answers = ["yes", "no", "it is"]
    guarded = GuardedScorer(subject, (fitted,)).log_likelihoods(asked, answers)
    assert guarded == fitted.log_likelihoods(subject, asked, answers) != subject.log_likelihoods(asked, answers)


def test_a_composition_is_a_guard_like_others(subject, anchors):
    together = vg.build_guard("vlm_guard+self_reminder", **TOGETHER).fit(subject, anchors)
    alone = vg.build_guard("vlm_guard", **TOGETHER["vlm_guard"])
    assert together.fit_identity == {"vlm_guard": alone.fit_identity} == {"vlm_guard": {"rank": 1, "gate": "zero"}}
    stronger = together.with_settings(vlm_guard={"alpha": 5.0})
    assert stronger.settings["vlm_guard"].alpha == 5.0 and stronger.fingerprint != together.fingerprint
    assert stronger.with_settings(vlm_guard={"alpha": 3.0}).fingerprint == together.fingerprint
    fresh = together.under(vlm_guard={"alpha": 1.0})
    assert not fresh.is_fitted and fresh.settings["vlm_guard"].layers == (1,) and type(fresh) is type(together)
    with pytest.raises(ValueError, match="can't be calibrated as one"):
        calibrate(together, subject, anchors, grid=[{"alpha": [1.0]}])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"alpha": 99}, "takes settings by guard"),
        ({"bogus": {"alpha": 1}}, "takes settings by guard"),
        ({"vlm_guard": 5}, "vlm_guard=5 is not that"),
        ({"vlm_guard": {"strength": 1}}, "no setting 'strength'"),
    ],
)
def test_a_composition_refuses_settings_that_are_none_of_its_guards(subject, anchors, changes, message):
    together = vg.build_guard("vlm_guard+self_reminder", **TOGETHER).fit(subject, anchors)
    for use in (together.with_settings, together.under):
        with pytest.raises(ValueError, match=message):
            use(**changes)
    with pytest.raises(TypeError):
        together.settings["vlm_guard"] = None


@pytest.mark.parametrize("name, silent", [("vlm_guard+self_reminder", "self_reminder"), ("vlm_guard+ecso", "ecso")])
def test_on_refuses_a_composition_half_of_which_would_not_act(subject, anchors, name, silent):
    together = vg.build_guard(name, vlm_guard=TOGETHER["vlm_guard"]).fit(subject, anchors)
    with pytest.raises(ValueError, match=f"guard '{silent}' acts on the prompt or the answer"), together.on(subject):
        pass


def test_a_guard_that_looks_at_answers_is_not_put_under_another(subject):
    with pytest.raises(ValueError, match="ecso: looks at answers"):
        GuardedSubject(subject, (vg.build_guard("ecso"),))


def test_a_fit_on_a_guarded_subject_is_not_kept_as_one_of_the_model(subject, fitted, anchors, tmp_path):
    on_guarded = load_or_fit(vg.build_guard("cmrm"), GuardedSubject(subject, (fitted,)), anchors, tmp_path)
    alone = load_or_fit(vg.build_guard("cmrm"), subject, anchors, tmp_path)
    assert alone.fingerprint == vg.build_guard("cmrm").fit(subject, anchors).fingerprint != on_guarded.fingerprint


def test_compositions_are_flat_and_not_empty(fitted):
    inner = vg.build_guard("tbop+self_reminder")
    assert ComposedGuard([fitted, inner]).name == "vlm_guard+tbop+self_reminder"
    with pytest.raises(ValueError, match="composition of no guards"):
        ComposedGuard([])


@pytest.mark.parametrize(
    "damage",
    [
        {"guard": 3},
        {"settings": [1]},
        {"settings": {"cmrm": None, "tbop": {}}},
        {"settings": {"cmrm": {}}},
        {"parts": {}},
        {"tensors": []},
    ],
)
def test_a_damaged_composition_says_so(subject, anchors, tmp_path, damage):
    vg.build_guard("cmrm+tbop").fit(subject, anchors).save(tmp_path)
    rewrite(tmp_path, **damage)
    with pytest.raises(vg.DamagedGuard) as caught:
        vg.load_guard(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_guard_without_its_layers_is_damaged(fitted, tmp_path):
    fitted.save(tmp_path)
    rewrite(tmp_path, edited_layers=None)
    with pytest.raises(vg.DamagedGuard, match="edited_layers is missing"):
        vg.load_guard(tmp_path)


@pytest.mark.parametrize("name", [*vg.list_guards(), "vlm_guard+self_reminder", "ecso+self_reminder"])
def test_an_unfitted_guard_has_a_fingerprint_or_says_that_it_is_not_fitted(name, subject):
    guard = vg.build_guard(name)
    json.dumps(guard.saved_settings())
    if guard.needs_fit:
        for use in (lambda: guard.fingerprint, lambda: guard.save("nowhere")):
            with pytest.raises(vg.GuardNotFitted, match=f"guard '{name.replace('+', '.')}' is not fitted"):
                use()
        if name == "visual_prompt":  # which edits no hidden states
            with pytest.raises(vg.GuardNotFitted, match="is not fitted, so there is no 'border'"):
                guard.rewrite(vg.Query("Hi", (Image.new("RGB", (8, 8)),)))
        elif name != "cmrm_sample":  # which has no numbers
            with pytest.raises(vg.GuardNotFitted, match="is not fitted, so there is no '"):
                guard.edits(subject, [vg.Query("Hi")])
    else:
        assert guard.fingerprint == vg.build_guard(name).fingerprint and guard.fingerprint.startswith(f"{name}-")


def test_a_composition_of_fitted_parts_needs_no_fit_of_its_own(fitted):
    together = vg.build_guard("vlm_guard+self_reminder")
    parts = (fitted, together.guards[1])
    assert ComposedGuard(parts).fingerprint.startswith("vlm_guard+self_reminder-")


@pytest.mark.parametrize("name, settings", [("cmrm", {}), ("tbop", {}), ("nullsteer", {}), ("cmrm+tbop", {})])
def test_a_guard_saved_by_an_older_version_keeps_its_blank_image(name, settings, subject, anchors, tmp_path):
    """That was the mean colour; none that is saved today holds the name."""
    parts = dict.fromkeys(name.split("+"), {"image": "mean"})
    guard = vg.build_guard(name, **(parts if "+" in name else {"image": "mean"})).fit(subject, anchors)
    guard.save(tmp_path)
    facts = json.loads((tmp_path / "guard.json").read_text())
    for own in facts["settings"].values() if "+" in name else [facts["settings"]]:
        assert own["image"] == "mean"
        own["image"] = "blank"
    del facts["sha256"]
    (tmp_path / "guard.json").write_text(json.dumps({**facts, "format": 1}))
    assert vg.load_guard(tmp_path, subject).fingerprint == guard.fingerprint
    today = vg.build_guard("cmrm", image="blank")
    assert today.settings.image == "white" and today.unfitted_settings() == vg.build_guard("cmrm").unfitted_settings()
