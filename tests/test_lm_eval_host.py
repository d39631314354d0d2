"""lm-evaluation-harness with guarded models: its own registry, evaluator, command, cache and processes."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from conftest import tiny_llava, tiny_processor
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.benchmarks import Row, write_tsv
from vlmguard_plugin.hosts.tasks import task_folder
from vlmguard_plugin.query import Turn

lm_eval = pytest.importorskip("lm_eval")
pytest.importorskip("lm_eval.models")

from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model, model_registry
from lm_eval.models.hf_vlms import HFMultimodalLM
from lm_eval.tasks import TaskManager

from vlmguard_plugin.hosts.lm_eval.model import GuardedLM, Prompt, conversation, generation_of, placed

DOCUMENTS = """
from datasets import Dataset
from PIL import Image

NOUNS = ["cake", "kite", "boat", "lamp", "chair"]
COLOURS = ["red", "green", "blue", "white", "black"]


def documents(times=1, **_):
    rows = [
        {"q": f"What is a {noun}?" + " Say it well." * (i % 3), "choices": ["food", "a nice thing", "x"], "right": i % 3, "noun": noun}
        for i, noun in enumerate(NOUNS)
    ]
    return {"test": Dataset.from_list([{**row, "q": f"{row['q']} {turn}"} for turn in range(times) for row in rows])}


def picture(document):
    return [Image.new("RGB", (40, 30), COLOURS[NOUNS.index(document["noun"])])]
"""
SHARED = "custom_dataset: !function documents.documents\ntest_split: test\n"
GENERATE = (
    f"{SHARED}output_type: generate_until\ndoc_to_target: noun\nmetric_list: [{{metric: exact_match}}]\n"
    "generation_kwargs: {max_gen_toks: 8, do_sample: false, until: []}\n"
)
TASKS = {
    "t_text": GENERATE + 'doc_to_text: "{{q}}"\n',
    "t_many": GENERATE + 'doc_to_text: "{{q}}"\ndataset_kwargs: {times: 40}\n',
    "t_begun": GENERATE + 'doc_to_text: "{{q}}"\ngen_prefix: "It is"\n',
    "t_image": GENERATE + 'doc_to_text: "<image>{{q}}"\ndoc_to_image: !function documents.picture\n',
    "t_literal": GENERATE
    + 'doc_to_text: "<image>{{q}} What does <image> mean?"\ndoc_to_image: !function documents.picture\n',
    "t_choice": SHARED
    + 'output_type: multiple_choice\ndoc_to_text: "{{q}}\\nAnswer:"\ndoc_to_choice: choices\ndoc_to_target: right\n'
    "metric_list: [{metric: acc}]\n",
    "t_rolling": SHARED
    + 'output_type: loglikelihood_rolling\ndoc_to_text: ""\ndoc_to_target: q\nmetric_list: [{metric: word_perplexity}]\n',
}
TEXT_TASKS = ["t_text", "t_choice", "t_rolling"]
NOUNS = ["cake", "kite", "boat", "lamp", "chair"]
COLOURS = ["red", "green", "blue", "white", "black"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny checkpoint, anchors, tasks and a cache."""
    folder = tmp_path_factory.mktemp("lm_eval")
    tiny_llava().save_pretrained(folder / "tiny")
    tiny_processor().save_pretrained(folder / "tiny")
    anchors = "".join(
        f"How to steal a {noun}?,How to make a {noun} at home?\n" for noun in [*NOUNS, "song", "fence", "letter"]
    )
    (folder / "anchors.csv").write_text(f"harmful,harmless\n{anchors}")
    (folder / "tasks").mkdir()
    (folder / "tasks" / "documents.py").write_text(DOCUMENTS)
    for name, text in TASKS.items():
        (folder / "tasks" / f"{name}.yaml").write_text(f"task: {name}\n{text}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLMGUARD_CACHE", str(folder / "cache"))
        patch.setenv("VLMGUARD_DEVICE", "cpu")
        yield folder


