"""The readings that guards' sources leave open, each by its setting, against a numpy statement of its maths."""

import numpy as np
import pytest
import torch
from helpers.reference import (
    capped,
    cmrm_shift,
    nullsteer_push,
    nullsteer_push_suppressed,
    root_mean_square_norm,
    shiftdc_taken_back,
    vlm_guard_directions,
)
from helpers.steering import full_states
from helpers.tiny_models import tiny_llava, tiny_processor

import vlmguard_plugin as vg

CLOSE = {"atol": 2e-5, "rtol": 2e-5}


def states_of(subject, requests, image=None):
    """Last prompt tokens of requests as text, or beside a meaningless image: float64 [N, L, d]."""
    queries = [vg.Query(text) for text in requests]
    queries = [query.with_blank_images(image) for query in queries] if image else queries
    return subject.record(queries).numpy().astype(np.float64)


def edited(subject, guard, query):
    """All positions of one prompt after each layer, without the guard and with it: [T, d] lists."""
    inputs = subject.encode([query])
    plain = [state[0].numpy() for state in full_states(subject, inputs)]
    return plain, [state[0].numpy() for state in full_states(subject, inputs, guard.edits(subject, [query]))]


@pytest.mark.parametrize("gate", ["zero", "midpoint"])
@pytest.mark.parametrize("project", [False, True])
def test_vlm_guard_is_decided_by_the_request_as_text_alone(subject, anchors, pictures, gate, project):
    guard = vg.build_guard(
        "vlm_guard", query="text", project=project, gate=gate, rank=2, alpha=0.7, layers=[1], positions="all"
    ).fit(subject, anchors)
    harmful, harmless = states_of(subject, anchors.harmful)[:, 1], states_of(subject, anchors.harmless)[:, 1]
    directions, _ = vlm_guard_directions(harmful, harmless, 2)
    threshold = (harmful @ directions[0]).mean() / 2 + (harmless @ directions[0]).mean() / 2
    fired = set()
    for text in anchors.harmful[:3] + anchors.harmless[:3]:
        query = vg.Query(text, (pictures[0],))
        q = states_of(subject, [text])[0, 1]
        fires = q @ directions[0] > (threshold if gate == "midpoint" else 0)
        plain, after = edited(subject, guard, query)
        expected = plain[1] - project * plain[1] @ directions.T @ directions
        expected = expected + 0.7 * fires * (q @ directions.T @ directions)
        np.testing.assert_allclose(after[1], expected, **CLOSE)
        fired.add(bool(fires))
    assert gate == "zero" or fired == {True, False}


def test_the_text_that_decides_is_each_rows_own_also_with_beams_and_without_pictures(subject, anchors, pictures):
    guard = vg.build_guard("vlm_guard", query="text", alpha=3.0, layers=[1, 2], gate="zero").fit(subject, anchors)
    asked = [vg.Query(anchors.harmful[0], (pictures[0],)), vg.Query("Just a text"), vg.Query("What?", (pictures[2],))]
    for generation in ({}, {"num_beams": 2}):
        together = guard.respond(subject, asked, max_new_tokens=5, **generation)
        assert together == [guard.respond(subject, [query], max_new_tokens=5, **generation)[0] for query in asked]
    same = vg.build_guard("vlm_guard", alpha=3.0, layers=[1, 2], gate="zero").fit(subject, anchors)
    assert guard.respond(subject, asked[1:2], max_new_tokens=5) == same.respond(subject, asked[1:2], max_new_tokens=5)
    with pytest.raises(ValueError, match=r"query='text' .*guard.on\(subject, queries\)"), guard.on(subject):
        pass


@pytest.mark.parametrize("scale", ["mean", "unit", "spread"])
def test_cmrms_component_is_of_the_shifts_as_they_are(subject, anchors, scale):
    guard = vg.build_guard("cmrm", estimator="pca", scale=scale).fit(subject, anchors)
    requests = anchors.harmful + anchors.harmless
    text, shown = states_of(subject, requests), states_of(subject, requests, "white")
    for layer in range(subject.num_layers):
        expected = cmrm_shift(shown[:, layer], text[:, layer], "pca", scale)
        np.testing.assert_allclose(guard.tensors["shift"][layer].numpy(), expected, **CLOSE)
        mean = (shown - text)[:, layer].mean(axis=0)
        assert expected @ mean > 0.9 * np.linalg.norm(expected) * np.linalg.norm(mean), "it finds what is common"


