"""Guards' fits and edits against an independent numpy statement of their maths."""

import numpy as np
import pytest
import torch
from helpers.reference import (
    cmrm_shift,
    cosine,
    layer_states,
    nullsteer_push,
    refusal_direction,
    tbop_directions,
    vlm_guard_directions,
    vlm_guard_edit,
)
from helpers.steering import full_states
from helpers.tiny_models import tiny_llava, tiny_processor

import vlmguard_plugin as vg


def unit_tests_states(subject, texts):
    """Raw states of text-only requests, all but the last layer (which the model reports normalised)."""
    return layer_states(subject, [vg.Query(text) for text in texts])[:, :-1]


@pytest.mark.parametrize("layers, width, heads, family", [(4, 32, 4, "llama"), (3, 48, 2, "qwen2")])
def test_vlm_guard_is_fitted_as_defined(layers, width, heads, family, anchors):
    subject = vg.HuggingFaceSubject(tiny_llava(layers, width, heads, family=family), tiny_processor(), batch_size=3)
    guard = vg.build_guard("vlm_guard", rank=2, gate="midpoint").fit(subject, anchors)
    assert guard.tensors["directions"].shape == (layers, 2, width)
    assert guard.tensors["singular_values"].shape == (layers, min(len(anchors.pairs), width))
    assert all(tensor.dtype == torch.float32 for tensor in guard.tensors.values())
    harmful, harmless = unit_tests_states(subject, anchors.harmful), unit_tests_states(subject, anchors.harmless)
    for layer in range(layers - 1):
        directions, singular = vlm_guard_directions(harmful[:, layer], harmless[:, layer], 2)
        np.testing.assert_allclose(guard.tensors["directions"][layer].numpy(), directions, atol=2e-3)
        np.testing.assert_allclose(guard.tensors["singular_values"][layer].numpy(), singular, rtol=1e-3, atol=1e-4)
        projections = [states[:, layer] @ directions[0] for states in (harmful, harmless)]
        midpoint = (projections[0].mean() + projections[1].mean()) / 2
        np.testing.assert_allclose(float(guard.tensors["midpoint"][layer]), midpoint, atol=2e-3)
        fired = [(p > guard.tensors["midpoint"][layer].item()).mean() for p in projections]
        facts = guard.facts["per_layer"]
        np.testing.assert_allclose(
            [facts["gate_rate_harmful_anchors"][layer], facts["gate_rate_harmless_anchors"][layer]], fired, atol=1e-6
        )


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "gate, project, alpha, rank",
    [("zero", False, 1.0, 1), ("midpoint", False, 1.5, 2), ("midpoint", True, 0.8, 2), ("zero", True, 0.0, 3)],
)
def test_vlm_guard_edits_as_defined(anchors, dtype, tolerance, side, gate, project, alpha, rank):
    subject = vg.HuggingFaceSubject(tiny_llava(dtype=dtype), tiny_processor(), batch_size=4)
    guard = vg.build_guard("vlm_guard", rank=rank, alpha=alpha, gate=gate, project=project, layers=[1], positions="all")
    guard.fit(subject, anchors)
    texts = anchors.harmful[:3] + anchors.harmless[:3] + ["x"]
    prompts = [subject.prompt(vg.Query(text)) for text in texts]
    inputs = subject.processor.tokenizer(prompts, padding=True, padding_side=side, return_tensors="pt")
    mask = inputs["attention_mask"].bool().numpy()
    plain = full_states(subject, inputs)[1].float().numpy()
    edited = full_states(subject, inputs, guard.edits(subject, None))[1].float().numpy()
    directions = guard.tensors["directions"][1].numpy()
    threshold = guard.tensors["midpoint"][1].item() if gate == "midpoint" else 0.0
    gates, largest_edit = [], 0.0
    for row in range(len(texts)):
        last = plain[row, np.flatnonzero(mask[row])[-1]]
        gates.append(bool(last @ directions[0] > threshold))
        expected = vlm_guard_edit(plain[row], last, directions, alpha, threshold, project)
        np.testing.assert_allclose(edited[row][mask[row]], expected[mask[row]], atol=tolerance, rtol=tolerance)
        np.testing.assert_array_equal(edited[row][~mask[row]], plain[row][~mask[row]])
        largest_edit = max(largest_edit, np.abs(expected - plain[row])[mask[row]].max())
    assert largest_edit > 10 * tolerance
    if gate == "midpoint":
        assert len(set(gates)) == 2, "the gate must differ between rows for this test to mean anything"


