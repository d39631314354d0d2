"""MARS: its means and its re-centring from the anchors, its gate, its dose and the longest step."""

import numpy as np
import pytest
import torch
from helpers.reference import layer_states, mars_at, refusal_direction

import vlmguard_plugin as vg
from vlmguard_plugin.guards.core.conditions import picture_number
from vlmguard_plugin.pictures.meaningless import coloured

CLOSE = {"atol": 2e-5, "rtol": 2e-5}
LAYER = 1


@pytest.fixture(scope="module")
def guard(subject, anchors):
    return vg.build_guard("mars", layers=[LAYER]).fit(subject, anchors)


@pytest.fixture
def several(anchors, pictures):
    """Requests on both sides of the gate, with and without a picture."""
    texts = [*anchors.harmful[:3], *anchors.harmless[:3], "What is this?"]
    return [vg.Query(text, images) for text in texts for images in ((), (pictures[0],), (pictures[2],))]


def distances(guard, layer, state, pictured):
    """From the re-centred state to the harmless and to the harmful mean."""
    numbers = {name: tensor[layer].double().numpy() for name, tensor in guard.tensors.items()}
    centred = state - (numbers["image_shift"] if pictured else 0)
    harmful = numbers["harmless_mean"] + numbers["direction"]
    return np.linalg.norm(centred - numbers["harmless_mean"]), np.linalg.norm(centred - harmful)


@pytest.mark.parametrize("seed", [0, 3])
def test_means_and_shift_are_as_defined(subject, anchors, seed):
    guard = vg.build_guard("mars", picture_seed=seed).fit(subject, anchors)
    harmful, harmless = (
        layer_states(subject, [vg.Query(text) for text in side]) for side in (anchors.harmful, anchors.harmless)
    )
    colours = [coloured(picture_number(seed, "colour", pair)) for pair in range(len(anchors.pairs))]
    shown = layer_states(subject, [vg.Query(text, (image,)) for text, image in zip(anchors.harmless, colours)])
    for layer in range(subject.num_layers - 1):  # the model reports its last one normalised
        direction, _ = refusal_direction(harmful[:, layer], harmless[:, layer])
        shift = (shown - harmless).astype(np.float64)[:, layer].mean(axis=0)
        expected = {"direction": direction, "harmless_mean": harmless[:, layer].mean(axis=0), "image_shift": shift}
        for name, numbers in expected.items():
            np.testing.assert_allclose(guard.tensors[name][layer].numpy(), numbers, **CLOSE)
        along = shift @ direction / (direction @ direction)
        np.testing.assert_allclose(guard.facts["per_layer"]["shift_along"][layer], along, atol=1e-4)
    assert len({image.getpixel((0, 0)) for image in colours}) == len(colours)


def test_the_gate_opens_for_what_lies_nearer_to_the_harmful_mean(subject, guard, several):
    plain = subject.record(several)[:, LAYER].double().numpy()
    edited = subject.record(several, lambda batch: guard.edits(subject, batch))[:, LAYER].numpy()
    opened = set()
    for query, state, moved in zip(several, plain, edited):
        safe, unsafe = distances(guard, LAYER, state, bool(query.images))
        assert (np.abs(moved - state).max() > 1e-4) == (unsafe < safe)
        opened.add((bool(query.images), unsafe < safe))
    assert opened == {(pictured, fires) for pictured in (True, False) for fires in (True, False)}


def test_a_picture_alone_moves_nothing_towards_the_gate(subject, guard, anchors):
    """Re-centred, harmless anchors beside neutral images lie on average where they lie as text."""
    (part,) = vg.anchor_queries(anchors, ("colour",))
    queries = part.queries[len(anchors.pairs) :]
    centred = subject.record(queries)[:, LAYER].mean(dim=0) - guard.tensors["image_shift"][LAYER]
    torch.testing.assert_close(centred, guard.tensors["harmless_mean"][LAYER], **CLOSE)
    assert guard.tensors["image_shift"][LAYER].norm() > 0.1


@pytest.mark.parametrize("alpha, threshold, trust", [(0.5, 0.2, 9.0), (3.0, -1.0, 0.7), (-2.0, 0.0, 0.4)])
def test_dose_and_longest_step(subject, guard, several, alpha, threshold, trust):
    dosed = guard.with_settings(alpha=alpha, threshold=threshold, trust=trust)
    plain = subject.record(several)[:, LAYER].numpy()
    edited = subject.record(several, lambda batch: dosed.edits(subject, batch))[:, LAYER].numpy()
    direction = guard.tensors["direction"][LAYER].double().numpy()
    between = np.linalg.norm(direction)
    steps = (edited - plain.astype(np.float64)) @ direction / between
    if alpha > 0:
        for query, state, moved in zip(several, plain, edited):
            expected = mars_at(dosed, LAYER, state, state, {} if query.images else None)
            np.testing.assert_allclose(moved, expected, **CLOSE)
    assert (np.abs(steps) <= trust * between + 2e-5).all() and (steps * np.sign(alpha) > -2e-5).all()
    longest = np.isclose(np.abs(steps), trust * between, atol=2e-5)
    assert longest.any() == (trust < 1) and np.unique(steps.round(3)).size >= 2


def test_only_the_first_token_is_chosen_from_what_is_added(subject, anchors, asked):
    guard = vg.build_guard("mars", layers=[3], alpha=9.0, threshold=-9.0, trust=9.0).fit(subject, anchors)
    inputs = subject.encode(asked[:1])
    with torch.no_grad():
        plain = subject.model(**inputs).logits
        with guard.on(subject):
            edited = subject.model(**inputs).logits
    assert torch.equal(plain[:, :-1], edited[:, :-1]) and (plain[:, -1] - edited[:, -1]).abs().max() > 1e-2


def test_what_it_can_not_do_is_named():
    for settings, message in (
        ({"trust": -1}, "trust is -1"),
        ({"threshold": "half"}, "threshold is 'half'"),
        ({"picture_seed": 0.5}, "picture_seed is 0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            vg.build_guard("mars", **settings)
