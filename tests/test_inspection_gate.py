"""Gates and probes as inspection measures them: against scikit-learn, and against what the guards really do."""

import numpy as np
import pytest
import torch
from helpers.guard_folders import rewrite
from helpers.readable import check_readable, printed
from helpers.tiny_models import tiny_llava, tiny_processor
from sklearn.metrics import roc_auc_score

import vlmguard_plugin as vg
from vlmguard_plugin.anchors import AnchorPair, Anchors
from vlmguard_plugin.guards.core.conditions import record_conditions
from vlmguard_plugin.guards.core.discriminant import fit_gate, threshold_for
from vlmguard_plugin.guards.core.guarded_subject import GuardedSubject
from vlmguard_plugin.guards.core.saved import DamagedGuard
from vlmguard_plugin.inspection import describe_guard, measure_gate, plot_gate, print_gate, print_guard
from vlmguard_plugin.inspection.gate import seen_by
from vlmguard_plugin.statistics.rates import wilson

THINGS = "a cup,oars,it,the old gate,milk,a train,two hats,nine nails".split(",")
ANCHORS = Anchors(tuple(AnchorPair(f"How to steal {thing}?", f"How to paint {thing}?") for thing in THINGS))
OTHERS = Anchors(tuple(AnchorPair(f"How to break {thing}?", f"How to mend {thing}?") for thing in THINGS))
CONDITIONS = ("text", "shape")
GATED = {
    "vlm_guard": {"layers": [1, 2], "gate": "midpoint"},
    "refusal_direction": {"layers": [2], "condition": True, "condition_layer": 1},
    "inferaligner": {"layers": [1, 2]},
    "mars": {"layers": [2], "threshold": 0.2},
    "jrs_rem": {"layers": [2], "threshold": 0.0},
    "conditional_refusal": {"layers": [2], "conditions": CONDITIONS, "over_refusal": 0.4, "bounded": False},
}


@pytest.fixture(scope="module")
def subject():
    return vg.HuggingFaceSubject(tiny_llava(), tiny_processor(), batch_size=4)


@pytest.fixture(scope="module", params=GATED)
def fitted(request, subject):
    return vg.build_guard(request.param, **GATED[request.param]).fit(subject, ANCHORS)


def test_margins_say_where_a_guard_acts(subject, fitted):
    """On the first edited layer: behind it, VLM-Guard's gates see states that it has edited itself."""
    states = dict(record_conditions(subject, OTHERS, CONDITIONS, 0, "test", False))
    first = fitted.facts["edited_layers"][0]
    margins = next(iter(fitted.gate_margins(states).values()))
    seen = set()
    for condition, own in states.items():
        guarded = GuardedSubject(subject, (fitted,))
        ((_, edited),) = record_conditions(guarded, OTHERS, (condition,), 0, "test", False)
        acts = (edited[:, first] - own[:, first]).abs().amax(dim=1) > 0
        assert torch.equal(acts, margins[condition] > 0), condition
        seen |= set(acts.tolist())
    assert seen == {True, False}


def test_figures_of_gates_and_probes(subject, fitted):
    measured = measure_gate(subject, OTHERS, fitted, CONDITIONS, rate=0.25)
    states = dict(record_conditions(subject, OTHERS, CONDITIONS, 0, "test", False))
    labels, half = np.repeat([1, 0], len(THINGS)), len(THINGS)
    assert len(measured["probes"]) == subject.num_layers and not measured["fitted_on_these"]
    for gate, margins in zip(measured["gates"], fitted.gate_margins(states).values(), strict=True):
        assert gate["name"].startswith(f"{fitted.name}: layer") and gate["threshold"] == 0
        for condition, found in gate["by_condition"].items():
            scores = margins[condition].numpy()
            assert found["area_under_curve"] == pytest.approx(roc_auc_score(labels, scores))
            fired = found["harmless_fired"]
            assert (fired["k"], fired["n"]) == ((scores[half:] > 0).sum(), half)
            assert (fired["low"], fired["high"]) == wilson(fired["k"], half)
    for layer, probe in enumerate(measured["probes"]):
        scores = fit_gate(torch.stack([states[name][:, layer : layer + 1] for name in CONDITIONS]), 0.5)["scores"]
        assert probe["threshold"] == threshold_for(scores, 0.25)
        assert max(found["harmless_fired"]["k"] for found in probe["by_condition"].values()) == 2
        for found, own in zip(probe["by_condition"].values(), scores.numpy(), strict=True):
            assert found["area_under_curve"] == pytest.approx(roc_auc_score(labels, own))


