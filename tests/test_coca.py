"""CoCA's contrast, against a loop that decodes both prompts by themselves; where it is refused; and what it leaves."""

import numpy as np
import pytest
import torch
from helpers.architectures import tiny_vlm
from helpers.judging import Judging
from helpers.reference import coca_logits

import vlmguard_plugin as vg
from vlmguard_plugin.guards.core.guarded_subject import GuardedSubject
from vlmguard_plugin.guards.ecso import JUDGE
from vlmguard_plugin.subjects.base import Contrast
from vlmguard_plugin.subjects.contrast import contrasted, of_pairs
from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject

TOKENS = 8


def next_logits(subject, query, answer, edits):
    """Of the token after a query's answer so far (tokens), [words]: one row, the answer one token after another."""
    inputs = subject.encode([query])
    mask = inputs["attention_mask"]
    with subject.editing(edits), torch.no_grad():
        output = subject.model(**inputs, use_cache=True)
        for token in answer:
            mask = torch.cat([mask, mask.new_ones(1, 1)], dim=1)
            cache = output.past_key_values
            output = subject.model(
                input_ids=torch.tensor([[token]]), attention_mask=mask, past_key_values=cache, use_cache=True
            )
    return output.logits[0, -1].numpy()


def loop(subject, safe, plain, alpha, tokens=TOKENS, edits=()):
    """The answer to one query by the definition. safe, plain: the query with the safety prompt and without."""
    answer = []
    for _ in range(tokens):
        both = (next_logits(subject, query, answer, edits) for query in (safe, plain))
        answer.append(int(coca_logits(*both, alpha).argmax()))
    return subject.processor.tokenizer.decode(answer, skip_special_tokens=True).strip()


@pytest.mark.parametrize("alpha", [-3.0, 0.5, 1.0, 6.0])
def test_answers_are_those_of_the_definition(subject, asked, alpha):
    guard = vg.build_guard("coca", alpha=alpha)
    expected = [loop(subject, guard.rewrite(query), query, alpha) for query in asked]
    assert guard.respond(subject, asked, max_new_tokens=TOKENS) == expected
    assert expected != subject.generate([guard.rewrite(query) for query in asked], max_new_tokens=TOKENS)
    assert expected != subject.generate(asked, max_new_tokens=TOKENS)


def test_without_amplification_it_is_the_safety_prompt_and_at_minus_one_the_model(subject, asked):
    guard = vg.build_guard("coca", alpha=0.0)
    worded = [guard.rewrite(query) for query in asked]
    assert [query.text.endswith(f"\n{plain.text}") for query, plain in zip(worded, asked)] == [True] * 3
    assert guard.respond(subject, asked, max_new_tokens=TOKENS) == subject.generate(worded, max_new_tokens=TOKENS)
    unguarded = vg.build_guard("coca", alpha=-1.0).respond(subject, asked, max_new_tokens=TOKENS)
    assert unguarded == subject.generate(asked, max_new_tokens=TOKENS)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_any_batch_answers_alike(subject, asked, batch_size):
    """Also one of a single row, which two have to share."""
    guard, other = vg.build_guard("coca"), HuggingFaceSubject(subject.model, subject.processor, batch_size=batch_size)
    rows = []
    hook = other.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    answers = guard.respond(other, [*asked, *asked], max_new_tokens=4)
    hook.remove()
    assert answers == 2 * guard.respond(subject, asked, max_new_tokens=4)
    assert max(rows) == max(2, batch_size - batch_size % 2) or batch_size == 8
    assert other.generated_tokens == 4 * 6, "those of the answers alone"


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["qwen2_5_vl", "gemma3", "mllama", "idefics3"])
def test_on_other_architectures(architecture, asked):
    subject, guard = HuggingFaceSubject(*tiny_vlm(architecture), batch_size=4), vg.build_guard("coca", alpha=2.0)
    answers = guard.respond(subject, asked, max_new_tokens=3)
    assert answers == [guard.respond(subject, [query], max_new_tokens=3)[0] for query in asked]
    assert answers != subject.generate(asked, max_new_tokens=3)
    for query in asked:
        both = (next_logits(subject, put, (), ()) for put in (guard.rewrite(query), query))
        logits = coca_logits(*both, 2.0)
        logits[subject.model.generation_config.suppress_tokens] = -np.inf  # what no tiny model may say
        token = int(logits.argmax())
        first = guard.respond(subject, [query], max_new_tokens=1)[0]
        assert first == subject.processor.tokenizer.decode([token], skip_special_tokens=True).strip()


