"""Guards on a host's own model objects, whose prompts, images and decoding stay theirs."""

import numpy as np
import pytest
import torch
from helpers.architectures import tiny_vlm
from helpers.guard_rows import ON_HOST_MODELS, editing_guards
from helpers.host_models import RemoteStyleVLM, TransformersVLM
from helpers.reference import expected_edit, shifts_at
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.steering.decoder import DecoderNotFound
from vlmguard_plugin.steering.edit import POSITIONS
from vlmguard_plugin.subjects.host_object import HostSubject

KINDS = {
    "transformers": TransformersVLM,
    "remote": RemoteStyleVLM,
    "remote without cache": lambda: RemoteStyleVLM(cached=False),
}
LAYER = 1


@pytest.fixture(scope="module", params=KINDS)
def subject(request):
    return HostSubject(KINDS[request.param]())


@pytest.fixture
def asked(pictures):
    return [vg.Query("What is this?", (pictures[0],)), vg.Query("Just a text"), vg.Query("And that?", (pictures[2],))]


def hooks(subject):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in subject._found[0].modules())


@pytest.mark.parametrize("name", [name for name in editing_guards() if name in ON_HOST_MODELS])
def test_states_are_edited_as_defined(subject, anchors, asked, name):
    guard = vg.build_guard(name, layers=[LAYER], **ON_HOST_MODELS[name]).fit(subject, anchors)
    plain = subject.record(asked)
    unguarded = subject.generate(asked)
    before = hooks(subject)  # transformers keeps some of its own from the first pass on
    for number, query in enumerate(asked):
        with guard.on(subject, [query]):
            (edited,) = subject.record([query])
        shifts = shifts_at(subject, guard, query, LAYER)
        last = plain[number, LAYER].numpy()
        np.testing.assert_allclose(
            edited[LAYER].numpy(), expected_edit(guard, LAYER, last[None], last, shifts)[0], atol=1e-4
        )
    answers = guard.respond(subject, asked)
    assert answers != unguarded
    if name in ("cmrm", "cmrm_sample", "shiftdc", "jrs_rem"):
        assert answers[1] == unguarded[1]
    assert hooks(subject) == before and subject.generate(asked) == unguarded


@pytest.mark.parametrize("name", ["cmrm", "vlm_guard"])
def test_questions_put_to_the_hosts_object_itself_are_guarded_alike(subject, anchors, asked, name):
    """By the host, not by us: each is a prompt of its own, and its pictures are known."""
    guard = vg.build_guard(name, layers=[LAYER], **ON_HOST_MODELS[name]).fit(subject, anchors)
    expected, unguarded = guard.respond(subject, asked), subject.generate(asked)
    put = [{"message": subject.message(query), "dataset": None} for query in asked]
    with guard.on(subject), torch.no_grad():
        assert [subject.vlm.generate(**one) for one in put] == expected
        assert [subject.vlm.generate(one["message"]) for one in reversed(put)] == expected[::-1]
    with torch.no_grad():
        assert [subject.vlm.generate(**one) for one in put] == unguarded
    assert not {"generate", "chat_inner"} & set(vars(subject.vlm))


def test_what_a_host_says_of_an_image_is_not_kept_for_the_next_message(pictures):
    subject = HostSubject(TransformersVLM())
    part = {"type": "image", "value": pictures[0]}
    assert subject.message(subject.query([{**part, "min_pixels": 2}])) == [{**part, "min_pixels": 2}]
    assert subject.message(subject.query([part])) == [part]


def test_the_cache_changes_no_guarded_answer(anchors, asked):
    """A model that decodes in a loop of its own, with and without a cache, is edited alike."""
    answers = {}
    for positions in POSITIONS:
        for cached in (True, False):
            subject = HostSubject(RemoteStyleVLM(cached=cached))
            guard = vg.build_guard("refusal_direction", layers=[LAYER], alpha=3.0, positions=positions).fit(
                subject, anchors
            )
            answers[positions, cached] = guard.respond(subject, asked)
        assert answers[positions, True] == answers[positions, False]
    assert len({tuple(given) for given in answers.values()}) >= 3