@pytest.mark.parametrize("estimator", ["mean", "pca"])
@pytest.mark.parametrize("image", ["blank", "white", "black", "noise"])
def test_cmrm_is_fitted_as_defined(subject, anchors, estimator, image):
    guard = vg.build_guard("cmrm", estimator=estimator, image=image).fit(subject, anchors)
    texts = [vg.Query(text) for text in anchors.harmful + anchors.harmless]
    text = layer_states(subject, texts)
    blank = layer_states(subject, [query.with_blank_images(image) for query in texts])
    assert guard.tensors["shift"].shape == (subject.num_layers, subject.hidden_size)
    for layer in range(subject.num_layers - 1):
        expected = cmrm_shift(blank[:, layer], text[:, layer], estimator)
        np.testing.assert_allclose(guard.tensors["shift"][layer].numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("level", ["dataset", "sample"])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 5e-5), (torch.bfloat16, 5e-2)])
def test_cmrm_edits_as_defined(anchors, asked, level, dtype, tolerance):
    subject = vg.HuggingFaceSubject(tiny_llava(dtype=dtype), tiny_processor(), batch_size=4)
    guard = vg.build_guard("cmrm", level=level, alpha=0.6, layers=[2], positions="last").fit(subject, anchors)
    plain = subject.record(asked)
    for index, query in enumerate(asked):
        with guard.on(subject, [query]):
            edited = subject.record([query])[0]
        if not query.images:
            torch.testing.assert_close(edited, plain[index], atol=tolerance, rtol=0)
            continue
        if level == "dataset":
            shift = guard.tensors["shift"][2].numpy()
        else:
            blank, text = (
                subject.record([q])[0, 2].numpy() for q in (query.with_blank_images(), query.without_images())
            )
            shift = blank - text
        assert np.abs(0.6 * shift).max() > 5 * tolerance
        np.testing.assert_allclose(
            edited[2].numpy(), plain[index, 2].numpy() - 0.6 * shift, atol=tolerance, rtol=tolerance
        )
        torch.testing.assert_close(edited[:2], plain[index, :2], atol=tolerance, rtol=0)


def test_sample_level_pulls_a_blank_image_all_the_way_back(subject, anchors):
    """With the meaningless image itself as image and alpha 1, the last layer's state is the text's."""
    query = vg.Query("What is this?").with_blank_images()
    guard = vg.build_guard("cmrm_sample", alpha=1.0, layers=[3], positions="last").fit(subject, anchors)
    with guard.on(subject, [query]):
        edited = subject.record([query])
    torch.testing.assert_close(edited[:, 3], subject.record([query.without_images()])[:, 3], atol=1e-4, rtol=0)


def test_refusal_direction_and_shiftdc_are_fitted_as_defined(subject, anchors):
    guard = vg.build_guard("refusal_direction").fit(subject, anchors)
    safety = vg.build_guard("shiftdc").fit(subject, anchors).tensors["safety_direction"]
    torch.testing.assert_close(safety, -guard.tensors["direction"])
    harmful, harmless = unit_tests_states(subject, anchors.harmful), unit_tests_states(subject, anchors.harmless)
    for layer in range(subject.num_layers - 1):
        direction, theta = refusal_direction(harmful[:, layer], harmless[:, layer])
        np.testing.assert_allclose(guard.tensors["direction"][layer].numpy(), direction, atol=2e-4)
        np.testing.assert_allclose(float(guard.tensors["theta"][layer]), theta, atol=1e-3)


