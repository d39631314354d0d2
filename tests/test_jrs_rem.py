"""JRS-Rem: its direction from the anchors, its two readings of the shift, its threshold, and what it leaves alone."""

import numpy as np
import pytest
import torch
from helpers.reference import expected_edit, jrs_rem_removed, layer_states

import vlmguard_plugin as vg

CLOSE = {"atol": 2e-5, "rtol": 2e-5}


def states_of(subject, queries):
    return layer_states(subject, queries).astype(np.float64)


@pytest.mark.parametrize("conditions", [("text",), ("text", "blank", "shape")])
def test_the_direction_leads_from_harmful_to_harmless_anchors(subject, anchors, conditions):
    guard = vg.build_guard("jrs_rem", conditions=conditions).fit(subject, anchors)
    sides = {True: [], False: []}
    for part in vg.anchor_queries(anchors, conditions):
        for query, harmful in zip(part.queries, part.harmful):
            sides[harmful].append(query)
    harmful, harmless = (states_of(subject, sides[side]).mean(axis=0) for side in (True, False))
    # the model reports its last layer normalised
    np.testing.assert_allclose(guard.tensors["direction"][:-1].numpy(), (harmless - harmful)[:-1], **CLOSE)
    if conditions == ("text",):
        refusal = vg.build_guard("refusal_direction").fit(subject, anchors).tensors["direction"]
        torch.testing.assert_close(guard.tensors["direction"], -refusal)


@pytest.mark.parametrize("shown", ["pass", "unguarded"])
def test_each_layer_takes_its_own_part_out_of_the_shift(subject, anchors, asked, shown):
    """Layers 1 and 2, one after the other: the second sees what the first has left of the shift, or does not."""
    guard = vg.build_guard("jrs_rem", layers=[1, 2], alpha=0.7, threshold=-1.0, shown=shown).fit(subject, anchors)
    first = vg.build_guard("jrs_rem", layers=[1], alpha=0.7, threshold=-1.0, shown=shown).fit(subject, anchors)
    for query in (asked[0], asked[2]):
        own, text = (subject.record([q])[0].double().numpy() for q in (query, query.without_images()))
        with first.on(subject, [query]):
            after_first = subject.record([query])[0].numpy()
        with guard.on(subject, [query]):
            edited = subject.record([query])[0].numpy()
        directions = guard.tensors["direction"].double().numpy()
        expected = own[1] - 0.7 * jrs_rem_removed(own[1] - text[1], directions[1], -1.0)
        np.testing.assert_allclose(edited[1], expected, **CLOSE)
        arrived = after_first[2]
        shift = (own if shown == "unguarded" else after_first)[2] - text[2]
        expected = arrived - 0.7 * jrs_rem_removed(shift, directions[2], -1.0)
        np.testing.assert_allclose(edited[2], expected, **CLOSE)
        assert np.abs(edited - own)[1].max() > 1e-3 and np.abs(edited[2] - arrived).max() > 1e-3


def test_it_acts_where_the_share_exceeds_the_threshold(subject, anchors, pictures):
    """The threshold in the middle of the shares of several requests: some are moved, others are not."""
    queries = [vg.Query(text, (picture,)) for text in ("What is this?", "And that?", "Tell me") for picture in pictures]
    guard = vg.build_guard("jrs_rem", layers=[1]).fit(subject, anchors)
    direction = guard.tensors["direction"][1].double().numpy()
    plain = subject.record(queries)[:, 1].double().numpy()
    shifts = plain - subject.record([query.without_images() for query in queries])[:, 1].double().numpy()
    shares = shifts @ direction / np.linalg.norm(direction) / np.linalg.norm(shifts, axis=1)
    ordered = np.sort(shares)
    middle = len(ordered) // 2
    threshold = float(ordered[middle - 1 : middle + 1].mean())
    between = guard.with_settings(threshold=threshold, alpha=5.0)
    edited = subject.record(queries, lambda batch: between.edits(subject, batch))[:, 1].numpy()
    for row, share in enumerate(shares):
        expected = plain[row] - 5.0 * jrs_rem_removed(shifts[row], direction, threshold)
        np.testing.assert_allclose(edited[row], expected, **CLOSE)
        assert (np.abs(edited[row] - plain[row]).max() > 1e-4) == (share > threshold)
    for nowhere in (1.0, float(ordered[-1]) + 1e-3):  # not even the one with the largest share
        still = guard.with_settings(threshold=nowhere, alpha=50.0)
        states = subject.record(queries, lambda batch: still.edits(subject, batch))
        torch.testing.assert_close(states, subject.record(queries), atol=0, rtol=0)