def test_a_prompt_without_the_hosts_template_is_refused(anchors, asked):
    """The host builds its prompts by itself: what stands there would not be what was asked for."""
    guard = vg.build_guard("shiftdc", chat_template=False, layers=[LAYER])
    with pytest.raises(ValueError, match="builds its prompts by itself, so one that stands as it is .*chat_template"):
        guard.fit(HostSubject(RemoteStyleVLM()), anchors)


def test_it_answers_as_the_library_does(anchors, asked):
    """The same transformers model by way of a host's class and directly."""
    host, direct = HostSubject(TransformersVLM()), vg.HuggingFaceSubject(*tiny_vlm("llava"), batch_size=1)
    assert host.fingerprint == direct.fingerprint
    torch.testing.assert_close(host.record(asked), direct.record(asked), atol=1e-5, rtol=0)
    guard = vg.build_guard("vlm_guard", layers=[1, 2], alpha=2.0).fit(direct, anchors)
    assert guard.respond(host, asked) == guard.respond(direct, asked, max_new_tokens=5)


def test_the_hosts_message_is_put_as_it_came(pictures):
    subject = HostSubject(TransformersVLM())
    message = [
        {"type": "text", "value": "First"},
        {"type": "text", "value": "then"},
        {"type": "image", "value": pictures[0], "min_pixels": 784},
        {"type": "text", "value": "last"},
    ]
    query = subject.query(message)
    assert subject.message(query) == message and query.text == "First\nthen\nlast"
    with pytest.raises(ValueError, match="kind 'video'"):
        subject.query([{"type": "video", "value": "film.mp4"}])


def test_ecso_and_prompts_work_without_a_decoder(pictures):
    class Api:
        def generate(self, message, dataset=None):
            return "No."

    subject = HostSubject(Api())
    asked = [vg.Query("What is this?", (pictures[0],))]
    assert vg.build_guard("self_reminder").respond(subject, asked) == ["No."]
    assert vg.build_guard("ecso").respond(subject, asked) == ["No."]
    with pytest.raises(DecoderNotFound, match="Api holds no torch model"):
        subject.num_layers


def test_a_decoder_that_can_not_be_told_is_asked_for():
    """Without a config the vision tower, which here runs on text too, looks like a decoder as well."""
    vlm = RemoteStyleVLM(tells_shape=False)
    with pytest.raises(DecoderNotFound, match="2 lists of modules.*layers_path"):
        HostSubject(vlm).num_layers
    subject = HostSubject(vlm, layers_path="transformer.h")
    assert (subject.num_layers, subject.hidden_size) == (3, 24)


@pytest.mark.parametrize("architecture, options", [("mllama", {}), ("llava", {"num_beams": 3})])
def test_a_decoder_is_found_in_an_answer_of_several_tokens(architecture, options, anchors, asked):
    """Also where layers are silent on text, so that no pass is heard whole, and where a search has several rows."""
    subject = HostSubject(TransformersVLM(architecture=architecture))
    subject.vlm.kwargs.update(options)
    direct = vg.HuggingFaceSubject(*tiny_vlm(architecture), batch_size=1)
    assert (subject.decoder.path, subject.decoder.numbers) == (direct.decoder.path, direct.decoder.numbers)
    torch.testing.assert_close(subject.record(asked), direct.record(asked), atol=1e-5, rtol=0)
    guard = vg.build_guard("refusal_direction", layers=[LAYER], alpha=6.0).fit(subject, anchors)
    assert guard.respond(subject, asked) == guard.respond(direct, asked, max_new_tokens=5, **options)


def test_pictures_that_differ_in_their_palette_alone_are_two_files():
    """Their pixels are the same numbers, which mean other colours."""
    palette = [
        Image.new("RGB", (8, 8), colour).convert("P", palette=Image.Palette.ADAPTIVE) for colour in ("red", "blue")
    ]
    assert palette[0].tobytes() == palette[1].tobytes()
    subject = HostSubject(TransformersVLM())
    red, blue = (Image.open(subject.pictures.file(picture)).getpixel((0, 0)) for picture in palette)
    assert (red, blue) == ((255, 0, 0), (0, 0, 255))
    assert Image.open(subject.pictures.file(Image.new("CMYK", (8, 8)))).mode == "RGB"
