"""Conversations and messages of several images, in the library."""

import numpy as np
import pytest
import torch
from helpers.conversations import said
from helpers.guard_rows import IN_CONVERSATIONS, editing_guards
from helpers.reference import expected_edit, layer_states, shifts_at
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.query import BlankImage, image_size

LAYER = 2


@pytest.fixture
def asked(pictures):
    """Conversations with images before, in both, in none, in the request alone; and a request of its own."""
    first, second, third = (Image.open(path) for path in pictures)
    return [
        vg.Query("And what else?", history=(said("user", first, "What is this?"), said("assistant", "A box."))),
        vg.Query(
            "Which is larger?", (second,), history=(said("user", "See", third, "here"), said("assistant", "Yes?"))
        ),
        vg.Query("And then?", history=(said("system", "Be short."), said("user", "Hello"), said("assistant", "Hi!"))),
        vg.Query("Tell me more", (first,), history=(said("user", "Hello"), said("assistant", "Hi!"))),
        vg.Query("Just a text"),
        vg.Query.from_parts(
            [("text", "One"), ("image", first), ("text", "two"), ("image", third)],
            (said("user", second), said("assistant", "A.")),
        ),
    ]


def test_the_prompt_is_the_conversation(subject, asked):
    assert subject.prompt(asked[0]) == "user: <image>\nWhat is this?assistant: A box.user: And what else?assistant:"
    assert subject.prompt(asked[1]) == "user: See<image>\nhereassistant: Yes?user: <image>\nWhich is larger?assistant:"
    assert subject.prompt(asked[2]) == "system: Be short.user: Helloassistant: Hi!user: And then?assistant:"
    assert subject.prompt(asked[5]) == "user: <image>\nassistant: A.user: One<image>\ntwo<image>\nassistant:"
    assert [len(query.all_images) for query in asked] == [1, 2, 0, 1, 0, 3]
    assert [image.size for image in asked[5].all_images] == [(28, 28), (40, 30), (60, 90)]
    pixels = subject.encode([asked[5]])["pixel_values"]
    alone = [subject.encode([vg.Query("x", (image,))])["pixel_values"] for image in asked[5].all_images]
    torch.testing.assert_close(pixels, torch.cat(alone))


def test_nothing_of_a_conversation_is_lost(asked):
    query = asked[1]
    for changed in (query.with_text("Other"), query.wrapped("a ", " b"), asked[5].wrapped("a ", " b")):
        assert changed.history in (query.history, asked[5].history) and changed.images in (
            query.images,
            asked[5].images,
        )
    assert asked[5].wrapped("a ", " b").parts()[0] == ("text", "a One")
    assert query.with_text("Other").turns()[-1] == said("user", query.images[0], "Other")
    text = query.without_images()
    assert text.turns() == [said("user", "See", "here"), said("assistant", "Yes?"), said("user", "Which is larger?")]
    assert asked[5].without_images().history == (said("user", ""), said("assistant", "A."))
    blank = query.with_blank_images("white")
    assert blank.all_images == (BlankImage("white", (60, 90)), BlankImage("white", (28, 28)))
    assert [turn.role for turn in blank.turns()] == ["user", "assistant", "user"] and blank.history[0].parts[0] == (
        "text",
        "See",
    )
    added = asked[2].with_blank_images()
    assert (
        added.history == asked[2].history
        and added.images == (BlankImage("white"),)
        and image_size(added.images[0]) is None
    )
    assert asked[0].with_blank_images().images == () and len(asked[0].with_blank_images().all_images) == 1


def test_wrong_turns_are_said():
    with pytest.raises(ValueError, match="role of a turn is 'human'; choose one of user, assistant, system"):
        said("human", "Hello")
    with pytest.raises(ValueError, match="kind 'video'"):
        vg.Turn("user", (("video", "film.mp4"),))
    with pytest.raises(TypeError, match="parts of a turn are a string"):
        vg.Turn("user", "Hello")
    with pytest.raises(TypeError, match="query history holds 'Hello'"):
        vg.Query("x", history=("Hello",))


def test_batches_answer_as_one_at_a_time(subject, asked):
    alone = vg.HuggingFaceSubject(subject.model, subject.processor, batch_size=1)
    torch.testing.assert_close(subject.record(asked), alone.record(asked), atol=1e-4, rtol=0)
    np.testing.assert_allclose(subject.record(asked)[:, :-1].numpy(), layer_states(subject, asked)[:, :-1], atol=1e-4)
    assert subject.generate(asked, max_new_tokens=6) == alone.generate(asked, max_new_tokens=6)
    assert not torch.allclose(subject.record(asked[:1]), subject.record([vg.Query(asked[0].text)]), atol=1e-2)


@pytest.mark.parametrize("name", [name for name in editing_guards() if name in IN_CONVERSATIONS])
def test_guards_edit_the_last_token_of_the_conversation(subject, anchors, asked, name):
    guard = vg.build_guard(name, layers=[LAYER], positions="last", **IN_CONVERSATIONS[name]).fit(subject, anchors)
    plain, moved = subject.record(asked), []
    for number, query in enumerate(asked):
        with guard.on(subject, [query]):
            (edited,) = subject.record([query])
        shifts = shifts_at(subject, guard, query, LAYER)
        last = plain[number, LAYER].numpy()
        np.testing.assert_allclose(
            edited[LAYER].numpy(), expected_edit(guard, LAYER, last[None], last, shifts)[0], atol=2e-4
        )
        moved.append(not np.allclose(edited[LAYER].numpy(), last, atol=1e-2))
    assert any(moved)
    if name in ("cmrm", "cmrm_sample", "jrs_rem"):
        assert moved == [bool(query.all_images) for query in asked], "an image of an earlier turn counts"
    alone = vg.HuggingFaceSubject(subject.model, subject.processor, batch_size=1)
    assert guard.respond(subject, asked, max_new_tokens=4) == guard.respond(alone, asked, max_new_tokens=4)


def test_guards_that_rewrite_or_look_at_answers(subject, asked, tmp_path):
    (before, after) = vg.build_guard("self_reminder").rewrite(asked[1]).text.split(asked[1].text)
    assert before and vg.build_guard("self_reminder").rewrite(asked[1]).history == asked[1].history
    Image.new("RGB", (40, 40), "white").save(tmp_path / "border.png")
    bordered = vg.build_guard("visual_prompt", image=str(tmp_path / "border.png")).rewrite(asked[1])
    assert [image.size for image in bordered.all_images] == [(40, 40)] * 2, "earlier turns were shown with it as well"
    asked_of = []

    class Says:
        def generate(self, queries, edits=None, **generation):
            asked_of.extend(queries)
            return ["Yes." if "harmful, illegal" in query.text else "A box." for query in queries]

    assert vg.build_guard("ecso").respond(Says(), asked[:1]) == ["A box."]
    assert [len(query.all_images) for query in asked_of] == [1, 1, 1, 0]
    assert all(query.history[-1] == asked[0].history[-1] for query in asked_of), (
        "the conversation stays before each question"
    )
    (captioned,) = vg.build_guard("shiftdc", caption_tokens=2).captioned(subject, asked[1:2])
    assert (
        not captioned.all_images
        and captioned.text.endswith("\nWhich is larger?")
        and captioned.history == asked[1].without_images().history
    )