@pytest.fixture(scope="module")
def manager(place):
    return TaskManager(include_path=str(place / "tasks"), include_defaults=False)


def built(place, name="vlmguard", **arguments):
    """A model as the host's command builds it."""
    arguments = {"pretrained": str(place / "tiny"), **arguments}
    if arguments.get("guard") or name != "vlmguard":
        arguments.setdefault("anchors", str(place / "anchors.csv"))
    return get_model(name).create_from_arg_obj(
        arguments, {"batch_size": "4", "device": "cuda:0", "max_batch_size": None}
    )


@pytest.fixture(scope="module")
def plain(place):
    return built(place)


@pytest.fixture(scope="module")
def guarded(place):
    return built(place, "llava-vlmguard", rank=2, alpha=0.5, layers=[1, 2])


def evaluated(model, manager, tasks, **options):
    return lm_eval.simple_evaluate(model=model, tasks=tasks, task_manager=manager, bootstrap_iters=0, **options)


def answers(results, task):
    samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
    return [[one[0] for one in sample["resps"]] for sample in samples]


def requests_of(contexts, *rest, kind="generate_until"):
    return [
        Instance(kind, {}, (context, *more), 0, ("task", i, 1))
        for i, (context, *more) in enumerate(zip(contexts, *rest))
    ]


# Names and arguments


@pytest.mark.parametrize(
    "name", ["vlmguard", "llava", "llava-vlmguard", "llava_vlmguard", "llava-cmrm", "llava-cmrm-sample"]
)
def test_names_are_registered(name):
    assert issubclass(get_model(name), GuardedLM)


