"""A picture's features from an earlier layer of the vision encoder: on every architecture, and put back afterwards."""

from types import SimpleNamespace

import pytest
import torch
from helpers.architectures import ARCHITECTURES, tiny_vlm
from helpers.tiny_evaluators import reward_folder
from helpers.tiny_models import tiny_llava

import vlmguard_plugin as vg
from vlmguard_plugin.guards.moderated import REFUSAL
from vlmguard_plugin.hosts.early_layers import attacked, refuse_usual_features
from vlmguard_plugin.steering.decoder import hidden_state
from vlmguard_plugin.steering.early_features import NoEarlyFeatures, early_features, used_blocks, vision_blocks

FAST = ("llava", "qwen3_vl")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in ARCHITECTURES],
)
def each(request):
    """A tiny model of every architecture, as a subject."""
    return vg.HuggingFaceSubject(*tiny_vlm(request.param), batch_size=3)


def spoken(blocks, run):
    """What each block gave when it was called first, by number."""
    given = {}

    def ear(number):
        def hook(module, arguments, output):
            given.setdefault(number, hidden_state(output).detach().clone())

        return hook

    handles = [block.register_forward_hook(ear(number)) for number, block in enumerate(blocks)]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return given


def test_features_come_from_the_layer_and_the_model_is_put_back(each, pictures):
    asked = [vg.Query("What is this?", (pictures[0],))]
    blocks = vision_blocks(each.model, each.decoder)
    before = each.record(asked)
    own = spoken(blocks, lambda: each.record(asked))
    with early_features(each.model, each.decoder, 1):
        early = each.record(asked)
        under = spoken(blocks, lambda: each.record(asked))
    assert torch.equal(under[0], own[0]), "the blocks up to the layer do what they did"
    assert all(torch.equal(under[number], own[0]) for number in under), "all later ones give what the layer gave"
    assert not torch.equal(own[max(own)], own[0])
    assert not torch.allclose(early, before), "the language model sees other features"
    assert torch.equal(each.record(asked), before), "and the usual ones afterwards"
    assert not any("forward" in vars(block) for block in blocks)


def test_they_are_what_the_model_itself_calls_that_layer(subject, pictures):
    inputs = subject.encode([vg.Query("What is this?", (pictures[1],))])
    asked = {"pixel_values": inputs["pixel_values"]}

    def features(**named):
        found = subject.model.model.get_image_features(**asked, **named)
        return torch.cat(list(getattr(found, "pooler_output", found)))

    with torch.no_grad():
        for layer in (1, 2):
            expected = features(vision_feature_layer=layer)
            with early_features(subject.model, subject.decoder, layer):
                assert torch.equal(features(), expected)


def test_layers_that_are_not_earlier_are_refused(subject):
    blocks = vision_blocks(subject.model, subject.decoder)
    assert (len(blocks), used_blocks(subject.model, blocks)) == (4, 3), "LLaVA takes the last but one"
    for layer in (3, 4, 40, 0):
        with pytest.raises(NoEarlyFeatures, match=f"early{layer}: .* come through 3 blocks .* from 1 to 2"):
            with early_features(subject.model, subject.decoder, layer):
                pass


def test_an_attack_that_was_none_is_refused(subject, pictures):
    with pytest.raises(NoEarlyFeatures, match="no block of LlavaFor.* was called"):
        with early_features(subject.model, subject.decoder, 1):
            subject.record([vg.Query("Just words")])
    with early_features(subject.model, subject.decoder, None):
        subject.record([vg.Query("Just words")])


def test_where_a_guard_refuses_beforehand_nothing_is_missed(subject, pictures):
    """A filter that refuses the request leaves the model unasked, and so no picture is seen."""
    settings = {"guard_model": reward_folder(labels=2), "api": "classifier", "unsafe_labels": "LABEL_1"}
    guard = vg.build_guard("moderated", **settings, threshold=0.0, looks_at="input")
    with early_features(subject.model, subject.decoder, 1):
        assert guard.respond(subject, [vg.Query("What is this?", (pictures[0],))]) == [REFUSAL]
    assert not subject.decoder.layers[0]._forward_pre_hooks


def test_a_failure_meanwhile_goes_through_and_the_model_is_put_back(subject):
    with pytest.raises(RuntimeError, match="meanwhile"):
        with early_features(subject.model, subject.decoder, 1):
            raise RuntimeError("meanwhile")
    assert not any("forward" in vars(block) for block in vision_blocks(subject.model, subject.decoder))


def test_a_model_without_one_vision_encoder_is_refused(subject):
    model = tiny_llava()
    model.config.vision_config.num_hidden_layers = 17
    with pytest.raises(NoEarlyFeatures, match="has 0 lists of blocks"):
        vision_blocks(model, subject.decoder)


def test_guards_and_their_own_questions_are_attacked_too(subject, pictures):
    asked = [vg.Query("What is this?", (picture,)) for picture in pictures]
    guard = vg.build_guard("self_reminder")
    own = SimpleNamespace(torch_model=subject.model, decoder=subject.decoder)
    plain = guard.respond(subject, asked, max_new_tokens=6)
    with attacked(own, 1):
        early = guard.respond(subject, asked, max_new_tokens=6)
    with attacked(own, None):
        again = guard.respond(subject, asked, max_new_tokens=6)
    assert early != plain == again


def test_models_of_the_hosts_own_are_refused():
    with pytest.raises(ValueError, match="Requests_x_picture\\+early3 asks for features of an earlier layer"):
        refuse_usual_features("Requests_x_picture+early3", followed=False)
    refuse_usual_features("Requests_x_picture+early3", followed=True)
    refuse_usual_features("Requests_x_picture", followed=False)


def test_an_engine_that_keeps_its_vision_encoder_is_refused_in_a_line():
    with attacked(object(), None):
        pass
    with pytest.raises(NoEarlyFeatures, match="early2.* can't be taken in object.*use engine=transformers"):
        attacked(object(), 2)