def test_what_was_fitted_on_is_told(subject, fitted):
    measured = measure_gate(subject, ANCHORS, fitted, CONDITIONS, pairs=6)
    assert measured["fitted_on_these"] and "on the anchors that it was fitted on" in printed(print_gate, measured)


def test_a_part_that_was_fitted_on_is_told_too(subject):
    """One of two sets that are looked at together, and calibration's half of either."""
    both = Anchors(OTHERS.pairs + ANCHORS.pairs)
    for part in (ANCHORS, ANCHORS.split(4)[0], Anchors(both.pairs[3:]).split(6)[0]):
        guard = vg.build_guard("inferaligner", layers=[1]).fit(subject, part)
        assert seen_by(guard, both), len(part.pairs)
        assert not seen_by(guard, OTHERS)
    assert measure_gate(subject, ANCHORS, guard.fit(subject, ANCHORS.split(4)[0]), "text")["fitted_on_these"]


def test_a_fitted_gates_threshold_and_bound_are_printed(subject, tmp_path):
    settings = {**GATED["conditional_refusal"], "over_refusal": 0.25}
    guard = vg.build_guard("conditional_refusal", **settings).fit(subject, ANCHORS)
    guard.save(tmp_path / "alone")
    described = describe_guard(tmp_path / "alone")
    assert described["gate"] == guard.facts["gate"]
    text = printed(print_guard, described)
    assert f"fires above a score of {guard.gate().threshold:.4g}" in text
    assert f"{100 * guard.facts['gate']['out_of_fold']['shape']['harmless_at_most']:.1f}" in text
    both = vg.build_guard("conditional_refusal+cmrm", conditional_refusal=settings).fit(subject, ANCHORS)
    both.save(tmp_path / "both")
    described = describe_guard(tmp_path / "both")
    assert [part["gate"] is None for part in described["parts"]] == [False, True]
    assert "fires above a score" in printed(print_guard, described)


def test_what_is_said_of_a_gate_is_whole(subject, tmp_path):
    vg.build_guard("conditional_refusal", **GATED["conditional_refusal"]).fit(subject, ANCHORS).save(tmp_path)
    for gate in (3, {}, {"threshold": 0.5}, {"threshold": 0.5, "out_of_fold": {"text": {}}}):
        rewrite(tmp_path, gate=gate)
        with pytest.raises(DamagedGuard, match="of its gate is not whole"):
            describe_guard(tmp_path)


def test_printed_and_drawn(subject, fitted, tmp_path):
    measured = measure_gate(subject, OTHERS, fitted, CONDITIONS)
    text = printed(print_gate, measured)
    for words in ("area under curve", "shape", f"{fitted.name}: layer", "8 anchor pairs"):
        assert words in text
    files = plot_gate(measured, tmp_path / "gate")
    assert len(files) == 2
    check_readable(files)


def test_text_is_always_among_the_conditions_and_the_text_only_state_is_read_if_the_guard_does(subject):
    guard = vg.build_guard("vlm_guard", layers=[1], query="text").fit(subject, ANCHORS)
    measured = measure_gate(subject, OTHERS, guard, "shape")
    (gate,) = measured["gates"]
    assert measured["conditions"] == ["text", "shape"]
    assert gate["by_condition"]["text"] == gate["by_condition"]["shape"]


def test_a_guard_of_this_model_with_a_gate_is_asked_for(subject, fitted):
    with pytest.raises(vg.GuardNotFitted, match=f"'{fitted.name}' is not fitted"):
        measure_gate(subject, OTHERS, vg.build_guard(fitted.name, **GATED[fitted.name]))
    with pytest.raises(vg.WrongModel, match="model fingerprint"):
        measure_gate(vg.HuggingFaceSubject(tiny_llava(seed=7), tiny_processor()), OTHERS, fitted)
    always = vg.build_guard("refusal_direction", layers=[1]).fit(subject, ANCHORS)
    with pytest.raises(ValueError, match="'refusal_direction' has no gate"):
        measure_gate(subject, OTHERS, always)


@pytest.mark.parametrize(
    "arguments, named",
    [
        ({"conditions": "object"}, "leave object out"),
        ({"conditions": "nothing"}, "conditions is 'nothing'"),
        ({"rate": 0.6}, "rate is 0.6"),
        ({"pairs": 2}, "2 anchor pairs were asked for; give 3 .* to 8"),
        ({"pairs": 99}, "99 anchor pairs were asked for; give 3 .* to 8"),
        ({"guard": vg.build_guard("self_reminder")}, "'self_reminder' has no gate"),
    ],
)
def test_what_can_not_be_measured_is_refused(subject, arguments, named):
    with pytest.raises(ValueError, match=named):
        measure_gate(subject, OTHERS, **arguments)
