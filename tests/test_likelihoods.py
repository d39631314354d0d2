"""Likelihoods of answers under a guard: those of guarded generation, forced along the answer token by token."""

from contextlib import ExitStack

import pytest
import torch
from helpers.architectures import tiny_vlm
from helpers.guard_rows import LIKELIHOODS, rows, scoring_guards, settings_with
from helpers.reference import coca_logits
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.steering.edit import POSITIONS

COMPOSED = [
    ("vlm_guard+self_reminder", {"vlm_guard": {"rank": 2, "layers": [2]}}),
    ("coca+self_reminder+cmrm_sample", {"cmrm_sample": {"layers": [1]}}),
]
ANSWERS = ["food", "x", " a nice one", "of wood", "?", "food"]


def put_queries(pictured):
    texts = [
        "What is a cake?",
        "What is a kite? Say it well.",
        "Why?",
        "What is a lamp?",
        "What is a chair made of?",
        "Why?",
    ]
    return [vg.Query(text, (Image.new("RGB", (40, 30), "red"),) if pictured else ()) for text in texts]


def forced_logits(subject, guard, query, answer):
    """Logits [tokens, words] of an answer, from a loop that decodes it one token after another; and its tokens."""
    prompt = subject.encode([query])
    whole = subject.encode([query], [answer])["input_ids"][0].tolist()
    forced, mask, logits = whole[prompt["input_ids"].shape[1] :], prompt["attention_mask"], []
    with ExitStack() as stack, torch.no_grad():
        stack.enter_context(subject.editing(guard.edits(subject, [query]) if guard else ()))
        output = subject.model(**prompt, use_cache=True)
        for token in forced:
            logits.append(output.logits[0, -1])
            mask = torch.cat([mask, mask.new_ones(1, 1)], dim=1)
            output = subject.model(
                input_ids=torch.tensor([[token]]),
                attention_mask=mask,
                past_key_values=output.past_key_values,
                use_cache=True,
            )
    return torch.stack(logits), forced


def step_by_step(subject, guard, query, answer):
    """The log-probability of an answer token after token, and whether each was the most likely one."""
    logits, forced = forced_logits(subject, guard, guard.rewrite(query) if guard else query, answer)
    alphas = [part.contrast for part in guard.parts if part.contrast is not None] if guard else []
    for alpha in alphas:
        plain = query
        for part in (part for part in guard.parts if part.contrast is None):
            plain = part.rewrite(plain)
        without, _ = forced_logits(subject, guard, plain, answer)
        logits = torch.from_numpy(coca_logits(logits.numpy(), without.numpy(), alpha))
    likely = logits.log_softmax(-1)
    return float(likely[range(len(forced)), forced].sum()), logits.argmax(dim=-1).tolist() == forced


@pytest.mark.parametrize(
    "name, settings",
    [*rows(LIKELIHOODS, scoring_guards()), *COMPOSED],
    ids=lambda value: str(value).replace(" ", ""),
)
def test_a_likelihood_is_that_of_guarded_generation_forced_along_the_answer(subject, anchors, pictures, name, settings):
    guard = vg.build_guard(name, **settings_with(settings, pictures[1])).fit(subject, anchors)
    changed = 0
    for pictured in (False, True):
        queries = put_queries(pictured)
        expected = [step_by_step(subject, guard, query, answer) for query, answer in zip(queries, ANSWERS)]
        for batch_size in (1, 8):
            subject.batch_size = batch_size
            guarded = guard.log_likelihoods(subject, queries, ANSWERS)
            subject.batch_size = 4
            torch.testing.assert_close(
                [likelihood.log_probability for likelihood in guarded],
                [total for total, _ in expected],
                rtol=0,
                atol=1e-4,
            )
            assert [likelihood.greedy for likelihood in guarded] == [greedy for _, greedy in expected]
        unguarded = subject.log_likelihoods(queries, ANSWERS)
        changed += sum(
            abs(likelihood.log_probability - stepwise[0]) > 1e-3 for likelihood, stepwise in zip(unguarded, expected)
        )
    assert bool(changed) == all(part.acts for part in guard.parts)


def test_a_guard_that_only_edits_pictures_leaves_likelihoods_of_text_alone(subject, anchors):
    guard = vg.build_guard("cmrm_sample", layers=[1]).fit(subject, anchors)
    assert guard.log_likelihoods(subject, put_queries(False), ANSWERS) == subject.log_likelihoods(
        put_queries(False), ANSWERS
    )


def test_an_image_token_among_words_is_no_image(subject, anchors):
    guard = vg.build_guard("cmrm").fit(subject, anchors)
    prompt, answer = [1, 40, subject.image_token_id, 41], [50, 51]
    assert guard.token_log_likelihoods(subject, [prompt], [answer]) == subject.token_log_likelihoods([prompt], [answer])


MARKS = {
    "llava": {"<image>"},
    "llava_onevision": {"<image>", "<video>"},
    "qwen2_vl": {"<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"},
    "internvl": {"<img>", "</img>", "<IMG_CONTEXT>", "<video>"},
    "idefics3": {"<image>", "<fake_token_around_image>", "<global-img>", "<row_1_col_2>"},
    "gemma3": {"<start_of_image>", "<image_soft_token>", "<end_of_image>"},
    "mllama": {"<|image|>"},
}


