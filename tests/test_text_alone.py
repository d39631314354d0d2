"""Host classes that reckon with a picture, asked without one: helped, recorded beside, or refused in one line."""

import pytest
import torch
from helpers.host_models import RemoteStyleVLM, TransformersVLM
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.steering.decoder import DecoderNotFound


class SharesTiles(RemoteStyleVLM):
    """In the manner of InternVLChat: tiles are shared out among the images."""

    def __init__(self):
        super().__init__()
        self.tiles = 6

    def generate(self, message, dataset=None):
        self.all_tiles = 64
        images = sum(part["type"] == "image" for part in message)
        assert max(1, min(self.tiles, self.all_tiles // images)) <= 6
        return super().generate(message, dataset)


class HandsOverEmptyList(TransformersVLM):
    """In the manner of SmolVLM: the processor gets a list of images, whether it holds any or not. None it takes."""

    def __init__(self):
        super().__init__()
        kind = type(self.processor)

        def call(processor, *args, images=None, **kwargs):
            if images is not None and not len(images):
                raise ValueError("no images")
            return kind.__call__(processor, *args, images=images, **kwargs)

        self.processor.__class__ = type(kind.__name__, (kind,), {"__call__": call})

    def generate(self, message, dataset=None):
        text = "".join("<image>" if part["type"] == "image" else part["value"] for part in message)
        images = [Image.open(part["value"]).convert("RGB") for part in message if part["type"] == "image"]
        inputs = self.processor(text=[text], images=images, return_tensors="pt").to(self.model.dtype)
        tokens = self.model.generate(**inputs, do_sample=False, **self.kwargs)
        return self.processor.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :])


class OpensPicture(TransformersVLM):
    """In the manner of PaliGemma: opens the one picture of a request, which has to be there."""

    def generate(self, message, dataset=None):
        (image,) = [part["value"] for part in message if part["type"] == "image"]
        text = "<image>" + "".join(part["value"] for part in message if part["type"] == "text")
        inputs = self.processor(text=[text], images=[Image.open(image).convert("RGB")], return_tensors="pt")
        return self.decoded(inputs)

    def decoded(self, inputs):
        tokens = self.model.generate(**inputs, do_sample=False, **self.kwargs)
        return self.processor.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :])


class NeedsPicture(OpensPicture):
    """Looks at the pixels as well."""

    def decoded(self, inputs):
        assert inputs["pixel_values"].shape[0] == 1
        return super().decoded(inputs)


def fitted(vlm, anchors):
    subject = vg.HostSubject(vlm)
    return subject, vg.build_guard("refusal_direction", layers=[1], alpha=4.0).fit(subject, anchors)


def test_a_division_by_no_images(anchors, pictures, capsys):
    subject, guard = fitted(SharesTiles(), anchors)
    (line,) = capsys.readouterr().err.splitlines()
    assert "SharesTiles breaks on a request without a picture (ZeroDivisionError" in line
    plain = vg.HostSubject(RemoteStyleVLM())
    asked = [vg.Query("What is this?", (pictures[0],)), vg.Query("Just a text")]
    torch.testing.assert_close(subject.record(asked), plain.record(asked))
    same = vg.build_guard("refusal_direction", layers=[1], alpha=4.0).fit(plain, anchors)
    assert guard.respond(subject, asked) == same.respond(plain, asked) != subject.generate(asked)
    assert type(subject.vlm) is SharesTiles and type(subject.vlm.tiles) is type(subject.vlm.all_tiles) is int


def test_ecso_needs_no_decoder_and_is_helped_all_the_same(pictures):
    answers = vg.build_guard("ecso").respond(vg.HostSubject(SharesTiles()), [vg.Query("Hi", (pictures[0],))])
    assert len(answers) == 1


def test_an_empty_list_of_images(anchors, pictures, capsys):
    subject, guard = fitted(HandsOverEmptyList(), anchors)
    assert "HandsOverEmptyList breaks on a request without a picture (ValueError: no images)" in capsys.readouterr().err
    asked = [vg.Query("What is this?", (pictures[0],)), vg.Query("Just a text")]
    assert guard.respond(subject, asked) != subject.generate(asked)
    with pytest.raises(ValueError, match="no images"):
        subject.vlm.generate(subject.message(asked[1]))  # the class itself is left as it was


