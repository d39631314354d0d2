"""ETA: both gates, the sentences against a loop by the definition, where answers end, and what is refused."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.drawn_by_hand import Scores, aligned, pictured_requests, speaking
from helpers.guard_rows import ALIGNED, settings_with
from helpers.tiny_evaluators import clip_folder, reward_folder
from transformers import GenerationConfig

import vlmguard_plugin as vg
from vlmguard_plugin.cli.main import main
from vlmguard_plugin.guards.core.aligned_answer import AlignedAnswer
from vlmguard_plugin.guards.core.composed import ComposedGuard
from vlmguard_plugin.guards.core.gates_heard import hearing_gates
from vlmguard_plugin.guards.core.guarded_subject import GuardedSubject
from vlmguard_plugin.hosts.guard_spec import GuardSpec
from vlmguard_plugin.subjects.base import Drawn

OPEN = settings_with(ALIGNED, "")
"""Settings under which every picture and every answer is unsafe."""
TOKENS = 14


@pytest.fixture(scope="module")
def subject():
    return speaking()


@pytest.fixture
def shown(pictures):
    return pictured_requests(pictures)


@pytest.fixture(scope="module")
def scores():
    return Scores(clip_folder(), reward_folder())


def eta(**settings):
    return vg.build_guard("eta", **{**OPEN, **settings})


def loop(guard, subject, scores, queries, tokens=TOKENS, **more):
    """The aligned answers, and how all their sentences ended."""
    made = [aligned(subject, scores, query, asdict(guard.settings), tokens, **more) for query in queries]
    return [answer for answer, _ in made], [ending for _, endings in made for ending in endings]


def test_answers_are_those_of_the_definition(subject, scores, shown):
    seen = set()
    rows = ({"candidates": 3, "sentence_tokens": 5}, shown[:2]), ({"top_k": 9, "temperature": 4.0, "seed": 3}, shown)
    for settings, asked in rows:
        guard = eta(reward_prompt="Is this good: {query}", **settings)
        expected, endings = loop(guard, subject, scores, asked)
        assert guard.respond(subject, asked, max_new_tokens=TOKENS) == expected
        assert all(answer.startswith("As an AI assistant") for answer in expected)
        seen |= set(endings)
    assert seen == {"end", "stop", "length"}, "sentences of each kind were among them"


def test_both_evaluators_have_to_call_it_unsafe(subject, scores, shown):
    """At the picture's score and the answer's score exactly, and a hair beyond either."""
    guard, query = eta(), shown[1]
    (unguarded,) = subject.generate([query], max_new_tokens=TOKENS)
    evaluators = guard.evaluators(subject)
    pictures = [evaluators.clip.picture(image) for image in query.images]
    (of_picture,) = evaluators.clip.scores(pictures, [guard.settings.picture_statement])
    of_answer = evaluators.reward.score(guard.settings.reward_prompt, unguarded)
    np.testing.assert_allclose(of_picture, scores.shown(query.images, guard.settings.picture_statement), atol=2e-5)
    np.testing.assert_allclose(of_answer, scores.good(guard.settings.reward_prompt, unguarded), atol=2e-5)
    (expected,) = guard.respond(subject, [query], max_new_tokens=TOKENS)
    assert expected != unguarded
    for picture, answer, then in (
        (of_picture, of_answer, expected),
        (np.nextafter(of_picture, 9), of_answer, unguarded),
        (of_picture, np.nextafter(of_answer, -9), unguarded),
    ):
        guarded = eta(picture_threshold=float(picture), reward_threshold=float(answer))
        assert guarded.respond(subject, [query], max_new_tokens=TOKENS) == [then]


def test_a_request_without_a_picture_is_answered_once(subject, pictures):
    guard, before = eta(), subject.generated_tokens
    asked = [vg.Query("Just a text"), vg.Query("And now?", history=(vg.Turn("user", (("text", "Hello"),)),))]
    unguarded = subject.generate(asked, max_new_tokens=5)
    once = subject.generated_tokens - before
    assert guard.respond(subject, asked, max_new_tokens=5) == unguarded
    assert subject.generated_tokens - before == 2 * once
    earlier = vg.Query("And now?", history=(vg.Turn("user", (("image", pictures[0]),)),))
    assert guard.respond(subject, [earlier], max_new_tokens=5)[0].startswith("As an AI assistant")


def test_the_same_answers_again_in_any_batch_and_by_the_seed_alone(subject, shown):
    guard, asked = eta(), shown[1:]
    answers = guard.respond(subject, asked, max_new_tokens=8)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    sampled = {"do_sample": True, "top_p": 0.9, "num_beams": 2, "temperature": 9.0}
    assert guard.respond(subject, asked[::-1], max_new_tokens=8) == answers[::-1]
    assert torch.equal(torch.get_rng_state(), state), "whoever else draws numbers draws the same ones"
    assert guard.respond(subject, asked, max_new_tokens=8, **sampled) == answers, "the draws are the guard's own"
    for size in (1, 8):
        other = vg.HuggingFaceSubject(subject.model, subject.processor, batch_size=size)
        assert guard.respond(other, asked, max_new_tokens=8) == answers
    assert eta(seed=1).respond(subject, asked, max_new_tokens=8) != answers


def test_all_that_was_drawn_is_counted(subject, shown, monkeypatch):
    counted = []

    def draw(*args, **generation):
        counted.extend(rows := type(subject).draw(subject, *args, **generation))
        return rows

    before = subject.generated_tokens
    subject.generate(shown[:1], max_new_tokens=8)
    once = subject.generated_tokens - before
    monkeypatch.setattr(subject, "draw", draw)
    eta(candidates=3, sentence_tokens=4).respond(subject, shown[:1], max_new_tokens=8)
    assert subject.generated_tokens - before == 2 * once + sum(row.tokens for row in counted)
    assert len(counted) in (6, 9), "of each sentence three"


def test_once_a_candidate_ends_the_answer_the_reward_alone_decides(subject, scores, shown):
    guard, query = eta(), shown[0]
    evaluators = guard.evaluators(subject)
    answer = AlignedAnswer(query, [evaluators.clip.picture(image) for image in query.images], "As an AI assistant")
    answer.take(Drawn(" ab.", 4, False))
    texts = [" cd.", " e f"]
    rewards = [scores.good(guard.settings.reward_prompt, f"As an AI assistant ab.{text}") for text in texts]
    both = [reward + scores.shown(query.images, text.strip()) / 2 for reward, text in zip(rewards, texts)]
    for ended, expected in ((False, both), (True, rewards)):
        sentences = [Drawn(texts[0], 4, False), Drawn(texts[1], 4, ended)]
        np.testing.assert_allclose(guard.scores(evaluators, answer, sentences, 2), expected, atol=2e-5)


@pytest.mark.parametrize("tokens", [1, 2])
def test_answers_shorter_than_a_sentence_or_the_prefix(subject, scores, shown, tokens):
    guard = eta()
    answers = guard.respond(subject, shown[:2], max_new_tokens=tokens)
    assert answers == loop(guard, subject, scores, shown[:2], tokens)[0]
    assert all(len(answer) <= len("As an AI assistant") + tokens for answer in answers)


def test_a_model_that_says_nothing(shown):
    mute = speaking(**{"</s>": 99.0})
    assert mute.generate(shown, max_new_tokens=5) == [""] * 3
    assert eta(top_k=1).respond(mute, shown, max_new_tokens=5) == ["As an AI assistant"] * 3
    assert eta(reward_threshold=-1e9).respond(mute, shown, max_new_tokens=5) == [""] * 3


def test_sentences_without_a_full_stop_go_on_to_the_end(scores, shown):
    endless = speaking(**{".": -99.0, "</s>": -99.0})
    guard = eta(sentence_tokens=5)
    expected, endings = loop(guard, endless, scores, shown[:1], 8)
    assert guard.respond(endless, shown[:1], max_new_tokens=8) == expected and endings == ["length"] * 2


def test_texts_that_an_answer_ends_before(subject, shown):
    guard, asked = eta(), shown[:2]
    whole = guard.respond(subject, asked, max_new_tokens=8)
    assert guard.respond(subject, asked, max_new_tokens=8, stop=["AI"]) == ["As an"] * 2
    stop = whole[0][-2]
    cut = guard.respond(subject, asked, max_new_tokens=8, stop=["no such text", stop])
    assert cut == [answer.split(stop)[0].strip() for answer in whole] != whole


def test_answers_that_are_begun_and_requests_without_a_template(subject, pictures):
    guard = eta()
    begun = vg.Query("What is this?", (pictures[0],), begun="It is")
    raw = vg.Query("What is this? Well:", (pictures[0],), raw=True)
    for query, ending in ((begun, "assistant: It is As an AI assistant"), (raw, "Well: As an AI assistant")):
        put = []
        other = vg.HuggingFaceSubject(subject.model, subject.processor, batch_size=4)
        prompt = other.prompts.prompt
        other.prompts.prompt = lambda query, prompt=prompt: put.append(prompt(query)) or put[-1]
        (answer,) = guard.respond(other, [query], max_new_tokens=5)
        assert answer.strip().startswith("As an AI assistant") and any(text.endswith(ending) for text in put)


def test_beside_guards_that_edit_and_word(subject, anchors, scores, shown):
    """What they decide is decided at the prompt, and the answer so far is edited as if it had just been decoded."""
    settings = {"vlm_guard": {"layers": [1], "alpha": 3.0}, "eta": {**OPEN, "sentence_tokens": 5}}
    composed = vg.build_guard("vlm_guard+eta+self_reminder", **settings).fit(subject, anchors)
    steering, guard, reminder = composed.parts
    edits, worded = steering.edits(subject, None), [reminder.rewrite]
    expected, _ = loop(guard, subject, scores, shown[:1], 10, edits=edits, worded=worded)
    with hearing_gates(shown[:1]) as heard:
        assert composed.respond(subject, shown[:1], max_new_tokens=10) == expected
    with hearing_gates(shown[:1]) as alone:
        ComposedGuard([steering, reminder]).respond(subject, shown[:1], max_new_tokens=1)
    assert heard.fired == alone.fired != [None], "of the request, not of each sentence"
    assert expected != loop(guard, subject, scores, shown[:1], 10, worded=worded)[0]


def test_beside_a_guard_that_contrasts(subject, scores, shown):
    composed = vg.build_guard("coca+eta", coca={"alpha": 2.0}, eta={**OPEN, "sentence_tokens": 5})
    coca, guard = composed.parts
    worded = [coca.rewrite, lambda query: query]
    expected, _ = loop(guard, subject, scores, shown[:1], 8, worded=worded, alpha=2.0)
    assert composed.respond(subject, shown[:1], max_new_tokens=8) == expected


def test_a_fingerprint_knows_what_the_models_folders_hold(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(3_000_000))
    guards = [eta(clip=str(folder)), vg.build_guard("eta+self_reminder", eta={"clip": str(folder)})]
    before = [guard.fingerprint for guard in guards]
    assert before == [guard.fingerprint for guard in guards]
    (folder / "model.safetensors").write_bytes(bytes(2_999_999) + b"1")
    assert not set(before) & {guard.fingerprint for guard in guards}
    assert vg.build_guard("eta", clip="somebody/clip").fingerprint != vg.build_guard("eta").fingerprint


class TestRefusals:
    @pytest.mark.parametrize("setting", ["clip", "reward_model"])
    def test_a_model_that_is_not_given(self, subject, anchors, setting, tmp_path):
        lacking = {name: value for name, value in OPEN.items() if name != setting}
        guard, composed = (
            vg.build_guard("eta", **lacking),
            vg.build_guard("self_reminder+eta", eta=lacking),
        )
        for use in (
            lambda: guard.respond(subject, [vg.Query("Hi")]),
            lambda: guard.fit(subject, anchors),
            lambda: composed.respond(subject, [vg.Query("Hi")]),
            lambda: GuardSpec.of("nowhere", "eta", **lacking),
            lambda: GuardSpec.of("nowhere", "self_reminder+eta", eta=lacking),
        ):
            with pytest.raises(ValueError, match=f"{setting} is not given, and guard 'eta' .*give {setting}=") as said:
                use()
            assert "\n" not in str(said.value)
        named = [word for name, value in lacking.items() for word in ("--set", f"{name}={value}")]
        said = CliRunner().invoke(main, ["fit", "eta", "--model", "nowhere", "--out", str(tmp_path / "guard"), *named])
        assert said.exit_code == 1 and f"{setting} is not given" in said.output and "nowhere" not in said.output

    @pytest.mark.parametrize(
        "settings, message",
        [
            ({"clip": "/nowhere/clip"}, "clip is '/nowhere/clip', and there is no such folder"),
            ({"reward_model": "./nowhere"}, "reward_model is './nowhere', and there is no such folder"),
            ({"clip": "~/nowhere/clip"}, "clip is '~/nowhere/clip', and there is no such folder"),
            ({"clip": " "}, "clip is ' '; give a folder or a hub name"),
            ({"candidates": 0}, "candidates is 0"),
            ({"sentence_tokens": 0}, "sentence_tokens is 0"),
            ({"top_k": 0}, "top_k is 0"),
            ({"temperature": 0}, "temperature is 0"),
            ({"picture_threshold": float("nan")}, "picture_threshold is nan"),
            ({"reward_threshold": "low"}, "reward_threshold is 'low'"),
            ({"prefix": ""}, "prefix is ''"),
            ({"picture_statement": 3}, "picture_statement is 3"),
            ({"seed": -1}, "seed is -1"),
        ],
    )
    def test_settings(self, settings, message):
        with pytest.raises((ValueError, FileNotFoundError), match=message) as said:
            eta(**settings)
        assert "\n" not in str(said.value)

    def test_subjects_that_give_whole_answers_alone(self, subject, shown):
        class Api:
            def generate(self, message, dataset=None):
                raise AssertionError("nothing is asked")

        host = vg.HostSubject(Api())
        for use in (
            lambda: eta().respond(host, shown),
            lambda: vg.build_guard("self_reminder+eta", eta=OPEN).respond(host, shown),
            lambda: eta().respond(GuardedSubject(host, [vg.build_guard("self_reminder")]), shown),
        ):
            with pytest.raises(
                ValueError, match="guard 'eta' goes on with one of several beginnings of an answer"
            ) as said:
                use()
            assert "\n" not in str(said.value)
        with pytest.raises(ValueError, match="guard 'eta' looks at whole answers"):
            eta().log_likelihoods(subject, shown, ["a", "b", "c"])


def test_arguments_that_only_an_unguarded_answer_knew(subject, shown):
    guard, asked = eta(sentence_tokens=4), shown[1:2]
    expected = guard.respond(subject, asked, max_new_tokens=6)
    assert guard.respond(subject, asked, max_new_tokens=6, progress="asked") == expected
    assert guard.respond(subject, asked, max_new_tokens=6.0) == expected
    assert guard.respond(subject, asked, generation_config=GenerationConfig(max_new_tokens=6)) == expected
    assert guard.respond(subject, asked, max_new_tokens=6, stop="zz") == expected
    with pytest.raises(ValueError, match="max_length is 700, which counts the prompt too, .* give max_new_tokens"):
        guard.respond(subject, asked, max_length=700)


def test_nothing_is_loaded_for_requests_without_a_picture(subject):
    guard = vg.build_guard("eta", clip="some/clip", reward_model="some/reward")
    assert guard.respond(subject, [vg.Query("Just a text")], max_new_tokens=2) == subject.generate(
        [vg.Query("Just a text")], max_new_tokens=2
    )


@pytest.mark.parametrize("given", [True, {}, ["a"], 3])
def test_a_checkpoint_is_a_name_or_a_path(given):
    with pytest.raises(ValueError, match="clip is "):
        vg.build_guard("eta", clip=given)