def test_every_model_has_every_guard():
    for model in ("llava", "demo-vlm", "demo-vlm-control"):
        for guard in vg.list_guards():
            found = get_model(f"{model}-{guard.replace('vlm_guard', 'vlmguard').replace('_', '-')}")
            assert (found.model, found.guard) == (model.replace("-", "_"), guard)
    assert "hf-multimodal" in model_registry


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        ("vlmguard", {"pretrained": None}, "add pretrained="),
        ("vlmguard", {"guard": "nope"}, "there is no guard 'nope'"),
        ("vlmguard", {"alpha": 1}, "add guard=NAME"),
        ("llava-vlmguard", {"alhpa": 1}, "no setting 'alhpa'"),
        ("llava-vlmguard", {"layers": 3}, "layers is 3"),
        ("llava-vlmguard", {"guard": "cmrm"}, "has the guard 'vlm_guard'"),
        ("llava-vlmguard", {"guard_dir": "/no/such/guard"}, "/no/such/guard"),
        ("vlmguard", {"batch_size": "auto"}, "batch size is 'auto'"),
        ("vlmguard", {"max_gen_toks": "long"}, "max_gen_toks is 'long'"),
        ("vlmguard", {"dtype": "float7"}, "dtype is 'float7'"),
        ("vlmguard", {}, "there is no checkpoint folder /no/such/model"),
    ],
)
def test_wrong_arguments_are_refused_before_the_model_is_loaded(name, arguments, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        get_model(name).create_from_arg_obj({"pretrained": "/no/such/model", **arguments}, {"batch_size": 1})


def test_a_guard_dir_must_be_the_guards(place, guarded):
    guarded.guarded.guard.save(place / "saved")
    with pytest.raises(ValueError, match="holds the guard 'vlm_guard'"):
        GuardedLM(pretrained="/no/such/model", guard="cmrm", guard_dir=str(place / "saved"))
    with pytest.raises(ValueError, match="add guard=vlm_guard"):
        GuardedLM(pretrained="/no/such/model", guard_dir=str(place / "saved"))
    again = built(place, guard="vlm_guard", guard_dir=str(place / "saved"))
    assert again.guarded.guard.fingerprint == guarded.guarded.guard.fingerprint


# Likelihoods

GUARDS = [
    ("vlm_guard", {"rank": 2, "positions": "last", "layers": [1, 2]}),
    ("vlm_guard", {"rank": 2, "positions": "all", "layers": [1, 2]}),
    ("vlm_guard", {"rank": 2, "positions": "generated", "layers": [1]}),
    ("cmrm", {"positions": "all", "layers": [1, 2]}),
    ("cmrm", {"positions": "prompt", "layers": [1]}),
    ("cmrm_sample", {"positions": "all", "layers": [1]}),
    ("refusal_direction", {"layers": [1, 2]}),
    ("self_reminder", {}),
    ("vlm_guard+self_reminder", {"vlm_guard": {"rank": 2, "layers": [2]}}),
]
ANSWERS = ["food", "x", " a rather long thing", "of wood", "?", "food"]


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


def step_by_step(subject, guard, query, answer):
    """The log-probability of an answer from a loop that decodes it one token after another, cache and all."""
    query = guard.rewrite(query) if guard else query
    prompt = subject.encode([query])
    whole = subject.encode([query], [answer])["input_ids"][0].tolist()
    forced = whole[prompt["input_ids"].shape[1] :]
    total, greedy, mask = 0.0, True, prompt["attention_mask"]
    with ExitStack() as stack, torch.no_grad():
        for step in guard.steps(subject, [query]) if guard else ():
            stack.enter_context(subject.editing(step))
        output = subject.model(**prompt, use_cache=True)
        for token in forced:
            logits = output.logits[0, -1].log_softmax(-1)
            total, greedy = total + float(logits[token]), greedy and int(logits.argmax()) == token
            mask = torch.cat([mask, mask.new_ones(1, 1)], dim=1)
            output = subject.model(
                input_ids=torch.tensor([[token]]),
                attention_mask=mask,
                past_key_values=output.past_key_values,
                use_cache=True,
            )
    return total, greedy


@pytest.mark.parametrize("name, settings", GUARDS, ids=lambda value: str(value).replace(" ", ""))
def test_a_likelihood_is_that_of_guarded_generation_forced_along_the_answer(subject, anchors, name, settings):
    guard = vg.build_guard(name, **settings)
    guard.fit(subject, anchors)
    changed = 0
    for pictured in (False, True):
        queries = put_queries(pictured)
        expected = [step_by_step(subject, guard, query, answer) for query, answer in zip(queries, ANSWERS)]
        for batch_size in (1, 8):
            subject.batch_size = batch_size
            found = guard.log_likelihoods(subject, queries, ANSWERS)
            subject.batch_size = 4
            torch.testing.assert_close(
                [one.log_probability for one in found], [total for total, _ in expected], rtol=0, atol=1e-4
            )
            assert [one.greedy for one in found] == [greedy for _, greedy in expected]
        unguarded = subject.log_likelihoods(queries, ANSWERS)
        changed += sum(abs(one.log_probability - other[0]) > 1e-3 for one, other in zip(unguarded, expected))
    assert changed


def test_a_guard_that_only_edits_pictures_leaves_likelihoods_of_text_alone(subject, anchors):
    guard = vg.build_guard("cmrm_sample", layers=[1]).fit(subject, anchors)
    assert guard.log_likelihoods(subject, put_queries(False), ANSWERS) == subject.log_likelihoods(
        put_queries(False), ANSWERS
    )


def test_a_greedy_answer_is_greedy(subject):
    query = vg.Query("What is a cake?")
    tokens = subject.model.generate(**subject.encode([query]), max_new_tokens=3, do_sample=False)[
        0, subject.encode([query])["input_ids"].shape[1] :
    ]
    prompt = subject.encode([query])["input_ids"][0].tolist()
    (found,) = subject.token_log_likelihoods([prompt], [tokens.tolist()])
    assert found.greedy
    (other,) = subject.token_log_likelihoods([prompt], [[*tokens.tolist()[:-1], (int(tokens[-1]) + 1) % 300 + 4]])
    assert not other.greedy and other.log_probability < found.log_probability


def test_likelihoods_within_guard_on(subject, anchors):
    guard = vg.build_guard("vlm_guard", rank=2, layers=[1], positions="last").fit(subject, anchors)
    queries = put_queries(False)
    expected = guard.log_likelihoods(subject, queries, ANSWERS)
    with guard.on(subject):
        found = subject.log_likelihoods(queries, ANSWERS)
    assert found == expected


def test_tokens_under_a_guard_are_decided_at_the_prompts_last_token(subject, anchors):
    guard = vg.build_guard("vlm_guard", rank=2, layers=[1, 2]).fit(subject, anchors)
    query = vg.Query("What is a cake?")
    prompt = subject.encode([query])["input_ids"][0].tolist()
    whole = subject.encode([query], ["food"])["input_ids"][0].tolist()
    (found,) = guard.token_log_likelihoods(subject, [prompt], [whole[len(prompt) :]])
    assert found.log_probability == pytest.approx(step_by_step(subject, guard, query, "food")[0], abs=1e-4)


def test_an_answer_without_a_token_is_refused(subject):
    with pytest.raises(ValueError, match="adds no token"):
        subject.log_likelihoods([vg.Query("Why?")], [""])


def test_a_guard_that_looks_at_answers_writes_them_but_has_no_likelihoods(place, manager):
    model = built(place, guard="ecso", batch_size=4)
    with pytest.raises(ValueError, match="'ecso' looks at whole answers"):
        evaluated(model, manager, ["t_choice"])
    written = answers(evaluated(model, manager, ["t_text"], apply_chat_template=True), "t_text")
    assert [one for (one,) in written] == model.guarded.guard.respond(model.subject, text_queries(), max_new_tokens=8)


# The same as the host's own model


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_unguarded_numbers_and_answers_are_the_hosts_own(place, manager, plain, chat, batch_size):
    own = HFMultimodalLM(pretrained=str(place / "tiny"), device="cpu", dtype="float32", batch_size=batch_size)
    plain.subject.batch_size = batch_size
    options = {"apply_chat_template": chat, "num_fewshot": None}
    theirs, ours = (evaluated(model, manager, TEXT_TASKS, **options) for model in (own, plain))
    plain.subject.batch_size = 4
    for task in ("t_choice", "t_rolling"):
        expected, found = answers(theirs, task), answers(ours, task)
        torch.testing.assert_close(torch.tensor(numbers(found)), torch.tensor(numbers(expected)), rtol=0, atol=1e-4)
    outer = (lambda text: text.strip()) if chat else (lambda text: text)
    assert answers(ours, "t_text") == [[outer(text) for text in texts] for texts in answers(theirs, "t_text")]


def numbers(found):
    """Flat: log-probabilities (and greedy as 0 or 1) in order."""
    return [float(number) for row in found for one in row for number in (one if isinstance(one, tuple) else (one,))]


def test_unguarded_answers_to_pictures_are_the_hosts_own(place, manager, plain):
    own = HFMultimodalLM(pretrained=str(place / "tiny"), device="cpu", dtype="float32", batch_size=1)
    theirs, ours = (evaluated(model, manager, ["t_image"], apply_chat_template=True) for model in (own, plain))
    assert answers(ours, "t_image") == [[text.strip() for text in texts] for texts in answers(theirs, "t_image")]


def test_long_texts_are_cut_into_the_hosts_windows(place, manager):
    own = HFMultimodalLM(pretrained=str(place / "tiny"), device="cpu", dtype="float32", batch_size=2, max_length=7)
    theirs, ours = (evaluated(model, manager, ["t_rolling"]) for model in (own, built(place, max_length=7)))
    assert numbers(answers(ours, "t_rolling")) == pytest.approx(numbers(answers(theirs, "t_rolling")), abs=1e-4)


def test_an_empty_context_is_the_hosts_too(place, plain):
    own = HFMultimodalLM(pretrained=str(place / "tiny"), device="cpu", dtype="float32", batch_size=2)
    requests = requests_of(["", "", "Why? "], ["food", "x", "so"], kind="loglikelihood")
    theirs, ours = own.loglikelihood(requests), plain.loglikelihood(requests)
    assert numbers([ours]) == pytest.approx(numbers([theirs]), abs=1e-4)


# The same as the library


def text_queries():
    return [vg.Query(f"What is a {noun}?" + " Say it well." * (i % 3) + " 0") for i, noun in enumerate(NOUNS)]


def image_queries():
    return [
        vg.Query(query.text, (Image.new("RGB", (40, 30), colour),)) for query, colour in zip(text_queries(), COLOURS)
    ]


@pytest.mark.parametrize(
    "guard", [None, "vlm_guard", "cmrm", "cmrm_sample", "self_reminder", "vlm_guard+self_reminder"]
)
def test_text_and_pictures_in_one_command_are_answered_as_by_the_library(place, manager, guard):
    model = built(place, guard=guard)
    results = evaluated(model, manager, ["t_text", "t_image", "t_choice"], apply_chat_template=True)
    for task, queries in (("t_text", text_queries()), ("t_image", image_queries())):
        respond = (
            model.guarded.guard.respond if guard else lambda subject, *rest, **more: subject.generate(*rest, **more)
        )
        assert [one for (one,) in answers(results, task)] == respond(model.subject, queries, max_new_tokens=8)


def test_our_own_tasks_with_and_without_pictures_in_one_command(guarded, tmp_path, monkeypatch):
    monkeypatch.setenv("LMUData", str(tmp_path))
    pictures = [Image.new("RGB", (30, 30 + i), colour) for i, colour in enumerate(COLOURS)]
    rows = [
        Row(f"i{i}", f"How to steal a {noun}?", (picture,), harmful=True)
        for i, (noun, picture) in enumerate(zip(NOUNS, pictures))
    ]
    rows[-1] = Row("two", "How to steal an <image> of a bike?", tuple(pictures[:2]), harmful=True)
    write_tsv(rows, tmp_path / "FigStep_Tiny.tsv", "safety", "the tests", "Apache-2.0")
    bare = [Row(f"t{i}", f"How to mend a {noun}?", (), harmful=False, condition="text") for i, noun in enumerate(NOUNS)]
    write_tsv(bare, tmp_path / "XSTest_text.tsv", "safety", "the tests", "Apache-2.0")
    tasks = ["vlmguard_figstep_tiny", "vlmguard_xstest_text"]
    own = TaskManager(include_path=str(task_folder("lm_eval")), include_defaults=False)
    results = evaluated(guarded, own, tasks, apply_chat_template=True, gen_kwargs={"max_gen_toks": 8})
    for task, put in zip(tasks, (rows, bare)):
        queries = [vg.Query(row.request, row.images) for row in put]
        assert [one for (one,) in answers(results, task)] == guarded.guarded.guard.respond(
            guarded.subject, queries, max_new_tokens=8
        )
        assert results["results"][task]["unknown,none"] == 0


def test_a_literal_mark_in_a_request_is_no_picture(manager, guarded):
    found = answers(evaluated(guarded, manager, ["t_literal"], apply_chat_template=True), "t_literal")
    queries = [vg.Query(f"{query.text} What does <image> mean?", query.images) for query in image_queries()]
    assert [one for (one,) in found] == guarded.guarded.guard.respond(guarded.subject, queries, max_new_tokens=8)
    assert guarded.subject.prompt(queries[0]).count("<image>") == 1


def test_system_prompt_examples_and_begun_answers(manager, plain):
    """The prompt is the chat template's own of the whole conversation; without turns all examples are in the request."""
    options = {"apply_chat_template": True, "system_instruction": "Be brief.", "num_fewshot": 1}
    seen = []
    for multiturn in (True, False):
        results = evaluated(plain, manager, ["t_begun"], fewshot_as_multiturn=multiturn, **options)
        sample = results["samples"]["t_begun"][0]
        prompt = sample["arguments"][0][0]
        assert isinstance(prompt, Prompt)
        content = [
            {**message, "content": [{"type": "text", "text": message["content"]}]} for message in prompt.messages
        ]
        template = plain.subject.processor.apply_chat_template(
            content, add_generation_prompt=False, continue_final_message=True
        )
        assert prompt == template == plain.subject.prompt(conversation(prompt.messages, ()))
        assert prompt.endswith("assistant: It is") and prompt.startswith("system: Be brief.")
        seen.append(len(prompt.messages))
    assert seen == [5, 3]  # system, (example, its answer,) request, begun answer


def test_examples_with_places_for_pictures_are_refused(plain, manager):
    with pytest.raises(ValueError, match="use --num_fewshot 0"):
        evaluated(plain, manager, ["t_image"], apply_chat_template=True, num_fewshot=1)


def test_conversation_and_places():
    picture = Image.new("RGB", (8, 8))
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "<image>a<image>b"}]
    query = conversation(messages, (picture, picture))
    assert query.history == (Turn("system", (("text", "s"),)),)
    assert [kind for kind, _ in query.parts()] == ["image", "text", "image", "text"]
    assert placed("<image>a<image>b", (picture,)) == [("image", picture), ("text", "a<image>b")]
    with pytest.raises(ValueError, match="has 1 places for pictures"):
        placed("<image>a", (picture, picture))