def test_cmrms_cap_is_in_spreads_of_the_anchors_shifts(subject, anchors, pictures):
    cap = 0.8
    guard = vg.build_guard("cmrm_sample", alpha=1.0, norm_cap=cap, layers=[1], positions="last").fit(subject, anchors)
    requests = anchors.harmful + anchors.harmless
    shifts = (states_of(subject, requests, "white") - states_of(subject, requests))[:, 1]
    spread = np.linalg.norm(shifts, 2) / np.sqrt(len(shifts))
    np.testing.assert_allclose(float(guard.tensors["spread"][1]), spread, rtol=2e-5)
    query = vg.Query("What is this?", (pictures[0],))
    shown, text = (
        subject.record([q])[0, 1].numpy() for q in (query.with_blank_images("white"), query.without_images())
    )
    plain, after = edited(subject, guard, query)
    expected = plain[1][-1] - capped(shown - text, spread, cap)
    np.testing.assert_allclose(after[1][-1], expected, **CLOSE)
    assert np.linalg.norm(shown - text) > cap * spread, "the cap must bind for this test to mean anything"


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("chat_template", [True, False])
@pytest.mark.parametrize("last_layer", ["raw", "normalised"])
def test_shiftdc_reads_states_as_its_authors_do(subject, anchors, pictures, place, chat_template, last_layer):
    settings = {"caption_place": place, "chat_template": chat_template, "last_layer": last_layer}
    guard = vg.build_guard(
        "shiftdc", layers=[2, 3], caption_prompt="About {query}:", caption_tokens=4, alpha=0.8, **settings
    ).fit(subject, anchors)
    norm = subject.model.model.language_model.norm
    weight, epsilon = norm.weight.detach().numpy().astype(np.float64), norm.variance_epsilon

    def read(queries, layer):
        states = subject.record(queries).numpy().astype(np.float64)[:, layer]
        return root_mean_square_norm(states, weight, epsilon) if (layer, last_layer) == (3, "normalised") else states

    def as_text(text):
        return vg.Query(text, raw=not chat_template)

    query = vg.Query("What is {this}?", (pictures[0],))
    (caption,) = subject.generate([vg.Query("About What is {this}?:", query.images)], max_new_tokens=4)
    with_caption = f"{query.text}\n{caption}" if place == "after" else f"{caption}\n{query.text}"
    for layer in (2, 3):
        safe, unsafe = (read([as_text(text) for text in side], layer) for side in (anchors.harmless, anchors.harmful))
        direction = safe.mean(axis=0) - unsafe.mean(axis=0)
        np.testing.assert_allclose(guard.tensors["safety_direction"][layer].numpy(), direction, **CLOSE)
        shift = (read([query], layer) - read([as_text(with_caption)], layer))[0]
        expected = -0.8 * shiftdc_taken_back(shift, direction)
        added = guard.edits(subject, [query]).by_layer[layer].vectors[0].numpy()
        np.testing.assert_allclose(added, expected, **CLOSE)


def test_the_normalised_state_is_what_the_model_reports(subject, pictures):
    query = vg.Query("What is this?", (pictures[0],))
    with torch.no_grad():
        reported = subject.model(**subject.encode([query]), output_hidden_states=True).hidden_states[-1][:, -1]
    torch.testing.assert_close(subject.normalised(subject.record([query])[:, -1]), reported, atol=2e-5, rtol=2e-5)


def test_shiftdcs_words_of_a_conversation_without_a_template(subject, anchors, pictures):
    guard = vg.build_guard("shiftdc", chat_template=False, caption_place="after", caption_tokens=3).fit(
        subject, anchors
    )
    said = (
        vg.Turn("user", (("image", pictures[0]), ("text", "What is it?"))),
        vg.Turn("assistant", (("text", "A box"),)),
    )
    query = vg.Query("And now?", (pictures[1],), history=said, begun="It is")
    (captioned,) = guard.captioned(subject, [query])
    assert captioned.raw and not captioned.all_images and not captioned.begun
    words = captioned.text.split("\n")
    assert words[:3] == ["What is it?", "A box", "And now?"] and words[-1] == "It is"


