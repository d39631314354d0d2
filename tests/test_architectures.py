"""One matrix: every guard, on every architecture."""

import numpy as np
import pytest
import torch
from helpers.architectures import ARCHITECTURES, tiny_vlm
from helpers.guard_rows import ON_ARCHITECTURES, editing_guards, firing, other_guards, settings_with
from helpers.judging import Judging
from helpers.reference import expected_edit, shifts_at
from helpers.steering import hook_counts

import vlmguard_plugin as vg
from vlmguard_plugin.guards.core.registry import guard_classes
from vlmguard_plugin.guards.ecso import CAPTION, FROM_TEXT

EDITING = [name for name in editing_guards() if name in ON_ARCHITECTURES]
COMPOSED = "tbop+self_reminder"
REWRITING = [name for name in other_guards() if name in ON_ARCHITECTURES and not guard_classes()[name].looks_at_answers]
LAYER = 2


FAST = ("llava", "qwen3_vl")
"""Architectures of the fast part: the plain one, and one that adds between its layers."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in ARCHITECTURES],
)
def subject(request):
    return vg.HuggingFaceSubject(*tiny_vlm(request.param), batch_size=3)


@pytest.fixture(scope="module")
def in_bfloat16(subject):
    name = subject.model.config.model_type
    return vg.HuggingFaceSubject(*tiny_vlm(name, dtype=torch.bfloat16), batch_size=3)


@pytest.fixture(scope="module")
def fitted(subject, anchors):
    return {
        name: firing(vg.build_guard(name, layers=[LAYER], **ON_ARCHITECTURES[name]).fit(subject, anchors))
        for name in EDITING
    }


@pytest.fixture
def asked(pictures):
    return [
        vg.Query("What is this?", (pictures[0],)),
        vg.Query("Just a text"),
        vg.Query("And a much longer question about that there", (pictures[2],)),
        vg.Query.from_parts([("text", "First"), ("image", pictures[1]), ("text", "then this?")]),
    ]


@pytest.mark.parametrize("name", EDITING)
def test_states_are_edited_as_defined(subject, fitted, asked, name):
    guard, hooks = fitted[name], hook_counts(subject)
    plain = subject.record(asked)
    changed = 0.0
    for number, query in enumerate(asked):
        with guard.on(subject, [query]):
            (edited,) = subject.record([query])
        last = plain[number, LAYER].numpy()
        expected = expected_edit(guard, LAYER, last[None], last, shifts_at(subject, guard, query, LAYER))[0]
        np.testing.assert_allclose(edited[LAYER].numpy(), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(edited[:LAYER], plain[number, :LAYER], atol=1e-5, rtol=0)
        changed = max(changed, float((edited[LAYER] - plain[number, LAYER]).abs().max()))
    assert changed > 1e-3
    assert hook_counts(subject) == hooks
    torch.testing.assert_close(subject.record(asked), plain, atol=0, rtol=0)


@pytest.mark.parametrize("name", EDITING)
def test_a_batch_and_a_cache_change_no_answer(subject, fitted, asked, name):
    together = fitted[name].respond(subject, asked, max_new_tokens=2)
    assert together == [fitted[name].respond(subject, [query], max_new_tokens=2)[0] for query in asked]
    assert together == fitted[name].respond(subject, asked, max_new_tokens=2, use_cache=False)


@pytest.mark.parametrize("name", [name for name in EDITING if guard_classes()[name].paper])
def test_as_its_sources_have_it(subject, anchors, asked, name):
    guard = vg.build_guard(name, preset="paper", **({"caption_tokens": 3} if name == "shiftdc" else {}))
    guard.fit(subject, anchors)
    together = guard.respond(subject, asked, max_new_tokens=4)
    assert together == [guard.respond(subject, [query], max_new_tokens=4)[0] for query in asked]


def test_the_last_state_behind_the_final_norm(subject, asked):
    with torch.no_grad():
        model = subject.model(**subject.encode(asked[:1]), output_hidden_states=True)
    reported = model.hidden_states[-1][:, -1].float()
    normalised = subject.normalised(subject.record(asked[:1])[:, -1])
    torch.testing.assert_close(normalised, reported, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", [*REWRITING, COMPOSED])
def test_guards_that_rewrite_the_prompt(subject, anchors, asked, pictures, name):
    guard = vg.build_guard(name, **settings_with(ON_ARCHITECTURES.get(name, {}), pictures[1])).fit(subject, anchors)
    hooks, unguarded = hook_counts(subject), subject.generate(asked, max_new_tokens=2)
    together = guard.respond(subject, asked, max_new_tokens=2)
    assert together == [guard.respond(subject, [query], max_new_tokens=2)[0] for query in asked]
    assert together == guard.respond(subject, asked, max_new_tokens=2, use_cache=False)
    rewritten = subject.record([guard.rewrite(asked[0])])
    assert (rewritten - subject.record(asked[:1])).abs().max() > 1e-2
    assert hook_counts(subject) == hooks and subject.generate(asked, max_new_tokens=2) == unguarded


def test_a_guard_that_looks_at_answers(subject, asked):
    """The model's words are its own, but for its judgement: a random model never says "yes, it is harmful"."""
    settings = ON_ARCHITECTURES["ecso"]
    guard, unguarded = vg.build_guard("ecso", **settings), subject.generate(asked, max_new_tokens=4)
    assert guard.respond(Judging(subject, lambda query: "No."), asked, max_new_tokens=4) == unguarded
    judging = Judging(subject, lambda query: "Yes." if "longer" in query.text else "No.")
    answers = guard.respond(judging, asked, max_new_tokens=4)
    harmful = asked[2]
    (caption,) = subject.generate(
        [harmful.with_text(CAPTION.format(query=harmful.text))], max_new_tokens=settings["caption_tokens"]
    )
    from_text = vg.Query(FROM_TEXT.format(caption=caption, query=harmful.text))
    (again,) = subject.generate([from_text], max_new_tokens=4)
    assert judging.asked[-1] == [from_text] and answers == [*unguarded[:2], again, unguarded[3]]
    assert answers == [guard.respond(judging, [query], max_new_tokens=4)[0] for query in asked]