def test_whole_removal_leaves_nothing_along_the_direction(subject, anchors, asked):
    """With alpha 1 at every layer, the state's component along d is that of the request as text."""
    guard = vg.build_guard("jrs_rem", threshold=-1.0).fit(subject, anchors)
    unit = torch.nn.functional.normalize(guard.tensors["direction"], dim=-1)
    with guard.on(subject, asked[:1]):
        (edited,) = subject.record(asked[:1])
    (text,) = subject.record([asked[0].without_images()])
    torch.testing.assert_close((edited * unit).sum(dim=-1), (text * unit).sum(dim=-1), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("shown, prefills", [("pass", 1), ("unguarded", 2)])
def test_it_costs_the_prefills_it_says_and_none_for_text(subject, anchors, asked, monkeypatch, shown, prefills):
    guard = vg.build_guard("jrs_rem", shown=shown).fit(subject, anchors)
    recorded, real = [], subject.record
    monkeypatch.setattr(subject, "record", lambda queries: recorded.append(list(queries)) or real(queries))
    guard.edits(subject, asked)
    assert len(recorded) == prefills and recorded[0] == [asked[0].without_images(), asked[2].without_images()]
    assert recorded[1:] == [[asked[0], asked[2]]] * (prefills - 1)
    recorded.clear()
    guard.edits(subject, asked[1:2])
    assert not recorded
    answers = guard.with_settings(alpha=50.0, threshold=-1.0).respond(subject, asked, max_new_tokens=4)
    unguarded = subject.generate(asked, max_new_tokens=4)
    assert answers[1] == unguarded[1] and answers[0] != unguarded[0]


def test_beams_share_the_decision_of_their_query(subject, anchors, asked):
    guard = vg.build_guard("jrs_rem", alpha=20.0, threshold=-1.0, layers=[1]).fit(subject, anchors)
    together = guard.respond(subject, asked, max_new_tokens=5, num_beams=2)
    assert together == [guard.respond(subject, [query], max_new_tokens=5, num_beams=2)[0] for query in asked]


@pytest.mark.parametrize("others", [("inferaligner", "mars"), ("mars", "self_reminder")])
def test_composed_with_others_it_answers_alike_in_every_batch_and_from_its_folder(
    subject, anchors, asked, tmp_path, others
):
    """What guards composed before it have added is part of the shift that it measures in the pass."""
    settings = {
        "jrs_rem": {"layers": [1, 2], "alpha": 5.0, "threshold": -1.0},
        "inferaligner": {"layers": [1], "threshold": -9.0},
        "mars": {"layers": [1], "threshold": -3.0},
    }
    names = (others[0], "jrs_rem", others[1])
    guard = vg.build_guard("+".join(names), **{name: settings[name] for name in names if name in settings})
    guard.fit(subject, anchors)
    together = guard.respond(subject, asked, max_new_tokens=6)
    assert together == [guard.respond(subject, [query], max_new_tokens=6)[0] for query in asked]
    assert together != subject.generate(asked, max_new_tokens=6)
    guard.save(tmp_path / "guard")
    loaded = vg.load_guard(tmp_path / "guard", subject)
    assert loaded.fingerprint == guard.fingerprint and loaded.respond(subject, asked, max_new_tokens=6) == together
    query = guard.rewrite(asked[0])
    own, text = (subject.record([q])[0, 1] for q in (query, query.without_images()))
    with subject.editing(guard.edits(subject, [query])):
        edited = subject.record([query])[0, 1].numpy()
    parts = {part.name: part for part in guard.parts}
    shown = {"image": None, "text": text.numpy()}
    state = own.numpy().astype(np.float64)
    for name in names:
        if name in settings:
            state = expected_edit(parts[name], 1, state, state, shown)
    np.testing.assert_allclose(edited, state, **CLOSE)


def test_what_it_can_not_do_is_named(subject, anchors):
    guard = vg.build_guard("jrs_rem").fit(subject, anchors)
    with pytest.raises(ValueError, match=r"JRS-Rem measures the shift of the query at hand; use guard.respond"):
        guard.edits(subject, None)
    for settings, message in (
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"shown": "blank"}, "shown is 'blank'; choose one of pass, unguarded"),
        ({"conditions": "film"}, "conditions is 'film'"),
    ):
        with pytest.raises(ValueError, match=message):
            vg.build_guard("jrs_rem", **settings)
