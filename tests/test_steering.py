"""Recording and editing hidden states: exact, row by row, and gone afterwards."""

import threading
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
import transformers
from helpers.reference import layer_states
from helpers.steering import AddConstant, full_states, hook_counts
from helpers.tiny_models import tiny_llava, tiny_processor
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.guards.core.representation import AddVectors
from vlmguard_plugin.steering.decoder import DecoderNotFound, find_decoder
from vlmguard_plugin.steering.edit import POSITIONS, Edits, on_device
from vlmguard_plugin.subjects.base import AnswersCutShort


def queries(pictures):
    return [
        vg.Query("What is this?", images=(pictures[0],)),
        vg.Query("Hi"),
        vg.Query("Tell me a much longer story about boats", images=(pictures[1],)),
        vg.Query("And now?", images=(pictures[2],)),
    ]


@pytest.mark.parametrize(
    "layers, width, heads, family", [(4, 32, 4, "llama"), (3, 48, 2, "llama"), (5, 16, 2, "qwen2")]
)
def test_recorded_states_are_the_models_own(layers, width, heads, family, pictures):
    subject = vg.HuggingFaceSubject(tiny_llava(layers, width, heads, family=family), tiny_processor(), batch_size=4)
    assert (subject.num_layers, subject.hidden_size) == (layers, width)
    asked = queries(pictures)
    states = subject.record(asked)
    assert states.shape == (4, layers, width) and states.dtype == torch.float32
    own = layer_states(subject, asked)
    np.testing.assert_allclose(states[:, :-1].numpy(), own[:, :-1], atol=2e-5)
    # The model reports its last layer after the final norm: apply that norm to ours.
    norm = subject.model.get_submodule(subject.decoder.path.rsplit(".", 1)[0]).norm
    with torch.no_grad():
        np.testing.assert_allclose(norm(states[:, -1]).numpy(), own[:, -1], atol=2e-4)


def test_batch_equals_one_at_a_time(subject, pictures):
    asked = queries(pictures)
    alone = torch.cat([subject.record([query]) for query in asked])
    torch.testing.assert_close(subject.record(asked), alone, atol=2e-5, rtol=0)
    together = subject.generate(asked, max_new_tokens=6)
    assert together == [subject.generate([query], max_new_tokens=6)[0] for query in asked]


def test_the_decoder_is_not_the_vision_tower(subject):
    tower = [name for name, module in subject.model.named_modules() if name.endswith("vision_tower")]
    assert tower and not subject.decoder.path.startswith(tower[0])
    with pytest.raises(DecoderNotFound, match="layers_path 'nowhere'"):
        vg.HuggingFaceSubject(subject.model, subject.processor, layers_path="nowhere")


def test_a_wrong_layers_path_is_not_believed(subject):
    tower = next(
        name
        for name, module in subject.model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and name != subject.decoder.path
    )
    with pytest.raises(DecoderNotFound, match="layers_path="):
        vg.HuggingFaceSubject(subject.model, subject.processor, layers_path=tower)


def test_blocks_that_are_silent_on_text_are_no_decoder_layers():
    """Mllama's cross-attention layers run where there is an image alone; the guard edits the layers that always do."""
    text = transformers.models.mllama.MllamaTextConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=5, num_attention_heads=4,
        num_key_value_heads=4, cross_attention_layers=[1, 3], pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config = transformers.MllamaConfig(vision_config={"num_hidden_layers": 1, "num_global_layers": 1}, text_config=text)
    with torch.device("meta"):
        model = transformers.MllamaForConditionalGeneration(config)
    model = model.to_empty(device="cpu").eval()
    tokens = torch.tensor([[1, 5, 6, 7]])
    run = partial(model.generate, tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=1)
    decoder = find_decoder(model, run)
    assert decoder.numbers == (0, 2, 4) and decoder.layers == tuple(model.model.language_model.layers[::2])
    assert [decoder.next_to(index) for index in range(3)] == [None] * 3 and decoder.is_of(model)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("positions", POSITIONS)
def test_only_the_named_positions_are_edited(subject, positions, side):
    tokenizer = subject.processor.tokenizer
    asked = [subject.prompt(vg.Query(text)) for text in ("Hi", "A much longer request than that")]
    inputs = tokenizer(asked, padding=True, padding_side=side, return_tensors="pt")
    mask = inputs["attention_mask"].bool()
    plain = full_states(subject, inputs)
    edited = full_states(subject, inputs, Edits({1: AddConstant(0.5)}, positions))
    for before, after in zip(plain[:1], edited[:1]):
        torch.testing.assert_close(before, after, atol=0, rtol=0)
    difference = edited[1] - plain[1]
    expected = torch.zeros_like(mask)
    if positions in ("prompt", "all"):
        expected = mask
    elif positions in ("last", "every_step"):
        for row in range(2):
            expected[row, mask[row].nonzero().max()] = True
    torch.testing.assert_close(
        difference, 0.5 * expected.unsqueeze(-1).expand_as(difference).float(), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("picture", [False, True])
def test_the_kv_cache_changes_nothing(subject, pictures, positions, picture):
    query = vg.Query("What is this?", images=(pictures[0],) if picture else ())
    edits = Edits({1: AddConstant(0.7), 2: AddConstant(-0.4)}, positions)
    inputs = subject.encode([query])
    scores = []
    for use_cache in (True, False):
        with subject.editing(edits), torch.no_grad():
            out = subject.model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=5,
                use_cache=use_cache,
                output_scores=True,
                return_dict_in_generate=True,
            )
        scores.append(torch.stack(out.scores))
    torch.testing.assert_close(scores[0], scores[1], atol=1e-4, rtol=0)
    with torch.no_grad():
        plain = subject.model.generate(
            **inputs, do_sample=False, max_new_tokens=5, output_scores=True, return_dict_in_generate=True
        )
    assert (torch.stack(plain.scores) - scores[0]).abs().max() > 1e-2


