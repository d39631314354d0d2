"""Requests to a host's own model object in one batch: answers as one by one, or asked one by one, and said so."""

from functools import wraps

import pytest
import torch
from helpers.architectures import tiny_vlm
from helpers.host_models import RemoteStyleVLM, TransformersVLM
from PIL import Image
from transformers import GenerationMixin

import vlmguard_plugin as vg
from vlmguard_plugin.subjects.host_object import HostSubject

TOGETHER = "asked the rows to come in one batch"
GUARDS = {
    "vlm_guard": {"layers": [1, 2], "alpha": 2.0},
    "cmrm": {"layers": [1], "alpha": 2.0},
    "cmrm_sample": {"layers": [1], "alpha": 2.0},
    "shiftdc": {"layers": [1], "alpha": 3.0, "caption_tokens": 3},
    "self_reminder": {},
    "ecso": {},
}
RECORDING = ("cmrm_sample", "shiftdc")
"""Guards that look at hidden states of each query, one by one, before they answer."""


@pytest.fixture
def asked(pictures):
    """Prompts of different lengths; two that differ in their picture alone, and one that is there twice."""
    texts = ["What is this?", "What is this?", "And that, please?", "Why?", "What is this?", "Is it a very long one?"]
    return [vg.Query(text, (pictures[place],)) for text, place in zip(texts, (0, 1, 2, 1, 0, 2))]


@pytest.fixture
def rows_generated(monkeypatch):
    """How many rows each call of transformers' `generate` had, in order."""
    rows, generate = [], GenerationMixin.generate

    def counted(self, *args, **kwargs):
        rows.append(len(kwargs["input_ids"]))
        return generate(self, *args, **kwargs)

    monkeypatch.setattr(GenerationMixin, "generate", counted)
    return rows


def of_size(size, vlm):
    subject = HostSubject(vlm)
    assert subject.look_for_batches() or size == 1 or subject.batches.alone
    subject.batch_size = size
    return subject


@pytest.mark.parametrize(
    "name", ["llava", "llava_next", "qwen2_vl", "qwen3_vl", "internvl", "idefics3", "gemma3", "mllama"]
)
def test_a_batch_answers_as_its_requests_do(name, asked, anchors, rows_generated, capsys):
    vlm = TransformersVLM(architecture=name)
    alone, together = of_size(1, vlm), of_size(4, vlm)
    guard = vg.build_guard("refusal_direction", layers=[1], alpha=6.0).fit(alone, anchors)
    expected, unguarded = guard.respond(alone, asked), alone.generate(asked)
    assert expected != unguarded
    rows_generated.clear()
    assert guard.respond(together, asked) == expected and together.generate(asked) == unguarded
    assert TOGETHER in capsys.readouterr().err
    rows_generated.clear()
    together.generate(asked)
    assert rows_generated == [4, 2]


@pytest.mark.parametrize("name", GUARDS)
def test_every_kind_of_guard_is_followed_in_a_batch(name, asked, anchors, rows_generated):
    vlm = TransformersVLM()
    alone, together = of_size(1, vlm), of_size(4, vlm)
    asked = [*asked, vg.Query("Just a text"), vg.Query("And one more text, please")]
    guard = vg.build_guard(name, **GUARDS[name])
    guard = guard.fit(alone, anchors) if guard.needs_fit else guard
    expected = guard.respond(alone, asked, max_new_tokens=4)
    for _ in range(3):  # how text is put is found out, then whether it can be batched
        rows_generated.clear()
        assert guard.respond(together, asked, max_new_tokens=4) == expected
    assert 4 in rows_generated and (1 not in rows_generated or name in RECORDING)
    assert "generate" not in vars(vlm.model)


class Other(TransformersVLM):
    """A class whose `generate` is told of what it gives its model, and may change it."""

    def __init__(self, change=None, **options):
        super().__init__()
        self.kwargs.update(options)
        self.change, self.asked = change, 0

    def generate(self, message, dataset=None):
        self.asked += 1
        if self.change:
            self.change(self, message)
        return super().generate(message, dataset)


def length_by_words(vlm, message):
    vlm.kwargs["max_new_tokens"] = 2 + (len(message[-1]["value"]) > 13)


def drawn_prompt(vlm, message):
    message[-1]["value"] += "!" * vlm.asked


class Swallows(TransformersVLM):
    def generate(self, message, dataset=None):
        try:
            return super().generate(message, dataset)
        except BaseException as error:
            return f"failed: {type(error).__name__}"


class LooksFirst(TransformersVLM):
    """Runs its model by itself before it decodes."""

    def generate(self, message, dataset=None):
        self.model(input_ids=torch.tensor([[5, 6, 7]]))
        return super().generate(message, dataset)


class Twice(TransformersVLM):
    def generate(self, message, dataset=None):
        return super().generate(message, dataset) + super().generate(message, dataset)