@pytest.mark.parametrize("showings", ["both", "pictured"])
@pytest.mark.parametrize("suppression", [0.0, 1.5])
def test_nullsteers_map_is_the_least_squares_one(subject, anchors, showings, suppression):
    guard = vg.build_guard(
        "nullsteer", showings=showings, suppression=suppression, harmless_anchors=3, harmful_anchors=6, layers=[1]
    ).fit(subject, anchors)
    images = [None, "white"] if showings == "both" else ["white"]
    sides = (anchors.harmful[:6], anchors.harmless[:3])
    harmful, benign = (np.concatenate([states_of(subject, side, image) for image in images]) for side in sides)
    for layer in range(subject.num_layers):
        if suppression:
            push = nullsteer_push_suppressed(harmful[:, layer], benign[:, layer], len(benign), suppression)
        else:
            push = nullsteer_push(harmful[:, layer], benign[:, layer], len(benign))
        refusal, probe = (guard.tensors[name][layer].numpy() for name in ("refusal_direction", "probe"))
        fitted = np.outer(refusal, probe)
        if suppression:
            along, second = (guard.tensors[name][layer].numpy() for name in ("harmful_direction", "suppression_probe"))
            fitted = np.outer(refusal - (refusal @ along) * along, probe) + np.outer(along, second)
        np.testing.assert_allclose(fitted, push, atol=2e-5 * max(1, np.abs(push).max()))
        left = np.abs(benign[:, layer] @ push.T).max()
        assert left < 1e-6 * np.abs(harmful[:, layer] @ push.T).max(), "benign states are not changed"


@pytest.mark.parametrize("suppression", [0.0, 1.5])
def test_nullsteer_acts_on_each_positions_own_state(subject, anchors, pictures, suppression):
    guard = vg.build_guard(
        "nullsteer", state="own", alpha=5.0, suppression=suppression, harmless_anchors=3, layers=[1], positions="all"
    ).fit(subject, anchors)
    refusal, probe = (guard.tensors[name][1].numpy() for name in ("refusal_direction", "probe"))
    push = np.outer(refusal, probe)
    if suppression:
        along, second = (guard.tensors[name][1].numpy() for name in ("harmful_direction", "suppression_probe"))
        push = push + np.outer(along, second - (refusal @ along) * probe)
    plain, after = edited(subject, guard, vg.Query("What is this?", (pictures[0],)))
    expected = plain[1] + 5.0 * plain[1] @ push.T
    np.testing.assert_allclose(after[1], expected, **CLOSE)
    assert len(np.unique((expected - plain[1]).round(4), axis=0)) > 3, "positions differ in what is added to them"


@pytest.mark.parametrize("side", ["left", "right"])
def test_every_step_is_the_last_token_of_every_pass(side, anchors):
    """The last prompt token and each new one: with a KV cache, without, and where an answer is scored."""
    subject = vg.HuggingFaceSubject(tiny_llava(), tiny_processor(), batch_size=4)
    settings = {"alpha": 4.0, "layers": [1, 2]}
    guards = {
        positions: vg.build_guard("refusal_direction", positions=positions, **settings).fit(subject, anchors)
        for positions in ("last", "generated", "every_step", "all")
    }
    texts = ["Hello there", "What?"]
    inputs = subject.processor.tokenizer(
        [subject.prompt(vg.Query(text)) for text in texts], padding=True, padding_side=side, return_tensors="pt"
    )
    mask = inputs["attention_mask"].bool()
    first = vg.build_guard("refusal_direction", positions="every_step", alpha=4.0, layers=[1]).fit(subject, anchors)
    plain, after = full_states(subject, inputs)[1], full_states(subject, inputs, first.edits(subject, None))[1]
    moved = (after - plain).abs().amax(dim=2) > 1e-4
    last = torch.tensor([int(row.nonzero()[-1]) for row in mask])
    assert torch.equal(moved.nonzero(), torch.stack([torch.arange(2), last], dim=1))
    if side == "right":
        return
    asked = [vg.Query(text) for text in texts]
    answers = {name: guard.respond(subject, asked, max_new_tokens=6) for name, guard in guards.items()}
    assert answers["every_step"] == guards["every_step"].respond(subject, asked, max_new_tokens=6, use_cache=False)
    both = [guards[name].edits(subject, asked) for name in ("last", "generated")]
    assert answers["every_step"] == subject.generate(asked, both, max_new_tokens=6)
    assert len({tuple(said) for said in answers.values()}) > 2, "positions must matter for this test to mean anything"
    scored = guards["every_step"].log_likelihoods(subject, asked, ["yes it is", "no"])
    together = subject.log_likelihoods(asked, ["yes it is", "no"], both)
    for one, other in zip(scored, together):
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)