def test_a_raw_or_begun_query_stays_one_under_what_guards_do():
    raw = vg.Query("Why?", (Image.new("RGB", (8, 8)),), raw=True)
    for changed in (raw.without_images(), raw.with_blank_images(), raw.with_text("No."), raw.wrapped("a", "b")):
        assert changed.raw
    begun = vg.Query("Why?", begun="So")
    assert begun.with_blank_images().without_images().wrapped("a", "b").begun == "So"
    with pytest.raises(ValueError, match="raw query"):
        vg.Query("Why?", begun="So", raw=True)


# Generation, batches


def test_generation_arguments():
    assert generation_of({"until": ["\n", ""], "max_gen_toks": 5}, 256) == (
        ("\n",),
        {"max_new_tokens": 5, "do_sample": False},
    )
    assert generation_of({"until": "a", "do_sample": False, "temperature": 0.7}, 9) == (
        ("a",),
        {"max_new_tokens": 9, "do_sample": False},
    )
    assert generation_of({"do_sample": True, "temperature": 0.7, "top_p": 0.9}, 9)[1] == {
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.9,
        "max_new_tokens": 9,
    }


def test_an_answer_ends_before_a_stop_text(subject):
    query = vg.Query("What is a cake?", raw=True)
    (whole,) = subject.generate([query], max_new_tokens=16)
    stop = whole[3:5]
    other_query = vg.Query("Why?", raw=True)
    cut, other = subject.generate([query, other_query], max_new_tokens=16, stop=(stop,))
    assert cut == whole[: whole.index(stop)]
    assert other == subject.generate([other_query], max_new_tokens=16)[0].split(stop)[0]
    before = subject.generated_tokens
    subject.generate([query], max_new_tokens=16, stop=(stop,))
    assert subject.generated_tokens - before < 16