def test_beside_guards_that_edit_and_word(subject, anchors, asked):
    """Edits are made in both prompts, each row's decided by itself; the other guards' words stand in both."""
    settings = {"vlm_guard": {"layers": [1], "alpha": 3.0}, "coca": {"alpha": 2.0}}
    composed = vg.build_guard("vlm_guard+coca+self_reminder", **settings).fit(subject, anchors)
    steering, coca, reminder = composed.parts
    expected = []
    for query in asked:
        put = reminder.rewrite(coca.rewrite(query)), reminder.rewrite(query)
        expected.append(loop(subject, *put, 2.0, edits=steering.edits(subject, None)))
    assert composed.respond(subject, asked, max_new_tokens=TOKENS) == expected
    assert vg.build_guard("coca", alpha=2.0).respond(subject, asked, max_new_tokens=TOKENS) != expected


def test_a_guard_that_asks_about_answers_asks_the_contrasted_model(subject, asked):
    coca = vg.build_guard("coca")
    judged = vg.build_guard("ecso+coca").respond(subject, asked[:1], max_new_tokens=4)
    assert judged == coca.respond(subject, asked[:1], max_new_tokens=4), "a random model never says yes"
    guarded = GuardedSubject(subject, [coca])
    judging = Judging(guarded, lambda query: "Yes.")
    again = vg.build_guard("ecso", caption_tokens=3).respond(judging, asked[:1], max_new_tokens=4)
    assert judging.asked[1][0].text == JUDGE.format(query=asked[0].text, answer=judged[0]) and len(judging.asked) == 4
    assert again == coca.respond(subject, judging.asked[-1], max_new_tokens=4)
    with pytest.raises(ValueError, match="contrasts logits, which a GuardedSubject keeps to itself"):
        coca.respond(guarded, asked)


def test_a_contrast_can_be_asked_of_a_guarded_subject(subject, asked):
    """Whoever asks for one: the guards' words stand in both prompts."""
    reminder, other = vg.build_guard("self_reminder"), [query.with_text("Say it.") for query in asked]
    guarded = GuardedSubject(subject, [reminder])
    answers = guarded.generate(asked, contrast=Contrast(other, 2.0), max_new_tokens=4)
    assert answers == [
        loop(subject, reminder.rewrite(query), reminder.rewrite(plain), 2.0, 4) for query, plain in zip(asked, other)
    ]


def test_it_stops_where_it_is_told(subject, asked):
    guard = vg.build_guard("coca")
    whole = guard.respond(subject, asked, max_new_tokens=8)
    ends = [answer[3] for answer in whole]
    stopped = guard.respond(subject, asked, max_new_tokens=8, stop=ends)
    assert stopped == [min((answer.split(end)[0] for end in ends), key=len).strip() for answer in whole]
    without_cache = guard.respond(subject, asked, max_new_tokens=2, use_cache=False)
    assert without_cache == guard.respond(subject, asked, max_new_tokens=2)
    with pytest.raises(ValueError, match="acts on the prompt or the answer"), guard.on(subject):
        pass


