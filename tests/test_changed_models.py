"""Guards on models that change after the subject was made, that decode by themselves, and in contexts of any order."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from helpers.architectures import tiny_vlm
from helpers.host_models import RemoteStyleVLM, TransformersVLM
from helpers.steering import AddConstant, ByTheLastToken, hook_counts
from helpers.tiny_models import tiny_llava

import vlmguard_plugin as vg
from vlmguard_plugin.guards.core.cached import load_or_fit
from vlmguard_plugin.steering.edit import Edits
from vlmguard_plugin.subjects.host_object import HostSubject

ASKED = [vg.Query("Hi"), vg.Query("A much longer request about boats")]
GREEDY = {"do_sample": False, "max_new_tokens": 5}


EDITS = Edits({1: ByTheLastToken()}, "all")


# Models that change after the subject was made


def wrapped(model):
    class Wrapper(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, *args, **kwargs):
            return self.inner(*args, **kwargs)

        def __getattr__(self, name):
            return super().__getattr__(name) if name == "inner" else getattr(self.inner, name)

    layers = model.model.language_model.layers
    for number, layer in enumerate(layers):
        layers[number] = Wrapper(layer)


CHANGES = {
    "another model": lambda subject: setattr(subject, "model", tiny_llava().eval()),
    "other layers": lambda subject: setattr(
        subject.model.model.language_model, "layers", tiny_llava().model.language_model.layers
    ),
    "another language model": lambda subject: setattr(
        subject.model.model, "language_model", tiny_llava().eval().model.language_model
    ),
    "wrapped layers": lambda subject: wrapped(subject.model),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_guard_acts_on_the_modules_there_are_now(change, fresh, subject, anchors):
    guard = vg.build_guard("vlm_guard", layers=[1], alpha=3.0).fit(fresh, anchors)
    CHANGES[change](fresh)
    assert guard.respond(fresh, ASKED, max_new_tokens=4) == guard.respond(subject, ASKED, max_new_tokens=4)
    assert guard.respond(fresh, ASKED, max_new_tokens=4) != fresh.generate(ASKED, max_new_tokens=4)


def test_a_hosts_model_that_is_replaced_is_found_again(pictures):
    subject = HostSubject(TransformersVLM())
    asked = [vg.Query("What is this?", (pictures[0],))]
    edited = subject.generate(asked, EDITS)
    subject.vlm.model, _ = tiny_vlm("llava")
    assert subject.generate(asked, EDITS) == edited != subject.generate(asked)


# Hosts' models that decode by themselves


@pytest.mark.parametrize("cached", [True, False])
def test_each_question_to_a_hosts_model_is_decided_for_itself(cached, pictures):
    subject = HostSubject(RemoteStyleVLM(cached=cached))
    asked = [vg.Query("What is this?", (pictures[0],)), vg.Query("abc"), vg.Query("a much longer request")]
    apart = [subject.generate([query], EDITS)[0] for query in asked]
    with subject.editing(EDITS):
        assert subject.generate(asked) == apart
        states = subject.record(asked)
    torch.testing.assert_close(states, torch.cat([subject.record([query], EDITS) for query in asked]))


def test_a_hosts_model_that_generates_twice_for_one_answer_is_edited_twice(pictures):
    class Twice(TransformersVLM):
        def generate(self, message, dataset=None):
            return super().generate(message, dataset) + "|" + super().generate(message[-1:], dataset)

    asked, edits = vg.Query("What is this?", (pictures[0],)), Edits({1: ByTheLastToken(by_picture=0)}, "all")
    (both,) = HostSubject(Twice()).generate([asked], edits)
    once = HostSubject(TransformersVLM())
    assert both.split("|") == once.generate([asked, asked.without_images()], edits)


# Contexts


def test_contexts_closed_in_any_order_leave_nothing(subject):
    before, generate = hook_counts(subject), subject.model.generate
    first, second = subject.editing(EDITS), subject.editing(Edits({2: AddConstant(1.0)}))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    alone = subject.generate(ASKED, max_new_tokens=3)
    second.__exit__(None, None, None)
    assert alone == subject.generate(ASKED, Edits({2: AddConstant(1.0)}), max_new_tokens=3)
    assert hook_counts(subject) == before and subject.model.generate == generate
    assert "generate" not in vars(subject.model) and not subject.is_edited


def test_nor_on_another_that_shares_its_layers(fresh, anchors):
    guard = vg.build_guard("cmrm").fit(fresh, anchors)
    sharing = tiny_llava(seed=3)
    sharing.model.language_model = fresh.model.model.language_model
    other = vg.HuggingFaceSubject(sharing, fresh.processor)
    with guard.on(fresh):
        assert other.is_edited
        with pytest.raises(RuntimeError, match="while a guard is on the model"):
            vg.build_guard("cmrm").fit(other, anchors)
    assert not other.is_edited


def test_a_part_that_is_fitted_again_is_the_compositions(fresh, anchors, tmp_path):
    together = vg.build_guard("cmrm+tbop").fit(fresh, anchors)
    before = together.fingerprint
    others = replace(anchors, pairs=tuple(replace(pair, harmful=f"{pair.harmful} Now!") for pair in anchors.pairs))
    together.parts[0].fit(fresh, others)
    together.save(tmp_path / "guard")
    assert together.fingerprint != before
    assert vg.load_guard(tmp_path / "guard").fingerprint == together.fingerprint


def test_no_guard_is_fitted_on_a_guarded_model_by_mistake(subject, anchors, tmp_path):
    guard = vg.build_guard("vlm_guard").fit(subject, anchors)
    for fit in (
        partial(vg.build_guard("cmrm").fit, subject, anchors),
        partial(load_or_fit, vg.build_guard("cmrm"), subject, anchors, tmp_path),
    ):
        with guard.on(subject), pytest.raises(RuntimeError, match="can't be fitted while a guard is on the model"):
            fit()
    assert not [path for path in tmp_path.rglob("guard.json")]


@pytest.mark.parametrize("name", ["vlm_guard+self_reminder", "self_reminder+cmrm", "vlm_guard+ecso"])
def test_a_part_that_a_context_would_leave_out_is_refused(name, subject, anchors):
    guard = vg.build_guard(name).fit(subject, anchors)
    with pytest.raises(ValueError, match="acts on the prompt or the answer, not on hidden states; use guard.respond"):
        with guard.on(subject):
            pass
