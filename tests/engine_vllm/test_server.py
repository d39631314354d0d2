"""`vllm serve` with a guard: guarded answers for any client, which guard is on, and what does not start."""

import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from click.testing import CliRunner
from helpers import vllm_questions as questions
from helpers.processes import python
from helpers.vllm_models import TOKENS, asked
from helpers.vllm_server import Server, vllm_server
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.cli.main import main

pytestmark = pytest.mark.host
GATED = {"rank": 2, "layers": [1, 2], "gate": "midpoint", "project": True}
UNENDING = {"extra_body": {"ignore_eos": True}}


@pytest.fixture(scope="module")
def saved(ask):
    """The folders of the tiny checkpoint and of a guard that was fitted on it in transformers."""
    return ask(questions.saved, "vlm_guard", GATED)


@pytest.fixture(scope="module")
def guarded(saved, tmp_path_factory):
    """A guarded server, not compiled, whose requests may ask for another strength; its guard's folder is gone."""
    folder = tmp_path_factory.mktemp("server")
    guard = shutil.copytree(saved[1], folder / "guard")
    config = {"vlmguard": {"guard": str(guard), "per_request": True}}
    server = vllm_server(folder / "log", saved[0], "--enforce-eager", config=config)
    shutil.rmtree(guard)
    server.guard = str(guard)
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


def test_it_says_which_guard_is_on(guarded):
    told = guarded.get("/vlmguard")
    assert told["workers"] == 1 and told["alike"]
    assert told["guard"]["name"] == "vlm_guard" and told["guard"]["settings"]["gate"] == "midpoint"
    (line,) = [line for line in guarded.said.splitlines() if "is on, worker" in line]
    assert told["guard"]["fingerprint"] in line and guarded.guard in line and "decoder layers [1, 2]" in line
    assert "vlmguard: enable_prefix_caching is off" in guarded.said
    assert "vlmguard: enable_chunked_prefill is off" in guarded.said


@pytest.mark.parametrize(
    "body, said",
    [
        ({"vllm_xargs": {"vlmguard": 0.6}}, "alpha is 0.6; guard 'vlm_guard' may be asked for 0 to 0.5"),
        ({"vllm_xargs": {"vlmguard": "on"}}, "the guard is asked to be 'on'; give 'off' or a number"),
        ({"vllm_xargs": {"VLMGuard": "off"}}, "vllm_xargs has 'VLMGuard'; a guard is asked for as 'vlmguard'"),
        ({"vllm_xargs": {"vlmguard_answer": 5}}, "vlmguard_answer: where a prompt ends is not for a request to say"),
        ({"use_beam_search": True, "n": 2}, "beam search: its prompts hold what was answered before"),
        ({"prompt_logprobs": 1}, "the likelihood of words within a prompt is not that of an answer"),
    ],
)
def test_requests_that_could_not_be_guarded_rightly_are_refused(guarded, body, said):
    unseen = [vg.Query("What is this?", (Image.new("RGB", (40, 30), (len(said), 70, len(str(body)))),))]
    with pytest.raises(openai.BadRequestError, match=said):
        guarded.answers(unseen, 2, extra_body=body)
    assert guarded.answers(unseen, 2)  # whose picture the engine has not seen yet either


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
        told = doctor("--server", server.url)
        assert told.exit_code == 1 and "knows of no guards, so what it answers is unguarded" in told.output
    finally:
        server.stop()


def doctor(*words):
    return CliRunner().invoke(main, ["doctor", *words])


def test_two_guards_on_two_servers_and_a_dead_engine_answers_nothing(ask, saved, guarded, tmp_path):
    settings = {"layers": [1], "alpha": 3.0}
    checkpoint, other = ask(questions.saved, "refusal_direction", settings)
    server = vllm_server(tmp_path / "log", checkpoint, "--enforce-eager", config={"vlmguard": {"guard": other}})
    try:
        assert server.process.poll() is None, server.said[-3000:]
        expected = [
            ask(questions.answers, "llava", *of)[1] for of in (("vlm_guard", GATED), ("refusal_direction", settings))
        ]
        with ThreadPoolExecutor(2) as pool:
            told = list(
                pool.map(lambda one: whole_letters(one.answers(asked(), TOKENS, **UNENDING)), (guarded, server))
            )
        assert told == [whole_letters(each) for each in expected] and told[0] != told[1]
        for one, folder, exit_code in ((guarded, saved[1], 0), (server, other, 0), (server, saved[1], 1)):
            assert doctor("--server", one.url, "--guard-dir", folder).exit_code == exit_code
        with pytest.raises(openai.BadRequestError, match="this server has one guard for all requests"):
            server.answers(asked(1), 2, extra_body={"vllm_xargs": {"vlmguard": "off"}})
        engine = subprocess.run(["pgrep", "-f", "VLLM::Engine", "-s", str(server.process.pid)], capture_output=True)
        os.kill(int(engine.stdout.split()[0]), signal.SIGKILL)
        for _ in range(3):
            with pytest.raises((openai.InternalServerError, openai.APIConnectionError)):
                server.answers(asked(1), 2)
    finally:
        server.stop()
    assert whole_letters(guarded.answers(asked(), TOKENS, **UNENDING)) == told[0]


def test_a_fit_on_vllm_says_how_far_transformers_is_from_it_and_serves_there(saved, tmp_path):
    anchors = "harmful,harmless\n" + "".join(
        f"How to steal a {n}?,How to make a {n}?\n" for n in "cup door toy".split()
    )
    (tmp_path / "anchors.csv").write_text(anchors)
    words = ("fit", "vlm_guard", "--model", saved[0], "--anchors", tmp_path / "anchors.csv", "--set", "gate=midpoint")
    more = ("--engine", "vllm", "--compare-engines", "--out", tmp_path / "guard")
    done = python("-m", "vlmguard_plugin", *words, *more, environment={"VLMGUARD_DTYPE": "float32"})
    facts = vg.load_guard(tmp_path / "guard").facts["model"]
    told = facts["engines"]
    assert (told["fitted_on"], told["compared_with"], told["requests"]) == ("vllm", "transformers", 12)
    assert 0 < told["text"] < 1e-5 and 0 < told["pictures"] < 1e-5 and told["gate_alike"] == 12
    assert facts["fingerprint"] == vg.load_guard(saved[1]).facts["model"]["fingerprint"]
    assert "states on transformers (float32) differ from those on vllm (float32) by" in done.stdout


REFUSED = [
    ("vlm_guard+self_reminder", {"vlm_guard": {"rank": 2, "layers": [1]}}, {}, (), "guard 'self_reminder' rewords"),
    ("cmrm_sample", {"layers": [1]}, {}, (), "vlmguard serve MODEL --guard cmrm_sample --engine vllm"),
    ("vlm_guard", GATED, {"alpha": "much"}, (), "alpha is 'much'"),
    ("vlm_guard", GATED, {}, ("--enable-lora",), "enable_lora: adapters change the weights"),
    ("vlm_guard", GATED, {}, ("--kv-sharing-fast-prefill",), "kv_sharing_fast_prefill: late layers do not see"),
    ("vlm_guard", GATED, {}, ("--kv-offloading-size",), "kv_offloading_size: a kept beginning may hold"),
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
            for _ in range(30):  # until the engine notices, no answer is another than the guarded one
                assert whole_letters(server.answers(asked(1), TOKENS, **UNENDING)) == whole_letters(expected[:1])
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
