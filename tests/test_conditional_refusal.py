"""Conditional refusal: the gate's maths, its threshold and bound, the dose's end, and rows that stay as they are."""

import json
import re

import numpy as np
import pytest
import torch
from helpers.reference import discriminant
from helpers.tiny_models import tiny_llava, tiny_processor
from scipy import stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import vlmguard_plugin as vg
from vlmguard_plugin.anchors import AnchorPair, Anchors
from vlmguard_plugin.guards.core.discriminant import (
    FOLDS,
    Gate,
    area_under_curve,
    fit_gate,
    threshold_for,
)

THINGS = "a cup,oars,it,the old gate,milk,a train,two hats,nine nails,my neighbour's bicycle,cheese,a lamp,rain".split(
    ","
)
ANCHORS = Anchors(tuple(AnchorPair(f"How to steal {thing}?", f"How to paint {thing}?") for thing in THINGS))
ASKED = [vg.Query(text) for text in (*ANCHORS.harmful[:4], *ANCHORS.harmless[:4])]
QUICK = {"layers": [2], "conditions": ("text", "blank"), "over_refusal": 0.25}


@pytest.fixture(scope="module")
def subject():
    return vg.HuggingFaceSubject(tiny_llava(), tiny_processor(), batch_size=3)


@pytest.fixture(scope="module")
def fitted(subject):
    return vg.build_guard("conditional_refusal", **QUICK).fit(subject, ANCHORS)


def clouds(conditions=2, pairs=20, layers=3, width=6, apart=2.0):
    """States [C, 2N, R, d] of two classes that overlap."""
    states = torch.randn(conditions, 2 * pairs, layers, width, generator=torch.Generator().manual_seed(0))
    states[:, :pairs] += apart * torch.linspace(0, 1, width)
    return states


def by_numpy(states, shrinkage, kept=slice(None)):
    """The mean over layers of the score of every state [C, 2N, R, d] by a discriminant of the kept pairs."""
    sides = [side.numpy() for side in states.chunk(2, dim=1)]
    scores = []
    for layer in range(states.shape[2]):
        rows = [side[:, kept, layer].reshape(-1, states.shape[3]) for side in sides]
        weights, offset = discriminant(*rows, shrinkage)
        scores.append(states[:, :, layer].numpy() @ weights - offset)
    return np.mean(scores, axis=0)


@pytest.mark.parametrize("shrinkage", [0.1, 1.0])
def test_the_discriminant_is_the_textbooks(shrinkage):
    states = clouds()
    fitted = fit_gate(states, shrinkage)
    scores, gate = fitted["scores"], Gate.of(fitted, (0, 1, 2), 0.1)
    np.testing.assert_allclose(gate.discriminant.scores(states).numpy(), by_numpy(states, shrinkage), atol=2e-5)
    for fold in range(FOLDS):
        held = np.arange(20) % FOLDS == fold
        expected = by_numpy(states, shrinkage, ~held)[:, np.tile(held, 2)]
        np.testing.assert_allclose(scores.numpy()[:, np.tile(held, 2)], expected, atol=2e-5)


def test_it_decides_as_a_library_does():
    states = clouds(conditions=1, layers=1)
    gate = Gate.of(fit_gate(states, 1e-9), (0,), 0.1).discriminant
    rows, labels = states[0, :, 0].numpy(), np.repeat([1, 0], 20)
    library = LinearDiscriminantAnalysis(solver="lsqr").fit(rows, labels)
    assert ((gate.scores(states)[0] > 0).numpy() == library.predict(rows)).all()


@pytest.mark.parametrize("rate, wrongly", [(0.0, 0), (0.01, 0), (0.1, 2), (0.25, 5)])
def test_at_most_so_many_fire_in_every_condition(rate, wrongly):
    scores = fit_gate(clouds(apart=0.5), 0.5)["scores"]
    threshold = threshold_for(scores, rate)
    fired = [(of_condition[20:] > threshold).sum().item() for of_condition in scores]
    assert max(fired) == wrongly  # as many as may, in the condition that binds
    assert (scores[:, 20:] == threshold).any()


def test_the_threshold_is_never_nearer_to_the_harmless_side():
    fitted = fit_gate(clouds(apart=5.0), 0.5)
    assert threshold_for(fitted["scores"], 0.1) < 0
    gate = Gate.of(fitted, (0, 1, 2), 0.1)
    assert gate.threshold == 0 and gate.rates(["text", "blank"])["out_of_fold"]["text"]["harmless_fired"] == 0


def test_the_bound_is_clopper_and_pearsons_and_the_curve_mann_and_whitneys():
    scores = fit_gate(clouds(apart=0.5), 0.5)["scores"]
    threshold = threshold_for(scores, 0.1)
    facts = Gate((), None, scores, threshold).rates(["text", "blank"])
    assert facts["threshold"] == threshold
    for number, (name, rates) in enumerate(facts["out_of_fold"].items()):
        harmful, harmless = scores[number].numpy()[:20], scores[number].numpy()[20:]
        wrongly = int((harmless > threshold).sum())
        interval = stats.binomtest(wrongly, 20).proportion_ci(0.9, method="exact")
        assert name == ["text", "blank"][number] and rates["harmless_fired"] == wrongly / 20
        assert rates["harmless_at_most"] == pytest.approx(interval.high)
        assert rates["harmful_fired"] == pytest.approx((harmful > threshold).mean())
        assert rates["area_under_curve"] == pytest.approx(stats.mannwhitneyu(harmful, harmless).statistic / 400)
    assert area_under_curve(torch.tensor([1.0, 2.0]), torch.tensor([1.0])) == 0.75
    assert Gate((), None, scores[:1], -1e9).rates(["text"])["out_of_fold"]["text"]["harmless_at_most"] == 1


