"""Guards, compositions and guarded subjects as those who hold them see them: nobody has to ask which it is."""

import json

import pytest
import torch

import vlmguard_plugin as vg
from vlmguard_plugin.calibration.calibrate import calibrate
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
    for fact in ("num_layers", "hidden_size", "fingerprint", "prompt_form", "batch_size", "generated_tokens"):
        assert getattr(guarded, fact) == getattr(subject, fact)
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


@pytest.mark.parametrize("name", [*vg.list_guards(), "vlm_guard+self_reminder", "ecso+self_reminder"])
def test_an_unfitted_guard_has_a_fingerprint_or_says_that_it_is_not_fitted(name):
    guard = vg.build_guard(name)
    json.dumps(guard.saved_settings())
    if guard.needs_fit:
        for use in (lambda: guard.fingerprint, lambda: guard.save("nowhere")):
            with pytest.raises(vg.GuardNotFitted, match=f"guard '{name.replace('+', '.')}' is not fitted"):
                use()
    else:
        assert guard.fingerprint == vg.build_guard(name).fingerprint and guard.fingerprint.startswith(f"{name}-")


def test_a_composition_of_fitted_parts_needs_no_fit_of_its_own(fitted):
    together = vg.build_guard("vlm_guard+self_reminder")
    parts = (fitted, together.guards[1])
    assert type(together)(parts).fingerprint.startswith("vlm_guard+self_reminder-")


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
    (tmp_path / "guard.json").write_text(json.dumps(facts))
    assert vg.load_guard(tmp_path, subject).fingerprint == guard.fingerprint
    today = vg.build_guard("cmrm", image="blank")
    assert today.settings.image == "white" and today.unfitted_settings() == vg.build_guard("cmrm").unfitted_settings()