def test_condition_looks_at_its_own_layer(subject, anchors):
    """The gate of an edit at layer 3 is decided by the state at layer 1."""
    guard = vg.build_guard("refusal_direction", layers=[3], condition=True, condition_layer=1, positions="last").fit(
        subject, anchors
    )
    queries = [vg.Query(text) for text in anchors.harmful + anchors.harmless]
    plain = subject.record(queries)
    with guard.on(subject):
        edited = subject.record(queries)
    direction, theta = guard.tensors["direction"][1].numpy(), float(guard.tensors["theta"][1])
    fires = [cosine(state.numpy(), direction) > theta for state in plain[:, 1]]
    assert len(set(fires)) == 2
    assert [bool(moved > 1e-4) for moved in (edited - plain)[:, 3].abs().amax(dim=1)] == fires
    with pytest.raises(ValueError, match="after the first edited layer 0"):
        vg.build_guard("refusal_direction", layers=[0], condition=True, condition_layer=1).fit(subject, anchors).edits(
            subject, None
        )


@pytest.mark.parametrize("image", ["blank", "noise"])
def test_tbop_is_fitted_as_defined(subject, anchors, image):
    guard = vg.build_guard("tbop", rank=3, image=image).fit(subject, anchors)
    queries = [vg.Query(text) for text in anchors.harmful + anchors.harmless]
    text, blank = (
        layer_states(subject, queries),
        layer_states(subject, [query.with_blank_images(image) for query in queries]),
    )
    for layer in range(subject.num_layers - 1):
        rows, expected = guard.tensors["directions"][layer].numpy(), tbop_directions(blank[:, layer], text[:, layer], 3)
        np.testing.assert_allclose(rows.T @ rows, expected.T @ expected, atol=2e-3)


@pytest.mark.parametrize("rank", [None, 5])
def test_nullsteer_is_the_least_squares_map_off_the_benign_states(subject, anchors, rank):
    guard = vg.build_guard("nullsteer", rank=rank).fit(subject, anchors)
    states = {}
    for side in ("harmful", "harmless"):
        queries = [vg.Query(text) for text in getattr(anchors, side)]
        states[side] = np.concatenate(
            [subject.record(queries).numpy(), subject.record([query.with_blank_images() for query in queries]).numpy()]
        )
    for layer in range(subject.num_layers):
        push = nullsteer_push(states["harmful"][:, layer], states["harmless"][:, layer], rank or 16)
        fitted = np.outer(guard.tensors["refusal_direction"][layer].numpy(), guard.tensors["probe"][layer].numpy())
        np.testing.assert_allclose(fitted, push, atol=2e-3 * np.abs(push).max())
    if rank is None:  # 16 benign states of width 32 span 16 directions: none of them is changed
        benign = [vg.Query(text) for text in anchors.harmless]
        with guard.on(subject):
            moved = subject.record(benign)
        torch.testing.assert_close(moved, subject.record(benign), atol=2e-3, rtol=0)
    with pytest.raises(ValueError, match="rank is 99"):
        vg.build_guard("nullsteer", rank=99).fit(subject, anchors)


def test_the_gate_is_each_rows_own(subject, anchors):
    guard = vg.build_guard("vlm_guard", gate="midpoint", layers=[2], positions="last").fit(subject, anchors)
    requests = [vg.Query(text) for text in anchors.harmful + anchors.harmless]
    plain = subject.record(requests)[:, 2]
    with guard.on(subject):
        edited = subject.record(requests)[:, 2]
    fires = (plain @ guard.tensors["directions"][2, 0] > guard.tensors["midpoint"][2]).numpy()
    assert 0 < fires.sum() < len(fires)
    changed = ((edited - plain).abs().amax(dim=1) > 1e-5).numpy()
    np.testing.assert_array_equal(changed, fires)
