"""`vllm serve` with a guard: guarded answers for any client, which guard is on, and what does not start."""

import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from helpers import vllm_questions as questions
from helpers.vllm_models import TOKENS, asked
from helpers.vllm_server import Server, vllm_server

pytestmark = pytest.mark.host
GATED = {"rank": 2, "layers": [1, 2], "gate": "midpoint", "project": True}
UNENDING = {"extra_body": {"ignore_eos": True}}


@pytest.fixture(scope="module")
def saved(ask):
    """The folders of the tiny checkpoint and of a guard that was fitted on it in transformers."""
    return ask(questions.saved, "vlm_guard", GATED)


@pytest.fixture(scope="module")
def guarded(saved, tmp_path_factory):
    """A guarded server, not compiled, whose requests may ask for another strength."""
    checkpoint, guard = saved
    log = tmp_path_factory.mktemp("server") / "log"
    config = {"vlmguard": {"guard": guard, "per_request": True}}
    server = vllm_server(log, checkpoint, "--enforce-eager", config=config)
    yield server
    server.stop()


def test_clients_get_guarded_answers_with_no_change(ask, guarded):
    unguarded, expected, _ = ask(questions.answers, "llava", "vlm_guard", GATED)
    assert guarded.process.poll() is None, guarded.said[-3000:]
    answers = guarded.answers(asked() * 4, TOKENS, **UNENDING)
    assert whole_letters(answers) == whole_letters(expected * 4) != whole_letters(unguarded * 4)


def whole_letters(answers):
    """Answers without what vLLM's server leaves out at their end: the bytes of a letter that is not complete."""
    return [answer.strip().rstrip("\ufffd").strip() for answer in answers]


def test_it_says_which_guard_is_on(saved, guarded):
    told = guarded.get("/vlmguard")
    assert told["workers"] == 1 and told["alike"]
    assert told["guard"]["name"] == "vlm_guard" and told["guard"]["settings"]["gate"] == "midpoint"
    (line,) = [line for line in guarded.said.splitlines() if "is on, worker" in line]
    assert told["guard"]["fingerprint"] in line and saved[1] in line and "decoder layers [1, 2]" in line
    assert "vlmguard: enable_prefix_caching is off" in guarded.said
    assert "vlmguard: enable_chunked_prefill is off" in guarded.said


@pytest.mark.parametrize(
    "body, said",
    [
        ({"vllm_xargs": {"vlmguard": 0.6}}, "alpha is 0.6; guard 'vlm_guard' may be asked for 0 to 0.5"),
        ({"vllm_xargs": {"vlmguard": "on"}}, "the guard is asked to be 'on'; give 'off' or a number"),
        ({"vllm_xargs": {"vlmguard_answer": 5}}, "vlmguard_answer: where a prompt ends is not for a request to say"),
        ({"prompt_logprobs": 1}, "the likelihood of words within a prompt is not that of an answer"),
    ],
)
def test_requests_that_could_not_be_guarded_rightly_are_refused(guarded, body, said):
    with pytest.raises(openai.BadRequestError, match=said):
        guarded.answers(asked(1), 2, extra_body=body)
    assert guarded.answers(asked(1), 2)


def test_requests_that_ask_for_another_strength_go_side_by_side(ask, guarded):
    unguarded, own, _ = ask(questions.answers, "llava", "vlm_guard", GATED)
    _, weaker, _ = ask(questions.answers, "llava", "vlm_guard", {**GATED, "alpha": 0.1})
    assert len({tuple(answers) for answers in (unguarded, own, weaker)}) == 3

    def answers(wanted):
        extra = {} if wanted is None else {"vllm_xargs": {"vlmguard": wanted}}
        return guarded.answers(asked() * 2, TOKENS, extra_body={**UNENDING["extra_body"], **extra})

    with ThreadPoolExecutor(3) as pool:
        told = [whole_letters(each) for each in pool.map(answers, ("off", None, 0.1))]
    assert told == [whole_letters(each * 2) for each in (unguarded, own, weaker)]
    strength = {"guard": "vlm_guard", "alpha": [0.0, 0.5], "calibrated": False}
    assert guarded.get("/vlmguard")["guard"]["per_request"] == {"off": True, "strength": strength}