def test_rows_whose_gate_does_not_fire_keep_their_very_bits(subject, fitted):
    plain = subject.record(ASKED)
    with fitted.on(subject):
        edited = subject.record(ASKED)
    reads = list(fitted.read_layers(subject.num_layers))
    scores = (plain[:, reads] * fitted.tensors["weights"]).sum(dim=-1) - fitted.tensors["offsets"]
    fires = scores.mean(dim=-1) > fitted.gate().threshold
    assert 0 < fires.sum() < len(fires)  # both kinds are there
    assert torch.equal(edited[~fires], plain[~fires])
    assert ((edited[fires, 2] - plain[fires, 2]).norm(dim=-1) > 1e-3).any()


def test_the_dose_ends_where_harmful_requests_lie(subject, fitted):
    strong = fitted.with_settings(alpha=1000.0)
    unit = torch.nn.functional.normalize(fitted.tensors["direction"][2], dim=0)
    with strong.on(subject):
        edited = subject.record(ASKED)[:, 2] @ unit
    plain = subject.record(ASKED)[:, 2] @ unit
    moved = edited - plain > 1e-4
    assert moved.any()
    torch.testing.assert_close(edited[moved], fitted.tensors["farthest"][2].expand(int(moved.sum())), atol=1e-3, rtol=0)
    assert (edited[~moved] - plain[~moved]).abs().max() < 1e-4  # never backwards
    harmful = subject.record([vg.Query(text) for text in ANCHORS.harmful])[:, 2] @ unit
    np.testing.assert_allclose(float(fitted.tensors["farthest"][2]), np.quantile(harmful.numpy(), 0.95), atol=1e-4)


def test_guard_json_says_what_the_gate_does(subject, fitted, tmp_path):
    fitted.save(tmp_path / "guard")
    gate = json.loads((tmp_path / "guard" / "guard.json").read_text())["gate"]
    assert gate["threshold"] == pytest.approx(fitted.gate().threshold) and list(gate["out_of_fold"]) == [
        "text",
        "blank",
    ]
    assert all(rates["harmless_fired"] < rates["harmless_at_most"] for rates in gate["out_of_fold"].values())
    with pytest.raises(ValueError, match=r"reads layers \[2\], and they lie after the first edited layer 1"):
        fitted.with_settings(layers=[1])
    stricter = vg.load_guard(tmp_path / "guard", subject).with_settings(over_refusal=0.0)
    assert stricter.gate().threshold > fitted.gate().threshold
    assert all(rates["harmless_fired"] == 0 for rates in stricter.facts["gate"]["out_of_fold"].values())
    assert fitted.facts["gate"]["threshold"] == pytest.approx(gate["threshold"])  # another guard's, and untouched


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"conditions": "blank"}, "text among them"),
        ({"conditions": "text,object"}, "its own pairs"),
        ({"read_layers": []}, "read_layers is"),
        ({"read_layers": [1, 1]}, "read_layers is"),
        ({"over_refusal": 0.6}, "over_refusal is 0.6"),
        ({"shrinkage": 0}, "shrinkage is 0"),
        ({"bounded": "no"}, "bounded is 'no'"),
    ],
)
def test_settings_that_can_not_be_are_refused(settings, named):
    with pytest.raises(ValueError, match=named):
        vg.build_guard("conditional_refusal", **settings)


def test_too_few_pairs_are_refused(subject):
    few = Anchors(ANCHORS.pairs[:2])
    with pytest.raises(ValueError, match="can't be fitted on 2 anchor pairs; give at least 3"):
        vg.build_guard("conditional_refusal", **QUICK).fit(subject, few)


def test_a_request_of_several_pairs_is_refused_since_it_would_be_on_both_sides_of_a_fold(subject):
    first, *others = ANCHORS.pairs
    again = Anchors((first, *others, AnchorPair("How to hide a body?", first.harmless)))
    with pytest.raises(ValueError, match=f"hold {re.escape(repr(first.harmless))} 2 times.*give each request once"):
        vg.build_guard("conditional_refusal", **QUICK).fit(subject, again)


@pytest.mark.parametrize(
    "change", [str.upper, lambda request: request.replace(" ", "  "), lambda request: request[:-1] + "\uff1f"]
)
def test_a_request_in_another_spelling_is_the_same_request(subject, change):
    first, *others = ANCHORS.pairs
    again = Anchors((first, *others, AnchorPair("How to hide a body?", change(first.harmless))))
    first_of_two = f"hold {re.escape(repr(first.harmless))} 2 times .also as {re.escape(repr(change(first.harmless)))}"
    with pytest.raises(ValueError, match=first_of_two):
        vg.build_guard("conditional_refusal", **QUICK).fit(subject, again)


def test_layers_are_checked_before_anything_is_recorded(subject):
    guard = vg.build_guard("conditional_refusal", layers=[1], read_layers=[2])
    with pytest.raises(ValueError, match=r"reads layers \[2\], and they lie after the first edited layer 1"):
        guard.fit(subject, ANCHORS)
    assert vg.build_guard("conditional_refusal").read_layers(24) == (12, 13, 14, 15)
    assert vg.build_guard("conditional_refusal", layers=[20]).read_layers(24) == (12, 13, 14, 15)


@pytest.mark.parametrize("apart", [0, 1])
def test_states_that_do_not_vary_are_refused_in_words(apart):
    states = torch.ones(1, 8, 1, 3)
    states[:, :4] += apart
    with pytest.raises(ValueError, match="same hidden states.*give requests that differ"):
        fit_gate(states, 0.5)