@pytest.mark.parametrize(
    "generation, message",
    [
        ({"do_sample": True}, "do_sample: contrasted logits are decoded greedily"),
        ({"num_beams": 2}, "num_beams: contrasted logits are decoded greedily"),
        ({"prompt_lookup_num_tokens": 2}, "prompt_lookup_num_tokens"),
        ({"guidance_scale": 1.5}, "guidance_scale"),
    ],
)
def test_what_takes_the_two_prompts_apart_is_refused(subject, asked, generation, message):
    with pytest.raises(ValueError, match=message):
        vg.build_guard("coca").respond(subject, asked, max_new_tokens=2, **generation)


@pytest.mark.parametrize("option", [{"do_sample": True}, {"num_beams": 3}])
def test_also_where_a_configuration_asks_for_it(fresh, asked, option):
    for name, value in option.items():
        setattr(fresh.model.generation_config, name, value)
    guard = vg.build_guard("coca")
    if "num_beams" in option:
        with pytest.raises(ValueError, match="num_beams"):
            guard.respond(fresh, asked, max_new_tokens=2)
        return
    assert guard.respond(fresh, asked, max_new_tokens=2), "greedy unless told otherwise"
    with pytest.raises(ValueError, match="do_sample"):
        guard.respond(fresh, asked, max_new_tokens=2, generation_config=fresh.model.generation_config)


def test_on_hosts_objects_it_is_refused_in_one_line(subject, asked):
    class Vlm:
        model = subject.model

        def generate(self, message, dataset=None):
            raise AssertionError("nothing is asked")

    host = vg.HostSubject(Vlm())
    composed = vg.build_guard("coca+self_reminder")
    for put in (
        lambda: vg.build_guard("coca").respond(host, asked),
        lambda: composed.respond(host, asked),
        lambda: composed.check_reach(host),
        lambda: GuardedSubject(host, [composed]),
    ):
        with pytest.raises(ValueError, match="guard 'coca' contrasts logits, which a HostSubject keeps to") as refused:
            put()
        assert "\n" not in str(refused.value)


def test_one_contrast_at_most(subject):
    class Second(type(vg.build_guard("coca"))):
        name = "second"

    with pytest.raises(ValueError, match="coca and second both contrast logits"):
        GuardedSubject(subject, [vg.build_guard("coca"), Second()])


def test_logits_that_are_ruled_out_and_tokens_that_part():
    own, other = np.array([[1.0, -np.inf, 2.0, -np.inf]]), np.array([[3.0, 1.0, -np.inf, -np.inf]])
    mixed = contrasted(torch.tensor(np.concatenate([own, other])), 2.0)
    assert mixed.tolist() == [[1 + 2 * (1 - 3), -np.inf, 2.0, -np.inf]]
    random = np.random.default_rng(0).normal(size=(4, 3, 7)).astype(np.float32)
    np.testing.assert_allclose(
        contrasted(torch.from_numpy(random), 1.7).numpy(), coca_logits(random[:2], random[2:], 1.7), atol=2e-5
    )
    assert of_pairs(torch.tensor([[1, 2], [3, 4], [1, 2], [3, 4]])).tolist() == [[1, 2], [3, 4]]
    with pytest.raises(RuntimeError, match="went on with different tokens"):
        of_pairs(torch.tensor([[1, 2], [1, 3]]))


def test_answers_that_are_other_tokens_behind_the_other_wording(subject):
    """A tokenizer that joins the answer's first letters to the prompt's last ones tells them apart."""
    queries = [vg.Query("Why? ", raw=True)]
    with pytest.raises(ValueError, match="'yes' has other tokens behind the request put otherwise"):
        subject.log_likelihoods(queries, ["yes"], contrast=Contrast([vg.Query("Why?", raw=True)], 1.0))
    alike = subject.log_likelihoods(queries, ["yes"], contrast=Contrast(queries, 1.0))
    assert alike[0].log_probability == pytest.approx(subject.log_likelihoods(queries, ["yes"])[0].log_probability)
    pictured = Contrast([vg.Query("Why?", (vg.BlankImage(),))], 1.0)
    with pytest.raises(ValueError, match="query 0 and its other wording differ in their images"):
        subject.generate([vg.Query("Why?")], contrast=pictured)