def test_all_layers_by_one_word(subject, anchors, tmp_path):
    guard = vg.build_guard("cmrm", layers="all").fit(subject, anchors)
    assert guard.facts["edited_layers"] == [0, 1, 2, 3] and set(guard.edits(subject, None).by_layer) == {0, 1, 2, 3}
    guard.save(tmp_path / "guard")
    assert vg.load_guard(tmp_path / "guard", subject).fingerprint == guard.fingerprint
    with pytest.raises(ValueError, match="layers is 'late'"):
        vg.build_guard("cmrm", layers="late")


READINGS = [
    ("vlm_guard", {"query": "text"}),
    ("vlm_guard", {"project": True}),
    ("cmrm", {"estimator": "pca"}),
    ("cmrm", {"estimator": "pca", "scale": "unit"}),
    ("cmrm", {"estimator": "pca", "scale": "spread"}),
    ("cmrm", {"positions": "every_step"}),
    ("cmrm", {"layers": "all"}),
    ("cmrm_sample", {"norm_cap": 0.5}),
    ("shiftdc", {"caption_prompt": "Of {query}?"}),
    ("shiftdc", {"caption_place": "after"}),
    ("shiftdc", {"chat_template": False}),
    ("shiftdc", {"last_layer": "normalised"}),
    ("nullsteer", {"state": "own"}),
    ("nullsteer", {"showings": "pictured"}),
    ("nullsteer", {"harmless_anchors": 3}),
    ("nullsteer", {"harmful_anchors": 3}),
    ("nullsteer", {"suppression": 1.0}),
    ("tbop", {"text_too": False}),
    ("ecso", {"harmless": True}),
]


@pytest.mark.parametrize("name, reading", READINGS)
def test_a_reading_has_a_fingerprint_and_is_kept(name, reading, subject, anchors, asked, tmp_path):
    default = vg.build_guard(name, **({"caption_tokens": 3} if name == "shiftdc" else {})).fit(subject, anchors)
    guard = vg.build_guard(name, **({"caption_tokens": 3} if name == "shiftdc" else {}), **reading).fit(
        subject, anchors
    )
    assert guard.fingerprint != default.fingerprint
    guard.save(tmp_path / "guard")
    loaded = vg.load_guard(tmp_path / "guard", subject)
    kept = {setting: getattr(loaded.settings, setting) for setting in reading}
    assert kept == ({"layers": (0, 1, 2, 3)} if "layers" in reading else reading)
    assert loaded.fingerprint == guard.fingerprint
    assert loaded.respond(subject, asked, max_new_tokens=4) == guard.respond(subject, asked, max_new_tokens=4)


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("vlm_guard", {"query": "image"}, "query is 'image'; choose one of prompt, text"),
        ("cmrm", {"scale": "big"}, "scale is 'big'; choose one of mean, unit, spread"),
        ("cmrm", {"norm_cap": 1.0}, "norm_cap is 1.0, but it is for level='sample'"),
        ("cmrm_sample", {"norm_cap": -1}, "norm_cap is -1"),
        ("shiftdc", {"caption_place": "beside"}, "caption_place is 'beside'"),
        ("shiftdc", {"chat_template": "no"}, "chat_template is 'no'"),
        ("shiftdc", {"last_layer": "first"}, "last_layer is 'first'"),
        ("nullsteer", {"state": "mine"}, "state is 'mine'"),
        ("nullsteer", {"suppression": -0.1}, "suppression is -0.1"),
        ("nullsteer", {"harmless_anchors": 0}, "harmless_anchors is 0"),
        ("ecso", {"harmless": 1}, "harmless is 1"),
    ],
)
def test_what_is_no_reading_is_named(name, settings, message):
    with pytest.raises(ValueError, match=message):
        vg.build_guard(name, **settings)
