"""Edits act, or it is said that they don't: passes that are hard to follow, and models that change under a guard."""

import threading

import numpy as np
import pytest
import torch
import transformers
from helpers.architectures import tiny_vlm
from helpers.steering import AddConstant, ByTheLastToken, full_states
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteriaList

import vlmguard_plugin as vg
from vlmguard_plugin.steering.edit import POSITIONS, Edits

ASKED = [vg.Query("Hi"), vg.Query("A much longer request about boats")]
GREEDY = {"do_sample": False, "max_new_tokens": 5}


EDITS = Edits({1: ByTheLastToken()}, "all")


# A second use of the model while it answers


@pytest.mark.parametrize("asks", ["record", "generate", "likelihoods", "guarded"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_what_is_asked_of_the_model_while_it_answers_changes_no_answer(subject, asks, use_cache):
    def ask(tokens, scores, **_):
        run = {
            "record": lambda: subject.record(ASKED),
            "generate": lambda: subject.generate(ASKED, max_new_tokens=2),
            "likelihoods": lambda: subject.log_likelihoods(ASKED[:1], ["yes"]),
            "guarded": lambda: subject.generate(ASKED, EDITS, max_new_tokens=2),
        }
        run[asks]()
        return torch.zeros(len(tokens), dtype=torch.bool)

    inputs = subject.encode(ASKED)
    with subject.editing(EDITS), torch.no_grad():
        alone = subject.model.generate(**inputs, **GREEDY, use_cache=use_cache)
        asked = subject.model.generate(
            **inputs, **GREEDY, use_cache=use_cache, stopping_criteria=StoppingCriteriaList([ask])
        )
    assert torch.equal(alone, asked)


@pytest.mark.parametrize("use_cache", [True, False])
def test_passes_beside_the_answers_own_are_refused(subject, use_cache):
    class Contrasting(LogitsProcessor):
        def __call__(self, tokens, scores):
            return scores - subject.model(input_ids=tokens[:, :3]).logits[:, -1]

    inputs = subject.encode(ASKED[:1])
    with subject.editing(EDITS), torch.no_grad():
        with pytest.raises(RuntimeError, match="neither goes on with its answer nor begins one"):
            subject.model.generate(
                **inputs, **GREEDY, use_cache=use_cache, logits_processor=LogitsProcessorList([Contrasting()])
            )
        assert subject.model.generate(**inputs, **GREEDY).shape[0] == 1, "the next answer is one again"


def test_another_thread_is_refused_and_changes_no_answer(subject):
    """In mid-answer, by `generate`, a plain pass and `record`."""
    inputs, errors = subject.encode(ASKED), []

    def intrude(tokens, scores, **_):
        def run():
            for use in (
                lambda: subject.model.generate(**inputs, **GREEDY),
                lambda: subject.model(**inputs),
                lambda: subject.record(ASKED),
            ):
                try:
                    use()
                except RuntimeError as error:
                    errors.append(str(error))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return torch.zeros(len(tokens), dtype=torch.bool)

    with subject.editing(EDITS), torch.no_grad():
        alone = subject.model.generate(**inputs, **GREEDY)
        beside = subject.model.generate(**inputs, **GREEDY, stopping_criteria=StoppingCriteriaList([intrude]))
    assert torch.equal(alone, beside)
    assert len(errors) == 3 * 5 and all("one thread at a time" in error for error in errors)


def test_answers_under_one_prompt_are_not_decided_by_another(subject):
    """Two prompts' caches in turn, in plain passes."""
    first, second = (subject.encode([query]) for query in ASKED)
    with subject.editing(EDITS), torch.no_grad():
        cache = subject.model(**first, use_cache=True).past_key_values
        token = torch.tensor([[9]])
        subject.model(input_ids=token, past_key_values=cache)
        subject.model(**second, use_cache=True)
        with pytest.raises(RuntimeError, match="a KV cache whose prompt was not the last one heard"):
            subject.model(input_ids=token, past_key_values=cache)


def test_a_second_turn_on_a_cache_is_refused(subject):
    inputs = subject.encode(ASKED[:1])
    with torch.no_grad():
        cache = subject.model(**inputs, use_cache=True).past_key_values
        more = torch.cat([inputs["input_ids"], torch.tensor([[9, 10]])], dim=1)
        inputs = {"input_ids": more, "attention_mask": torch.ones_like(more), "past_key_values": cache}
        with subject.editing(EDITS), pytest.raises(RuntimeError, match="goes on from past_key_values.*whole convers"):
            subject.model.generate(**inputs, **GREEDY)


# Options, wherever they are set


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_cache_that_is_used_again_begins_another_prompt(subject, positions):
    edits = Edits({1: ByTheLastToken()}, positions)
    first, second = (subject.encode([query]) for query in ASKED)
    with torch.no_grad(), subject.editing(edits):
        expected = subject.model(**second).logits
    cache = transformers.StaticCache(config=subject.model.config.get_text_config(), max_cache_len=128)
    with torch.no_grad(), subject.editing(edits):
        subject.model(**first, past_key_values=cache)
        cache.reset()
        again = subject.model(**second, past_key_values=cache).logits
    torch.testing.assert_close(again, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_loop_of_the_callers_own_is_one_generation(subject, positions):
    """With and without a KV cache: what is decided in its first pass holds for all its tokens."""
    edits, inputs = Edits({1: ByTheLastToken()}, positions), subject.encode(ASKED[1:])
    with torch.no_grad(), subject.editing(edits):
        expected = subject.model.generate(**inputs, **GREEDY)
        for use_cache in (True, False):
            ids, cache = inputs["input_ids"], transformers.DynamicCache() if use_cache else None
            for _ in range(GREEDY["max_new_tokens"]):
                given = ids if cache is None or not cache.get_seq_length() else ids[:, -1:]
                logits = subject.model(input_ids=given, past_key_values=cache, use_cache=use_cache).logits[:, -1]
                logits[:, subject.model.generation_config.suppress_tokens or []] = -float("inf")
                ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
            assert torch.equal(ids, expected), use_cache


def test_a_prompt_in_parts_is_refused_outside_of_generate_too(subject):
    inputs, cache = subject.encode(ASKED[1:]), transformers.DynamicCache()
    with torch.no_grad(), subject.editing(EDITS):
        subject.model(input_ids=inputs["input_ids"][:, :6], past_key_values=cache)
        with pytest.raises(RuntimeError, match="tokens at once, outside of generate"):
            subject.model(input_ids=inputs["input_ids"][:, 6:], past_key_values=cache)


def test_a_config_that_samples_is_followed(fresh):
    sampling = GenerationConfig(do_sample=True, temperature=50.0, max_new_tokens=12)
    torch.manual_seed(0)
    assert len(set(fresh.generate(ASKED[:1] * 6, generation_config=sampling))) > 1
    assert len(set(fresh.generate(ASKED[:1] * 6, max_new_tokens=12))) == 1


def test_states_are_not_measured_under_another_guard(subject, anchors, pictures):
    query = vg.Query("What is this?", (pictures[0],))
    outer = vg.build_guard("vlm_guard").fit(subject, anchors)
    for name, settings in (("shiftdc", {}), ("cmrm_sample", {}), ("jrs_rem", {})):
        guard = vg.build_guard(name, **settings).fit(subject, anchors)
        with outer.on(subject), pytest.raises(RuntimeError, match="while another guard is on the model"):
            guard.edits(subject, [query])
        together = vg.build_guard(f"vlm_guard+{name}").fit(subject, anchors)
        with together.on(subject, [query]):
            pass


@pytest.mark.parametrize(
    "option, value",
    [("prefill_chunk_size", 4), ("prompt_lookup_num_tokens", 2), ("guidance_scale", 1.5), ("assistant_early_exit", 1)],
)
@pytest.mark.parametrize("where", ["the call", "a config by name", "a config by position", "the checkpoint"])
def test_options_that_break_prefills_are_refused_wherever_they_are(fresh, option, value, where):
    inputs, config = fresh.encode(ASKED[:1]), GenerationConfig(**{option: value}, max_new_tokens=2)
    run = {
        "the call": lambda: fresh.model.generate(**inputs, **{option: value}),
        "a config by name": lambda: fresh.model.generate(**inputs, generation_config=config),
        "a config by position": lambda: fresh.model.generate(inputs["input_ids"], config),
        "the checkpoint": lambda: fresh.generate(ASKED[:1]),
    }
    if where == "the checkpoint":
        setattr(fresh.model.generation_config, option, value)
    refused = pytest.raises((ValueError, vg.AnswersCutShort), match=rf"generate\({option}=\.\.\.\) makes")
    with fresh.editing(EDITS), refused:
        run[where]()


@pytest.mark.parametrize("settings", [{"num_return_sequences": 3, "num_beams": 3}, {"return_dict_in_generate": True}])
def test_a_checkpoints_generation_config_costs_no_answer(fresh, subject, settings):
    for name, value in settings.items():
        setattr(fresh.model.generation_config, name, value)
    beams = {"num_beams": settings.get("num_beams", 1)}
    assert fresh.generate(ASKED, EDITS, max_new_tokens=4) == subject.generate(ASKED, EDITS, max_new_tokens=4, **beams)
    torch.testing.assert_close(fresh.record(ASKED, EDITS), subject.record(ASKED, EDITS))
    own, plain = (each.log_likelihoods(ASKED, ["yes", "no"], EDITS) for each in (fresh, subject))
    np.testing.assert_allclose([score for score, _ in own], [score for score, _ in plain], rtol=1e-5)
    with pytest.raises(ValueError, match="return_dict_in_generate: answers are texts"):
        fresh.generate(ASKED, return_dict_in_generate=True)


def test_edits_of_other_queries_than_the_batchs_are_refused(subject, anchors):
    guard = vg.build_guard("cmrm_sample").fit(subject, anchors)
    two = [query.with_blank_images() for query in ASKED]
    with guard.on(subject, two), pytest.raises(ValueError, match="made for 2 queries but the batch has 4 rows"):
        subject.model.generate(**subject.encode(two + two), **GREEDY)
    with guard.on(subject, two[:1]), pytest.raises(ValueError, match="made for 1 queries but the batch has 2 rows"):
        subject.model.generate(**subject.encode(two), **GREEDY)
    with guard.on(subject, two):
        assert len(subject.model.generate(**subject.encode(two), **GREEDY, num_beams=2)) == 2


# What guards are told of the prompt


def test_embeddings_do_not_say_whether_there_is_a_picture(subject, anchors, pictures):
    """A guard that acts by it says so, others act."""
    embeddings = subject.model.get_input_embeddings()(subject.encode(ASKED[:1])["input_ids"])
    by_picture, alike = (vg.build_guard(name, layers=[1]).fit(subject, anchors) for name in ("cmrm", "vlm_guard"))
    for run in (
        lambda: subject.model.generate(inputs_embeds=embeddings, **GREEDY),
        lambda: subject.model.model.language_model(inputs_embeds=embeddings),
    ):
        refused = pytest.raises(RuntimeError, match="can't be told from its embeddings")
        with by_picture.on(subject), torch.no_grad(), refused:
            run()
    with alike.on(subject), torch.no_grad():
        from_words = subject.model.generate(**subject.encode(ASKED[:1]), **GREEDY)
        assert torch.equal(subject.model.generate(inputs_embeds=embeddings, **GREEDY), from_words[:, -5:])


@pytest.mark.parametrize("architecture", ["gemma3", "llava"])
def test_a_static_cache_takes_no_token_for_padding(architecture):
    """Gemma 3's window is shorter than the prompt, so that its last token sees a part of it alone."""
    subject = vg.HuggingFaceSubject(*tiny_vlm(architecture), batch_size=2)
    for positions in ("prompt", "last", "all"):
        edits = Edits({1: AddConstant(3.0)}, positions)
        answers = [
            subject.generate(ASKED, edits, max_new_tokens=6, **options)
            for options in ({}, {"cache_implementation": "static", "disable_compile": True})
        ]
        assert answers[0] == answers[1] != subject.generate(ASKED, max_new_tokens=6)


def test_edits_are_in_float32_under_autocast(subject):
    kinds = []

    class Noting(AddConstant):
        def decide(self, last, prompts):
            kinds.append((last @ last.T).dtype)
            return super().decide(last, prompts)

        def apply(self, hidden, decision):
            kinds.append((hidden @ hidden.transpose(1, 2)).dtype)
            return super().apply(hidden, decision)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        subject.generate(ASKED, Edits({1: Noting(0.5)}, "all"), max_new_tokens=2)
    assert len(kinds) == 3 and set(kinds) == {torch.float32}


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_what_a_model_adds_between_its_layers_is_edited_with_them(layer, pictures):
    """Qwen3-VL adds features of its pictures after its first layers: a projection takes their part away too."""
    subject = vg.HuggingFaceSubject(*tiny_vlm("qwen3_vl"), batch_size=1)
    direction = torch.nn.functional.normalize(torch.arange(1.0, 1 + subject.hidden_size).cos(), dim=0)

    class Project:
        def decide(self, last, prompts):
            return torch.zeros(len(last), 1)

        def apply(self, hidden, decision):
            return hidden - (hidden @ direction).unsqueeze(-1) * direction

    entering = {}

    def note(module, args, kwargs):
        entering["hidden"] = args[0] if args else kwargs["hidden_states"]

    def noting():
        return subject.decoder.layers[layer + 1].register_forward_pre_hook(note, with_kwargs=True)

    inputs = subject.encode([vg.Query("What is this?", (pictures[0],))])
    hook = noting()
    plain = full_states(subject, inputs)[layer]
    added = float((entering["hidden"] - plain).abs().max())
    hook.remove()
    with subject.editing(Edits({layer: Project()}, "all")), torch.no_grad():
        hook = noting()
        subject.model(**inputs)
        hook.remove()
    assert (added > 1e-3) == (layer < 2), "this tiny model adds after its first two layers"
    assert float((entering["hidden"] @ direction).abs().max()) < 1e-4


@pytest.mark.skipif(transformers.__version__ < "5", reason="transformers 4 takes them before any hook")
@pytest.mark.parametrize("asked_before", [False, True])
def test_the_models_own_hidden_states_are_the_edited_ones(asked_before, fresh):
    inputs = fresh.encode(ASKED[:1])
    if asked_before:
        fresh.model(**inputs, output_hidden_states=True)
    edits = Edits({1: AddConstant(0.5), 2: AddConstant(0.25)}, "all")
    edited = full_states(fresh, inputs, edits)
    with fresh.editing(edits), torch.no_grad():
        own = fresh.model(**inputs, output_hidden_states=True).hidden_states
    for layer in (0, 1, 2):
        torch.testing.assert_close(own[layer + 1], edited[layer])