ONE_BY_ONE = {
    "sampling": (lambda: Other(do_sample=True), "draws its answers at random"),
    "beams": (lambda: Other(num_beams=2), "decodes with num_beams"),
    "n-grams": (lambda: Other(no_repeat_ngram_size=2), "decodes with no_repeat_ngram_size"),
    "no length": (lambda: Other(max_new_tokens=None, max_length=90), "sets no max_new_tokens"),
    "a criterion": (lambda: Other(stopping_criteria=[lambda *_: False]), "gives its model stopping_criteria as list"),
    "own loop": (RemoteStyleVLM, "holds no transformers model"),
    "swallows": (Swallows, "keeps its errors to itself"),
    "drawn prompts": (lambda: Other(drawn_prompt), "asks otherwise each time"),
    "asks twice": (Twice, "asks its model more than once"),
    "looks first": (LooksFirst, "runs its decoder beside generate"),
}


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_what_can_not_be_followed_is_asked_one_by_one(name, asked, anchors, capsys):
    build, reason = ONE_BY_ONE[name]
    subject = of_size(4, build())
    guard = vg.build_guard("refusal_direction", layers=[1], alpha=3.0)
    if name == "drawn prompts":
        guard = vg.build_guard("none")
    else:
        guard.fit(HostSubject(build() if name == "own loop" else TransformersVLM()), anchors)
    torch.manual_seed(0)
    answers = guard.respond(subject, asked[:3])
    assert reason in subject.batches.alone
    err = capsys.readouterr().err
    assert [line for line in err.splitlines() if reason in line] == [
        f"vlmguard: {type(subject.vlm).__name__} is asked one request at a time: {subject.batches.alone}"
    ]
    if name != "drawn prompts":
        again = HostSubject(build())
        torch.manual_seed(0)
        assert answers == guard.respond(again, asked[:3])


def test_sampling_among_one_token_is_greedy(asked):
    subject = of_size(4, Other(do_sample=True, top_k=1, temperature=0.01))
    assert subject.batches.alone is None
    assert subject.generate(asked) == HostSubject(Other()).generate(asked)


def test_requests_under_different_settings_are_asked_one_by_one_and_others_not(asked, rows_generated, capsys):
    subject = of_size(3, Other(length_by_words))
    expected = HostSubject(Other(length_by_words)).generate(asked)
    rows_generated.clear()
    assert subject.generate(asked) == expected and subject.batches.alone is None
    assert rows_generated[:3] == [1, 1, 1] and "decoded under different settings" in capsys.readouterr().err
    same = [asked[0], asked[1], asked[4]]
    subject.generate(same)
    rows_generated.clear()
    assert subject.generate(same) == [expected[0], expected[1], expected[4]] and rows_generated == [3]


class MixesRows(TransformersVLM):
    """A model in which what stands beside a row changes it."""

    def __init__(self):
        super().__init__()
        self.model.get_input_embeddings().register_forward_hook(lambda _, __, out: out + out.mean(dim=0, keepdim=True))


def test_a_model_whose_batch_comes_out_otherwise_is_asked_one_by_one(asked, capsys):
    subject = of_size(4, MixesRows())
    assert subject.generate(asked) == HostSubject(MixesRows()).generate(asked)
    assert "some requests one at a time: their logits are others in a batch" in capsys.readouterr().err


def test_a_batch_that_is_too_large_is_asked_one_by_one(asked, monkeypatch, capsys):
    subject, expected = of_size(4, TransformersVLM()), HostSubject(TransformersVLM()).generate(asked)
    subject.generate(asked)
    forward = subject.vlm.model.forward

    @wraps(forward)
    def small(*args, **kwargs):
        if len(next(value for value in kwargs.values() if isinstance(value, torch.Tensor))) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return forward(*args, **kwargs)

    monkeypatch.setattr(subject.vlm.model, "forward", small)
    assert subject.generate(asked) == expected and "a batch fails (OutOfMemoryError" in capsys.readouterr().err


def test_a_request_that_fails_is_raised_as_it_is(asked, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    subject = of_size(4, TransformersVLM())
    with pytest.raises(Image.UnidentifiedImageError):
        subject.generate([*asked[:2], vg.Query("What?", (str(broken),)), *asked[2:]])
    assert subject.batches.alone is None and subject.generate(asked) == HostSubject(TransformersVLM()).generate(asked)


def test_words_said_before_are_penalised_alike(asked):
    """Padding repeats a prompt's own token, so that no other is taken for one that was said."""
    vlm = Other(repetition_penalty=1.7)
    vlm.model.generation_config.pad_token_id = vlm.processor.tokenizer.get_vocab()["e"]
    subject = of_size(6, vlm)
    assert subject.generate(asked) == HostSubject(vlm).generate(asked) and subject.batches.alone is None


def test_half_precision_is_batched_too(asked, capsys):
    vlm = TransformersVLM()
    vlm.model, _ = tiny_vlm("llava", torch.bfloat16)
    assert all(of_size(4, vlm).generate(asked)) and TOGETHER in capsys.readouterr().err
