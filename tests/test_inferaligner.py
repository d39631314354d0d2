"""InferAligner: its vectors and thresholds from the anchors, its gates, and vectors of another model."""

import numpy as np
import pytest
import torch
from helpers.reference import inferaligner_at, layer_states, refusal_direction
from helpers.steering import full_states
from helpers.tiny_models import tiny_llava, tiny_processor

import vlmguard_plugin as vg
from vlmguard_plugin.guards.core.cached import load_or_fit

CLOSE = {"atol": 2e-5, "rtol": 2e-5}


@pytest.fixture(scope="module")
def aligned():
    """Another model of the subject's shape."""
    return vg.HuggingFaceSubject(tiny_llava(seed=5), tiny_processor(), batch_size=4)


@pytest.fixture
def vectors(aligned, anchors, tmp_path):
    """The folder of an InferAligner that was fitted on it."""
    vg.build_guard("inferaligner").fit(aligned, anchors).save(tmp_path / "aligned")
    return str(tmp_path / "aligned")


def test_vectors_and_thresholds_are_as_defined(subject, anchors):
    guard = vg.build_guard("inferaligner").fit(subject, anchors)
    harmful, harmless = (
        layer_states(subject, [vg.Query(text) for text in side]) for side in (anchors.harmful, anchors.harmless)
    )
    for layer in range(subject.num_layers - 1):  # the model reports its last one normalised
        direction, _ = refusal_direction(harmful[:, layer], harmless[:, layer])
        along = [states[:, layer] @ direction / np.linalg.norm(direction) for states in (harmful, harmless)]
        midpoint = along[0].mean() / 2 + along[1].mean() / 2
        np.testing.assert_allclose(guard.tensors["direction"][layer].numpy(), direction, **CLOSE)
        np.testing.assert_allclose(float(guard.tensors["midpoint"][layer]), midpoint, **CLOSE)
        rates = [guard.facts["per_layer"][f"gate_rate_{side}_anchors"][layer] for side in ("harmful", "harmless")]
        assert rates == [(side > midpoint).mean() for side in along]
    assert set(guard.tensors) == {"direction", "midpoint"}


@pytest.mark.parametrize("scale", ["difference", "unit"])
@pytest.mark.parametrize("others", [False, True])
def test_every_position_of_a_prompt_moves_where_its_layers_gate_fires(
    subject, anchors, pictures, vectors, scale, others
):
    guard = vg.build_guard("inferaligner", layers=[1], alpha=1.5, scale=scale, vectors_from=vectors if others else None)
    guard.fit(subject, anchors)
    fired = set()
    for query in (
        *map(vg.Query, anchors.harmful[:3] + anchors.harmless[:3]),
        vg.Query("What is this?", (pictures[0],)),
    ):
        inputs = subject.encode([query])
        plain, edited = (
            full_states(subject, inputs, edits)[1][0].numpy() for edits in (None, guard.edits(subject, None))
        )
        np.testing.assert_allclose(edited, inferaligner_at(guard, 1, plain, plain[-1], None), **CLOSE)
        fired.add(bool(np.abs(edited - plain).max() > 1e-3))
    assert fired == {True, False}


def test_each_layer_has_a_gate_of_its_own(subject, anchors):
    """Requests that fire at one layer and not at another; an edit of an earlier layer is seen by the later ones."""
    guard = vg.build_guard("inferaligner", layers=[1, 3], alpha=1.0, positions="last").fit(subject, anchors)
    queries = [vg.Query(text) for text in (*anchors.harmful, *anchors.harmless, "What?", "Who?", "Tell me more.", "x")]
    plain = subject.record(queries)
    with guard.on(subject):
        edited = subject.record(queries)
    unit = torch.nn.functional.normalize(guard.tensors["direction"], dim=-1)
    first = plain[:, 1] @ unit[1] > guard.tensors["midpoint"][1]
    torch.testing.assert_close((edited - plain)[:, 1].abs().amax(dim=1) > 1e-3, first)
    alone = vg.build_guard("inferaligner", layers=[1], alpha=1.0, positions="last").fit(subject, anchors)
    with alone.on(subject):
        seen = subject.record(queries)[:, 3]
    second = seen @ unit[3] > guard.tensors["midpoint"][3]
    torch.testing.assert_close((edited[:, 3] - seen).abs().amax(dim=1) > 1e-3, second)
    assert len({(bool(one), bool(other)) for one, other in zip(first, second)}) >= 3


def test_vectors_of_another_model_come_from_its_folder(subject, aligned, anchors, asked, vectors, tmp_path):
    guard = vg.build_guard("inferaligner", vectors_from=vectors, threshold=-99.0, alpha=3.0, layers=[1, 2])
    guard.fit(subject, anchors)
    theirs = vg.load_guard(vectors, aligned).tensors["direction"]
    assert torch.equal(guard.tensors["aligned_direction"], theirs)
    own = vg.build_guard("inferaligner", threshold=-99.0, alpha=3.0, layers=[1, 2]).fit(subject, anchors)
    assert torch.equal(guard.tensors["direction"], own.tensors["direction"]) and guard.fingerprint != own.fingerprint
    answers = guard.respond(subject, asked, max_new_tokens=6)
    assert answers != own.respond(subject, asked, max_new_tokens=6)
    guard.save(tmp_path / "guard")
    (tmp_path / "aligned").rename(tmp_path / "gone")  # a fitted guard needs the folder no more
    loaded = vg.load_guard(tmp_path / "guard", subject)
    assert loaded.fingerprint == guard.fingerprint and loaded.respond(subject, asked, max_new_tokens=6) == answers


def test_the_cache_tells_folders_by_what_they_hold(subject, aligned, anchors, vectors, tmp_path):
    other = vg.load_anchors("varied")
    settings = {"vectors_from": vectors, "layers": [1]}
    first = load_or_fit(vg.build_guard("inferaligner", **settings), subject, anchors, tmp_path)
    vg.build_guard("inferaligner").fit(aligned, other).save(vectors)
    second = load_or_fit(vg.build_guard("inferaligner", **settings), subject, anchors, tmp_path)
    assert not torch.equal(first.tensors["aligned_direction"], second.tensors["aligned_direction"])


@pytest.mark.parametrize(
    "model, guard, message",
    [
        ({}, None, "vectors_from is '.*nowhere', which holds no guard.safetensors; give the folder"),
        ({}, "cmrm", "holds a fit of 'cmrm'; give one of 'inferaligner'"),
        ({"layers": 5}, "inferaligner", "a model of 5 decoder layers and width 32, but this one has 4 and 32; fit"),
        ({"width": 48}, "inferaligner", "a model of 4 decoder layers and width 48, but this one has 4 and 32; fit"),
    ],
)
def test_what_can_not_be_added_is_named(subject, anchors, tmp_path, model, guard, message):
    folder = tmp_path / "nowhere"
    if guard:
        vg.build_guard(guard).fit(vg.HuggingFaceSubject(tiny_llava(**model), tiny_processor()), anchors).save(folder)
    asking = vg.build_guard("inferaligner", vectors_from=str(folder))
    with pytest.raises(ValueError, match=message) as refused:
        asking.fit(subject, anchors)
    assert "\n" not in str(refused.value) and not asking.is_fitted
    with pytest.raises(ValueError, match="vectors_from is ' '; give the folder"):
        vg.build_guard("inferaligner", vectors_from=" ")
    with pytest.raises(ValueError, match="scale is 'long'"):
        vg.build_guard("inferaligner", scale="long")
    with pytest.raises(ValueError, match="threshold is 'zero'"):
        vg.build_guard("inferaligner", threshold="zero")