def test_a_guard_that_draws_answers(subject, asked):
    guard = vg.build_guard("eta", **settings_with(ON_ARCHITECTURES["eta"], ""))
    unguarded = subject.generate(asked, max_new_tokens=4)
    answers = guard.respond(subject, asked, max_new_tokens=4)
    assert answers == [guard.respond(subject, [query], max_new_tokens=4)[0] for query in asked]
    assert answers == guard.respond(subject, asked, max_new_tokens=4, use_cache=False)
    assert [answer.startswith("As an AI assistant") for answer in answers] == [True, False, True, True]
    assert answers[1] == unguarded[1] and subject.generate(asked, max_new_tokens=4) == unguarded


@pytest.mark.parametrize("name", EDITING)
def test_in_bfloat16(in_bfloat16, fitted, asked, name):
    """Within a hundredth of the largest number; the edit itself is larger than that, so that it would be missed."""
    guard = fitted[name]
    if getattr(guard.settings, "condition", False):  # whether it fires is another test's matter
        guard = guard.with_settings(condition=False)
    guard.check_fits(in_bfloat16)
    plain = in_bfloat16.record(asked[:1])[0]
    with guard.on(in_bfloat16, asked[:1]):
        (edited,) = in_bfloat16.record(asked[:1])
    shifts = shifts_at(in_bfloat16, guard, asked[0], LAYER)
    last = plain[LAYER].numpy()
    expected = expected_edit(guard, LAYER, last[None], last, shifts)[0]
    tolerance = 0.006 * np.abs(expected).max()
    assert np.abs(expected - last).max() > 2 * tolerance
    np.testing.assert_allclose(edited[LAYER].numpy(), expected, atol=tolerance, rtol=0)
    assert all(guard.respond(in_bfloat16, asked, max_new_tokens=2))