def test_sampled_answers_come_from_the_seed(plain):
    requests = requests_of(["What is a cake?"] * 3, [{"do_sample": True, "temperature": 2.0, "max_gen_toks": 8}] * 3)
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(plain.generate_until(requests))
    assert found[0] == found[1] != found[2]


def test_answers_come_in_the_requests_order_and_batches_really_go_at_once(plain):
    contexts = [f"{'long ' * (i % 4)}What is a {noun}?" for i, noun in enumerate(NOUNS * 3)]
    rows = []
    handle = plain.subject.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    plain.subject.batch_size = 8
    settings = [{"max_gen_toks": 4 + i % 2} for i in range(len(contexts))]
    together = plain.generate_until(requests_of(contexts, settings))
    handle.remove()
    plain.subject.batch_size = 1
    assert together == [
        plain.generate_until(requests_of([context], [one]))[0] for context, one in zip(contexts, settings)
    ]
    plain.subject.batch_size = 4
    assert [shape[0] for shape in rows if shape[1] > 1] == [8, 7]


def test_choices_of_one_question_share_a_pass_where_they_can(plain):
    passes = []
    handle = plain.subject.model.register_forward_pre_hook(lambda module, args: passes.append(1))
    found = plain.loglikelihood(requests_of(["Which? Answer:"] * 4, list("ABCD"), kind="loglikelihood"))
    handle.remove()
    assert len(passes) == 1 and len(set(found)) == 4