def test_decided_once_a_generation_per_row(subject, pictures):
    edit = AddConstant(0.1)
    asked = [vg.Query("What is this?", images=(pictures[0],)), vg.Query("And that there?", images=(pictures[1],))]
    subject.generate(asked, Edits({1: edit}, "all"), max_new_tokens=5)
    subject.generate(asked[:1], Edits({1: edit}, "all"), max_new_tokens=1)
    assert [len(last) for last, _ in edit.seen] == [2, 1]
    expected = subject.record(asked)[:, 1]
    torch.testing.assert_close(edit.seen[0][0], expected, atol=2e-5, rtol=0)
    assert edit.seen[0][1].tolist() == [True, True]


def test_a_one_token_prompt_has_a_prefill_too(subject):
    edit = AddConstant(0.3)
    with subject.editing(Edits({0: edit}, "last")), torch.no_grad():
        subject.model.generate(
            input_ids=torch.tensor([[9]]), attention_mask=torch.ones(1, 1), do_sample=False, max_new_tokens=3
        )
        subject.model.generate(
            input_ids=torch.tensor([[9]]), attention_mask=torch.ones(1, 1), do_sample=False, max_new_tokens=3
        )
    assert len(edit.seen) == 2


def test_nothing_is_asked_of_an_edit_for_tokens_that_it_leaves_alone(subject, pictures):
    class Counting(AddConstant):
        asked = ()

        def apply(self, hidden, decision):
            self.asked += (tuple(hidden.shape[:2]),)
            return super().apply(hidden, decision)

    prompt = subject.encode([vg.Query("Hi")])["input_ids"].shape[1]
    passes = {
        "last": [(1, 1)],
        "prompt": [(1, prompt)],
        "generated": [(1, 1)] * 2,
        "all": [(1, prompt), (1, 1), (1, 1)],
    }
    for positions, expected in passes.items():
        edit = Counting(0.2)
        subject.generate([vg.Query("Hi")], Edits({1: edit}, positions), max_new_tokens=3)
        assert list(edit.asked) == expected


def test_an_edits_tensors_are_put_where_its_layer_is():
    @dataclass(frozen=True)
    class Vector:
        vector: torch.Tensor
        strength: float

    there = on_device(Vector(torch.ones(2), 0.5), torch.device("meta"))
    assert there.vector.device.type == "meta" and there.strength == 0.5
    plain = AddConstant(1.0)
    assert on_device(plain, torch.device("meta")) is plain


WAYS_TO_COMPILE = {
    "forward": lambda model: setattr(model, "forward", torch.compile(model.forward, backend="eager")),
    "in place": lambda model: model.compile(backend="eager"),
    "language model": lambda model: model.model.language_model.compile(backend="eager"),
    "its forward": lambda model: setattr(
        model.model.language_model, "forward", torch.compile(model.model.language_model.forward, backend="eager")
    ),
    "a layer": lambda model: model.model.language_model.layers[1].compile(backend="eager"),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS_TO_COMPILE)
def test_a_model_compiled_and_used_before_it_is_guarded_is_edited_all_the_same(way, subject):
    """Compiled code passes by hooks that come later, so it is left out while edits are in place."""
    edits, asked = Edits({1: AddConstant(0.9)}, "all"), [vg.Query("Hi"), vg.Query("A longer request")]
    compiled = vg.HuggingFaceSubject(tiny_llava(), tiny_processor())
    WAYS_TO_COMPILE[way](compiled.model)
    plain = compiled.generate(asked, max_new_tokens=4)
    assert compiled.generate(asked, edits, max_new_tokens=4) == subject.generate(asked, edits, max_new_tokens=4)
    assert compiled.generate(asked, max_new_tokens=4) == plain == subject.generate(asked, max_new_tokens=4)


def test_a_layer_that_is_not_reached_is_named(monkeypatch):
    """As where compiling can't be left out: PyTorch before 2.6, traced and exported modules."""
    monkeypatch.setattr("vlmguard_plugin.steering.editing.without_compiling", nullcontext)
    passing_by = vg.HuggingFaceSubject(tiny_llava(layers=2), tiny_processor())
    layer = passing_by.model.model.language_model.layers[1]
    monkeypatch.setattr(layer, "_compiled_call_impl", layer.forward)  # what compiled code is called by: without hooks
    inputs = passing_by.encode([vg.Query("Hi")])
    for run in (partial(passing_by.model.generate, do_sample=False, max_new_tokens=2), passing_by.model):
        with torch.no_grad():
            run(**inputs)
        with pytest.raises(RuntimeError, match=r"without its decoder layers \[1\] being reached"):
            with passing_by.editing(Edits({1: AddConstant(0.5)}, "all")), torch.no_grad():
                run(**inputs)