def test_without_the_plugin_nobody_answers_which_guard_is_on(ask, tmp_path):
    checkpoint = ask(questions.folder_of, "qwen2_vl")
    server = vllm_server(tmp_path / "log", checkpoint, "--enforce-eager", environment={"VLLM_PLUGINS": ""})
    try:
        assert server.status("/health") == 200 and server.status("/vlmguard") == 404
    finally:
        server.stop()


REFUSED = [
    ("vlm_guard+self_reminder", {"vlm_guard": {"rank": 2, "layers": [1]}}, {}, (), "guard 'self_reminder' rewords"),
    ("cmrm_sample", {"layers": [1]}, {}, (), "vlmguard serve MODEL --guard cmrm_sample --engine vllm"),
    ("vlm_guard", GATED, {"alpha": "much"}, (), "alpha is 'much'"),
    ("vlm_guard", GATED, {}, ("--enable-lora",), "enable_lora: adapters change the weights"),
]


@pytest.mark.parametrize("name, settings, changed, words, said", REFUSED, ids=lambda value: str(value)[:20])
def test_what_can_not_be_right_does_not_start(ask, tmp_path, name, settings, changed, words, said):
    config = configuration(ask, ask(questions.saved, name, settings), changed, words)
    assert said in config


def configuration(ask, saved, changed, words):
    """What is said where vLLM's options are made for a guard that can't be served, before anything is loaded."""
    return ask(questions.configured, saved, changed, list(words))


def test_a_damaged_guard_does_not_start(saved, tmp_path):
    shutil.copytree(saved[1], tmp_path / "guard")
    facts = tmp_path / "guard" / "guard.json"
    facts.write_text(facts.read_text().replace('"alpha": 0.5', '"alpha": 0.6'))
    server = vllm_server(tmp_path / "log", saved[0], config={"vlmguard": {"guard": str(tmp_path / "guard")}})
    assert server.process.poll() not in (None, 0)
    assert "guard.json is not as it was written (its sha256 differs)" in server.said


@pytest.mark.slow
def test_compiled_over_two_processes_its_answers_are_the_same_and_a_dead_worker_ends_it(ask, saved, tmp_path):
    _, expected, _ = ask(questions.answers, "llava", "vlm_guard", GATED)
    words = ("--tensor-parallel-size", "2")
    server = vllm_server(tmp_path / "log", saved[0], *words, environment={"VLMGUARD_VLLM_GUARD": saved[1]})
    try:
        assert server.process.poll() is None, server.said[-3000:]
        assert server.get("/vlmguard")["workers"] == 2 and server.get("/vlmguard")["alike"]
        assert whole_letters(server.answers(asked(), TOKENS, **UNENDING)) == whole_letters(expected)
        children = subprocess.run(["pgrep", "-f", "VLLM::Worker", "-s", str(server.process.pid)], capture_output=True)
        os.kill(int(children.stdout.split()[0]), signal.SIGKILL)
        with pytest.raises((openai.APIError, openai.APIConnectionError)):
            for _ in range(30):
                server.answers(asked(1), 2)
                time.sleep(1)
    finally:
        server.stop()


def test_a_guard_that_asks_about_each_request_first_stands_in_front_of_vllm(ask, tmp_path):
    settings = {"cmrm_sample": {"layers": [1]}}
    checkpoint, guard = ask(questions.saved, "cmrm_sample+self_reminder", settings)
    unguarded, expected, _ = ask(questions.answers, "llava", "cmrm_sample+self_reminder", settings)
    words = ("-m", "vlmguard_plugin", "serve", checkpoint, "--guard-dir", guard, "--engine", "vllm", "--name", "tiny")
    server = Server(tmp_path / "log", *words, environment={"VLMGUARD_DTYPE": "float32"})
    try:
        assert server.process.poll() is None, server.said[-3000:]
        assert server.answers(asked() * 2, TOKENS) == expected * 2 != unguarded * 2
    finally:
        server.stop()