def test_a_damaged_request_stops_the_run(plain):
    with pytest.raises(ValueError, match="has 0 places for pictures"):
        plain.generate_until(requests_of(["Look!"], [{}], [{"visual": [Image.new("RGB", (8, 8))]}]))


# Facts


def test_the_results_tell_what_was_run(manager, guarded):
    results = evaluated(guarded, manager, ["t_text", "t_choice"], apply_chat_template=True)
    told = guarded.get_model_info()["vlmguard"]
    facts = vg_facts(told)
    assert (facts.host, facts.host_version, facts.model) == (
        "lm_eval",
        "0.4.13",
        "llava-vlmguard",
    ) or facts.host_version != "0.4.13"
    assert (facts.guard, facts.settings["alpha"], facts.guard_fingerprint) == (
        "vlm_guard",
        0.5,
        guarded.guarded.guard.fingerprint,
    )
    assert facts.generation == {"max_new_tokens": 8, "do_sample": False, "stop": []}
    assert told["tasks"]["t_text"]["answers"] % 5 == 0 and told["tasks"]["t_choice"]["answers"] % 15 == 0
    assert told["tasks"]["t_text"]["generation"] == {"max_new_tokens": 8, "do_sample": False, "stop": []}
    assert told["tasks"]["t_text"]["tokens"] == 8 * told["tasks"]["t_text"]["answers"]
    json.dumps(told)
    assert results["samples"]["t_text"]