def test_beams_carry_their_rows_edit(subject, pictures):
    asked = [vg.Query("What is this?", images=(pictures[0],)), vg.Query("And that there?", images=(pictures[1],))]
    edits = Edits({1: AddConstant(0.5)}, "all")
    together = subject.generate(asked, edits, max_new_tokens=6, num_beams=3)
    assert together == [subject.generate([query], edits, max_new_tokens=6, num_beams=3)[0] for query in asked]


def test_hooks_come_off_also_after_an_error(subject):
    class Broken(AddConstant):
        def apply(self, hidden, decision):
            raise ArithmeticError("broken on purpose")

    before, generate = hook_counts(subject), subject.model.generate
    with pytest.raises(ArithmeticError):
        with subject.editing(Edits({1: Broken(1.0)})):
            subject.model.generate(**subject.encode([vg.Query("Hi")]), max_new_tokens=2)
    assert hook_counts(subject) == before
    assert subject.model.generate == generate and "generate" not in vars(subject.model)


def test_two_contexts_nest(subject):
    query = [vg.Query("Hi")]
    with subject.editing(Edits({1: AddConstant(0.25)}, "all")):
        with subject.editing(Edits({1: AddConstant(0.5)}, "all")):
            nested = subject.record(query)
        outer = subject.record(query)
    with subject.editing(Edits({1: AddConstant(0.75)}, "all")):
        once = subject.record(query)
    torch.testing.assert_close(nested, once, atol=1e-5, rtol=0)
    assert not torch.allclose(outer, once, atol=1e-3)


def test_a_second_thread_is_refused(subject):
    errors = []

    def other():
        try:
            subject.generate([vg.Query("Hi")], Edits({1: AddConstant(1.0)}), max_new_tokens=1)
        except RuntimeError as error:
            errors.append(str(error))

    with subject.editing(Edits({1: AddConstant(1.0)})):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(errors) == 1 and "one thread" in errors[0]


def test_generate_options_that_break_prefills_are_refused(subject):
    with subject.editing(Edits({1: AddConstant(1.0)})):
        with pytest.raises(ValueError, match="prompt_lookup_num_tokens"):
            subject.model.generate(**subject.encode([vg.Query("Hi")]), max_new_tokens=2, prompt_lookup_num_tokens=2)
    with pytest.raises(ValueError, match="num_return_sequences"):
        subject.generate([vg.Query("Hi")], num_return_sequences=2)


def test_an_unreadable_image_names_itself_and_loses_nothing(subject, pictures, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    asked = [vg.Query(f"Question {i}?", images=(pictures[0],)) for i in range(4)] + [
        vg.Query("This?", images=(str(broken),))
    ]
    with pytest.raises(vg.AnswersCutShort, match="broken.png") as caught:
        subject.generate(asked, max_new_tokens=2)
    assert all(isinstance(answer, str) for answer in caught.value.answers[:4]) and caught.value.answers[4] is None


@pytest.mark.parametrize("kind, pixel", [("mean", (122, 116, 104)), ("white", (255, 255, 255)), ("black", (0, 0, 0))])
def test_blank_images(subject, pictures, kind, pixel):
    query = vg.Query("What?", images=(pictures[0],)).with_blank_images(kind)
    blank = subject.prompts.read(query.images[0])
    assert blank.size == Image.open(pictures[0]).size
    assert np.abs(np.asarray(blank, int) - np.array(pixel)).max() <= 1
    assert subject.prompts.read(vg.Query("What?").with_blank_images(kind).images[0]).size == (28, 28)


def test_noise_is_the_same_every_time(subject):
    first, second = (np.asarray(subject.prompts.read(vg.BlankImage("noise", (20, 10)))) for _ in range(2))
    assert first.shape == (10, 20, 3) and (first == second).all() and first.std() > 40


def test_the_fingerprint_is_the_weights(subject):
    same = vg.HuggingFaceSubject(tiny_llava().to(torch.bfloat16), tiny_processor())
    another = vg.HuggingFaceSubject(tiny_llava(seed=1), tiny_processor())
    assert same.fingerprint == subject.fingerprint != another.fingerprint


@pytest.mark.parametrize("number", [float("inf"), float("nan"), -float("inf")])
def test_an_edit_that_is_not_finite_is_an_error(subject, number):
    """Answers would be empty, or one character again and again."""
    vector = torch.zeros(1, subject.hidden_size)
    vector[0, 3] = number
    with pytest.raises(AnswersCutShort, match=r"after decoder layers \[2\] is not finite"):
        subject.generate([vg.Query("Hello")], Edits({1: AddConstant(0.5), 2: AddVectors(vector)}), max_new_tokens=2)
    assert subject.generate([vg.Query("Hello")], max_new_tokens=2)