@pytest.mark.parametrize("architecture", MARKS)
def test_no_words_are_taken_for_an_image_or_a_video(architecture, pictures):
    subject = vg.HuggingFaceSubject(*tiny_vlm(architecture))
    assert set(subject.prompts.media_marks) >= MARKS[architecture]
    assert not {"<s>", "</s>", "<pad>", "<end_of_utterance>"} & set(subject.prompts.media_marks)
    plain = subject.encode([vg.Query("Look: there", (pictures[0],))])["input_ids"]
    for mark in MARKS[architecture]:
        (token,) = subject.prompts.tokenizer.encode(mark, add_special_tokens=False)[-1:]
        alone = subject.encode([vg.Query(f"Look: {mark} there")])["input_ids"]
        beside = subject.encode([vg.Query(f"Look: {mark} there", (pictures[0],))])["input_ids"]
        assert token not in alone and (beside == token).sum() == (plain == token).sum()
    everything = " ".join(subject.prompts.media_marks)
    assert subject.generate([vg.Query(everything, (pictures[0],))], max_new_tokens=1)
    assert subject.log_likelihoods([vg.Query("Say it", (pictures[0],))], [everything])


def test_a_greedy_answer_is_greedy(subject):
    query = vg.Query("What is a cake?")
    tokens = subject.model.generate(**subject.encode([query]), max_new_tokens=3, do_sample=False)[
        0, subject.encode([query])["input_ids"].shape[1] :
    ]
    prompt = subject.encode([query])["input_ids"][0].tolist()
    (greedy,) = subject.token_log_likelihoods([prompt], [tokens.tolist()])
    assert greedy.greedy
    (altered,) = subject.token_log_likelihoods([prompt], [[*tokens.tolist()[:-1], (int(tokens[-1]) + 1) % 300 + 4]])
    assert not altered.greedy and altered.log_probability < greedy.log_probability


def test_likelihoods_within_guard_on(subject, anchors):
    guard = vg.build_guard("vlm_guard", rank=2, layers=[1], positions="last").fit(subject, anchors)
    queries = put_queries(False)
    expected = guard.log_likelihoods(subject, queries, ANSWERS)
    with guard.on(subject):
        within = subject.log_likelihoods(queries, ANSWERS)
    assert within == expected


def test_tokens_under_a_guard_are_decided_at_the_prompts_last_token(subject, anchors):
    guard = vg.build_guard("vlm_guard", rank=2, layers=[1, 2]).fit(subject, anchors)
    query = vg.Query("What is a cake?")
    prompt = subject.encode([query])["input_ids"][0].tolist()
    whole = subject.encode([query], ["food"])["input_ids"][0].tolist()
    (likelihood,) = guard.token_log_likelihoods(subject, [prompt], [whole[len(prompt) :]])
    assert likelihood.log_probability == pytest.approx(step_by_step(subject, guard, query, "food")[0], abs=1e-4)


@pytest.mark.parametrize("positions", POSITIONS)
def test_whoever_asks_for_likelihoods_under_a_guard(subject, anchors, positions):
    guard = vg.build_guard("vlm_guard", positions=positions).fit(subject, anchors)
    queries, answers = [vg.Query("What?"), vg.Query("And how then?")], ["yes", "no, never"]
    expected = guard.log_likelihoods(subject, queries, answers)
    other = vg.HuggingFaceSubject(subject.model, subject.processor)
    with guard.on(subject):
        assert_alike(other.log_likelihoods(queries, answers), expected)


def test_the_first_token_is_each_querys_own(subject):
    """Chat templates write it, raw prompts may, and the tokenizer adds it to the others of a batch."""
    first = subject.processor.tokenizer.bos_token
    queries = [vg.Query("How?"), *(vg.Query(text, raw=True) for text in ("How? ", "", f"{first}How? ", f"{first}"))]
    answers = ["yes"] * len(queries)
    alone = [subject.log_likelihoods([query], ["yes"])[0] for query in queries]
    assert_alike(subject.log_likelihoods(queries, answers), alone)
    assert_alike(subject.log_likelihoods(queries[::-1], answers), alone[::-1])
    said = [subject.generate([query], max_new_tokens=3)[0] for query in queries]
    assert subject.generate(queries[::-1], max_new_tokens=3) == said[::-1]


def assert_alike(found, expected):
    assert [one.greedy for one in found] == [one.greedy for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)


def test_an_answer_without_a_token_is_refused(subject):
    with pytest.raises(ValueError, match="adds no token"):
        subject.log_likelihoods([vg.Query("Why?")], [""])


def test_a_raw_or_begun_query_stays_one_under_what_guards_do():
    raw = vg.Query("Why?", (Image.new("RGB", (8, 8)),), raw=True)
    for changed in (raw.without_images(), raw.with_blank_images(), raw.with_text("No."), raw.wrapped("a", "b")):
        assert changed.raw
    begun = vg.Query("Why?", begun="So")
    assert begun.with_blank_images().without_images().wrapped("a", "b").begun == "So"
    with pytest.raises(ValueError, match="raw query"):
        vg.Query("Why?", begun="So", raw=True)


def test_an_answer_ends_before_a_stop_text(subject):
    query = vg.Query("What is a cake?", raw=True)
    (whole,) = subject.generate([query], max_new_tokens=16)
    stop = whole[3:5]
    other_query = vg.Query("Why?", raw=True)
    cut, other_cut = subject.generate([query, other_query], max_new_tokens=16, stop=(stop,))
    assert cut == whole[: whole.index(stop)]
    assert other_cut == subject.generate([other_query], max_new_tokens=16)[0].split(stop)[0]
    before = subject.generated_tokens
    subject.generate([query], max_new_tokens=16, stop=(stop,))
    assert subject.generated_tokens - before < 16