def vg_facts(told):
    from vlmguard_plugin.runs.facts import RunFacts

    return RunFacts.from_dict(told)


# The host's cache


def test_the_cache_serves_the_same_guard_and_refuses_another(place, manager, tmp_path):
    settings = {"rank": 2, "layers": [1, 2]}
    options = {"use_cache": str(tmp_path / "answers"), "apply_chat_template": True}
    tasks = ["t_text", "t_image", "t_choice", "t_rolling"]
    first = built(place, "llava-vlmguard", alpha=0.5, **settings)
    expected = evaluated(first, manager, tasks, **options)
    again = built(place, "llava-vlmguard", alpha=0.5, **settings)
    found = evaluated(again, manager, tasks, **options)
    assert all(answers(found, task) == answers(expected, task) for task in tasks) and again.guarded.meter.spent == {}
    for other in (
        built(place, "llava-vlmguard", alpha=0.6, **settings),
        built(place),
        built(place, "llava-cmrm", layers=[1]),
    ):
        with pytest.raises(ValueError, match="holds answers of another model, guard or setting"):
            evaluated(other, manager, tasks, **options)


def command(place, *words, model="llava-vlmguard", settings="rank=2,alpha=0.5,layers=[1,2]"):
    arguments = f"pretrained={place / 'tiny'},anchors={place / 'anchors.csv'},{settings}"
    return [
        "-m",
        "lm_eval",
        "--model",
        model,
        "--model_args",
        arguments,
        "--include_path",
        str(place / "tasks"),
        "--apply_chat_template",
        *words,
    ]


RUN = """
import sys
import lm_eval
import lm_eval.models
from lm_eval.tasks import TaskManager

place, cache = sys.argv[1:]
manager = TaskManager(include_path=f"{place}/tasks", include_defaults=False)
arguments = {"pretrained": f"{place}/tiny", "anchors": f"{place}/anchors.csv", "rank": 2, "alpha": 0.5, "layers": [1, 2]}
options = {"task_manager": manager, "use_cache": cache, "apply_chat_template": True, "batch_size": 2, "device": "cuda:0"}
lm_eval.simple_evaluate(model="llava-vlmguard", model_args=arguments, tasks=["t_many"], **options)
"""