@pytest.mark.parametrize("name", ["refusal_direction", "cmrm", "shiftdc"])
def test_a_picture_that_is_left_out_again(name, anchors, pictures, capsys):
    """The host's own prompt, less the picture's tokens: text alone, also to guards that act beside pictures only."""
    subject = vg.HostSubject(OpensPicture())
    guard = vg.build_guard(name, layers=[1], alpha=30.0).fit(subject, anchors)
    (line,) = [said for said in capsys.readouterr().err.splitlines() if said.startswith("vlmguard: OpensPicture")]
    assert "(ValueError: not enough values to unpack" in line and "left out of the prompt" in line
    model, tokenizer = subject.vlm.model, subject.vlm.processor.tokenizer
    text, pictured = vg.Query("Just a text"), vg.Query("Just a text", (pictures[0],))
    with torch.no_grad():
        plain = model(**tokenizer(["Just a text"], return_tensors="pt"), output_hidden_states=True)
    states = torch.stack([layer[0, -1] for layer in plain.hidden_states[1:]])
    recorded = subject.record([text])[0]
    torch.testing.assert_close(recorded[:-1], states[:-1])  # behind the last one the library norms
    assert not torch.allclose(subject.record([pictured])[0], recorded)
    assert guard.respond(subject, [pictured]) != subject.generate([pictured])
    assert (guard.respond(subject, [text]) == subject.generate([text])) == (name != "refusal_direction")
    assert type(subject.vlm.processor).__call__ is type(TransformersVLM().processor).__call__


def test_states_recorded_beside_the_hosts_class(anchors, pictures, capsys):
    """By the same decoder, which is edited while the host's own `generate` answers."""
    subject, guard = fitted(NeedsPicture(), anchors)
    (line,) = capsys.readouterr().err.splitlines()
    assert "NeedsPicture can't be asked without a picture" in line and "answers stay the host's" in line
    direct = vg.HuggingFaceSubject(subject.vlm.model, subject.vlm.processor, batch_size=1)
    asked = [vg.Query("What is this?", (pictures[0],)), vg.Query("Just a text")]
    torch.testing.assert_close(subject.record(asked), direct.record(asked))
    assert subject.decoder.layers == direct.decoder.layers
    expected = guard.edits(subject, None)
    (pictured,) = asked[:1]
    with direct.editing(expected):  # the host's prompt is another than the chat template's
        by_hand = subject.vlm.generate(subject.message(pictured))
    assert guard.respond(subject, [pictured]) == [by_hand] != subject.generate([pictured])
    edited = direct.record(asked, expected)
    with guard.on(subject):
        torch.testing.assert_close(subject.record(asked), edited)
    assert guard.facts["model"]["prompt_form"].startswith("NeedsPicture+processor-")
    with pytest.raises(ValueError, match="unpack"):
        subject.generate(asked[1:])  # a request that the host's class can't answer stays its own error


@pytest.mark.parametrize("name", ["cmrm", "shiftdc"])
def test_guards_that_look_at_pictures_beside_the_hosts_class(name, anchors, pictures):
    subject = vg.HostSubject(NeedsPicture())
    guard = vg.build_guard(name, layers=[1], alpha=30.0).fit(subject, anchors)
    asked = [vg.Query("What is this?", (pictures[0],))]
    assert guard.respond(subject, asked) != subject.generate(asked)


def test_a_picture_that_can_not_be_left_out_is_not_taken_for_none(anchors):
    """Without a processor to leave it out, a blank picture would be seen."""

    class OpensOne(RemoteStyleVLM):
        def generate(self, message, dataset=None):
            (image,) = [part for part in message if part["type"] == "image"]
            return super().generate(message, dataset)

    with pytest.raises(DecoderNotFound, match="OpensOne could not be run on a prompt without an image"):
        fitted(OpensOne(), anchors)


def test_what_works_neither_way_is_refused_in_one_line(anchors):
    class Bare(NeedsPicture):
        def __init__(self):
            super().__init__()
            self.processor.chat_template = self.processor.tokenizer.chat_template = None

    with pytest.raises(
        DecoderNotFound, match="Bare could not be run on a prompt without an image.*ValueError"
    ) as error:
        fitted(Bare(), anchors)
    assert "\n" not in str(error.value)