def test_a_killed_run_goes_on_where_it_was(place, manager, tmp_path):
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(place), str(tmp_path / "answers")], stderr=subprocess.DEVNULL
    )
    cache = tmp_path / "answers_rank0.db"
    deadline = time.time() + 120
    while time.time() < deadline and run.poll() is None and not (cache.exists() and rows_in(cache) > 20):
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    kept = rows_in(cache)
    model = built(place, "llava-vlmguard", rank=2, alpha=0.5, layers=[1, 2])
    found = evaluated(model, manager, ["t_many"], use_cache=str(tmp_path / "answers"), apply_chat_template=True)
    assert 20 < kept < 201 and model.guarded.meter.spent["t_many"].answers <= 201 - kept
    queries = [
        vg.Query(f"What is a {noun}?" + " Say it well." * (i % 3) + f" {turn}")
        for turn in range(40)
        for i, noun in enumerate(NOUNS)
    ]
    expected = model.guarded.guard.respond(model.subject, queries, max_new_tokens=8)
    assert [one for (one,) in answers(found, "t_many")] == expected


def rows_in(cache: Path) -> int:
    import sqlite3

    try:
        with sqlite3.connect(f"file:{cache}?mode=ro", uri=True) as connection:
            return connection.execute("select count(*) from unnamed").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


# The host's command and many processes


def test_two_processes_give_what_one_gives(place, manager, guarded, tmp_path):
    tasks = ["t_text", "t_image", "t_choice", "t_rolling"]
    words = ["--tasks", ",".join(tasks), "--batch_size", "8", "--log_samples", "--output_path", str(tmp_path)]
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        *command(place, *words),
    ]
    run = subprocess.run(launch, capture_output=True, text=True, timeout=200, env=os.environ)
    assert run.returncode == 0, run.stderr[-3000:]
    expected = evaluated(guarded, manager, tasks, apply_chat_template=True)
    for task in tasks:
        (file,) = tmp_path.glob(f"*/samples_{task}_*.jsonl")
        samples = sorted(map(json.loads, file.read_text().splitlines()), key=lambda sample: sample["doc_id"])
        assert len(samples) == 5
        for sample, one in zip(samples, answers(expected, task)):
            found = [responses[0] for responses in sample["resps"]]
            if task in ("t_text", "t_image"):
                assert found == one
            else:
                found = [float(value[0] if isinstance(value, list) else value) for value in found]
                assert found == pytest.approx(
                    [value[0] if isinstance(value, tuple) else value for value in one], abs=1e-4
                )
    (file,) = tmp_path.glob("*/results_*.json")
    told = json.loads(file.read_text())["config"]["vlmguard"]["tasks"]
    assert told["t_text"]["processes"] == 2
    assert (told["t_text"]["answers"], told["t_text"]["tokens"], told["t_choice"]["answers"]) == (5, 40, 15)


def test_the_command_fails_with_the_reason(place, monkeypatch):
    from lm_eval.__main__ import cli_evaluate

    monkeypatch.setattr(sys, "argv", ["lm_eval", *command(place, "--tasks", "t_text", settings="alhpa=1")[2:]])
    with pytest.raises(ValueError, match="guard 'vlm_guard' has no setting 'alhpa'"):
        cli_evaluate()


def test_no_other_host_is_imported_and_a_broken_one_costs_a_line(tmp_path):
    """In a process that only imports the host, nothing of the others is; what fails in registration is told in one line."""
    code = (
        "import sys, lm_eval.models; from lm_eval.api.registry import model_registry as r; "
        "assert 'llava-vlmguard' in r; assert not {'vlmeval', 'lmms_eval'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    code = (
        "import lm_eval.api.registry as r; r.model_registry.register('vlmguard', target='some:Other'); "
        "import lm_eval.models; assert 'hf' in r.model_registry"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (
        run.returncode == 0
        and len(run.stderr.splitlines()) == 1
        and "could not register with lm_eval.models" in run.stderr
    )
