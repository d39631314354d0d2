"""A guarded model at an address: bodies to queries, one server in transformers, and one in front of it."""

import importlib.util
import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import openai
import pytest
from click.testing import CliRunner
from helpers.tiny_models import tiny_llava, tiny_processor
from helpers.vllm_server import Server, messages
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.cli.main import main
from vlmguard_plugin.query import Turn
from vlmguard_plugin.serving.chat import Refused, asked

RED = Image.new("RGB", (40, 30), "red")
QUERIES = [
    vg.Query("What is this?", (RED,)),
    vg.Query("Just a text"),
    vg.Query("And now?", history=(Turn("user", (("text", "Is it?"),)), Turn("assistant", (("text", "Yes."),)))),
    vg.Query("A longer question about two of them", (RED, Image.new("RGB", (60, 90), "blue"))),
]
NONE = vg.build_guard("none")
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


def test_a_body_is_the_query_it_was_made_of():
    for query in QUERIES:
        read = asked({"messages": messages(query)}).query
        assert [[kind for kind, _ in turn.parts] for turn in read.turns()] == [
            [kind for kind, _ in turn.parts] for turn in query.turns()
        ]
        assert read.text == query.text and len(read.history) == len(query.history)
        assert [image.tobytes() for image in read.images] == [image.tobytes() for image in query.images]


def asking(guard):
    """What OpenAI's client takes to ask for another guard."""
    return {} if guard is None else {"extra_body": {"vllm_xargs": {"vlmguard": guard}}}


def test_arguments_of_a_body():
    assert asked(HELLO).generation == {} and asked(HELLO).guard is None
    assert [asked({**HELLO, **asking(one)["extra_body"]}).guard for one in ("off", 0.5)] == ["off", 0.5]
    body = {**HELLO, "max_tokens": 5, "temperature": 0, "top_p": 0.5, "stop": "x", "n": 1, "tools": [], "user": "me"}
    body |= {"repetition_penalty": 1.0, "use_beam_search": False, "logprobs": None}
    assert asked(body).generation == {"max_new_tokens": 5, "stop": ("x",)}
    sampled = {"do_sample": True, "temperature": 0.7, "top_p": 0.5, "seed": 3}
    assert asked({**HELLO, "temperature": 0.7, "top_p": 0.5, "seed": 3}).generation == sampled
    for greedy in ({"temperature": 1e-40}, {"temperature": 1, "top_p": 0}):
        assert asked({**HELLO, **greedy}).generation == {}
    assert asked({**HELLO, "temperature": 1, "top_k": -1}).generation["top_k"] == 0
    assert asked({**HELLO, "messages": [{**HELLO["messages"][0], "tool_calls": None}]}).query.text == "Hello"


@pytest.mark.parametrize(
    "body, said",
    [
        ([], "messages is missing"),
        ({"messages": []}, "messages is missing"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "role is 'tool'"),
        ({"messages": [{"role": "user", "content": 5}]}, "the content of a message is 5"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "the last message is the assistant's"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "of type 'audio'"),
        ({**HELLO, "n": 2}, "n is 2, which a guarded model here does not follow"),
        ({**HELLO, "logprobs": True}, "logprobs is True"),
        ({**HELLO, "tools": [{"type": "function"}]}, "tools is "),
        ({**HELLO, "max_tokens": 0.5}, "max_tokens is 0.5"),
        ({**HELLO, "temperature": 3}, "temperature is 3; give a number from 0 to 2"),
        ({**HELLO, "vlmguard": "off"}, "vlmguard is 'off'; give it within vllm_xargs"),
        ({**HELLO, "vllm_xargs": {"guard": "off"}}, "it takes vlmguard alone"),
        ({**HELLO, "vllm_xargs": "off"}, "it takes vlmguard alone"),
        ({**HELLO, "vllm_xargs": []}, "it takes vlmguard alone"),
        ({**HELLO, "stream": "false"}, "stream is 'false'; give true or false"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "a text can't be read .*surrogates"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "\ud800"}]}]}, "a text can't be read"),
        ({"messages": [{"role": "user", "content": "a", "tool_calls": [{"id": "1"}]}]}, "a message has tool_calls"),
        ({**HELLO, "repetition_penalty": 1.2}, "repetition_penalty is 1.2, which a guarded model here does not"),
        ({**HELLO, "use_beam_search": True}, "use_beam_search is True"),
        ({**HELLO, "max_completion_tokens": 0}, "max_tokens is 0"),
        ({**HELLO, "seed": "3"}, "seed is '3'; give a whole number"),
        ({**HELLO, "temperature": 1, "seed": -1}, "seed is -1; give a whole number from 0"),
        ({**HELLO, "temperature": 1, "top_k": -5}, "top_k is -5; give a whole number from -1"),
        ({**HELLO, "stop": ["a", ""]}, "stop is \\['a', ''\\]; give texts"),
        ({**HELLO, "stop": "\ud800"}, "a text can't be read"),
        ({**HELLO, "stop": 5}, "stop is 5; give texts"),
        ({**HELLO, "stop": {"a": 1}}, "stop is {'a': 1}; give texts"),
        ({**HELLO, "stop": [3]}, "stop is \\[3\\]; give texts"),
    ],
)
def test_what_is_not_followed_is_refused(body, said):
    with pytest.raises(Refused, match=said):
        asked(body)


@pytest.mark.parametrize(
    "address, said",
    [
        ("http://somewhere/a.png", "image_url is 'http://somewhere/a.png'; give the picture itself"),
        ("file:///etc/passwd", "give the picture itself"),
        ("data:image/png;base64,@@@", "a picture can't be read"),
        ("data:image/png;base64,aGVsbG8=", "a picture can't be read"),
    ],
)
def test_only_pictures_that_the_body_brings_are_read(address, said):
    with pytest.raises(Refused, match=said):
        asked({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": address}}]}]})


def doctor(*words):
    return CliRunner().invoke(main, ["doctor", *map(str, words)])


@pytest.mark.parametrize(
    "status, body, said",
    [
        (404, "", "knows of no guards, so what it answers is unguarded"),
        (500, "", "answers with status 500"),
        (200, '{"guard": null}', "has no guard on"),
        (200, '{"guard": {"fingerprint": "a-1"}, "alike": false}', "its workers have different guards"),
        (200, '{"guard": {"guard": null, "guard_fingerprint": null}}', "has no guard on"),
        (200, '{"guard": {"fingerprint": 3}}', "does not say which guard is on"),
        (200, "<html>", "does not say which guard is on"),
        (200, "[]", "does not say which guard is on"),
    ],
)
def test_a_server_without_its_guard_is_noticed(status, body, said):
    with answering(status, body) as url:
        told = doctor("--server", url)
    assert told.exit_code == 1 and told.output.startswith(" bad  ") and said in told.output


def test_where_nobody_answers():
    told = doctor("--server", "http://127.0.0.1:9/v1")
    assert told.exit_code == 1 and "does not answer" in told.output and "start the server first" in told.output
    assert "--guard-dir goes with --server" in doctor("--guard-dir", "x").output
    assert "no http:// or https:// address" in doctor("--server", "somewhere").output


@contextmanager
def answering(status, body):
    """The address of a server that answers everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def served(tmp_path_factory, anchors):
    """A server with two guards, the same guards here, and the subject."""
    if importlib.util.find_spec("fastapi") is None:
        pytest.skip("fastapi is not installed (extra serve)")
    folder = tmp_path_factory.mktemp("serving")
    tiny_llava().save_pretrained(folder / "tiny")
    tiny_processor().save_pretrained(folder / "tiny")
    subject = vg.HuggingFaceSubject(tiny_llava(), tiny_processor(), batch_size=4)
    settings = {"cmrm_sample": {"layers": [1]}}
    guard = vg.build_guard("cmrm_sample+self_reminder", **settings).fit(subject, anchors)
    guard.save(folder / "guard")
    words = ("--guard", guard.name, "--guard-dir", folder / "guard", "--name", "tiny", "--per-request")
    environment = {"VLMGUARD_DEVICE": "cpu", "VLMGUARD_CACHE": str(folder / "cache")}
    command = ("-m", "vlmguard_plugin", "serve")
    server = Server(folder / "log", *command, folder / "tiny", *words, environment=environment)
    yield server, guard, subject
    server.stop()


@pytest.mark.host
class TestServed:
    def test_clients_get_the_guards_answers(self, served):
        server, guard, subject = served
        assert server.process.poll() is None, server.said[-3000:]
        expected = guard.respond(subject, QUERIES, max_new_tokens=6)
        assert expected != subject.generate(QUERIES, max_new_tokens=6)
        assert server.answers(QUERIES * 4, 6) == expected * 4
        assert server.get("/vlmguard")["guard"]["guard_fingerprint"] == guard.fingerprint
        assert guard.fingerprint in server.said
        assert server.get("/v1/models")["data"][0]["id"] == "tiny"

    def test_a_stream_comes_whole(self, served):
        server, guard, subject = served
        pieces = server.client().chat.completions.create(
            model="tiny", messages=messages(QUERIES[1]), max_tokens=6, stream=True
        )
        told = [(piece.choices[0].delta.content, piece.choices[0].finish_reason) for piece in pieces]
        assert told == [(guard.respond(subject, QUERIES[1:2], max_new_tokens=6)[0], None), (None, "length")]

    def test_what_can_not_be_answered_is_told_in_one_line(self, served):
        server = served[0]
        for body, said in (({"n": 2}, "n is 2"), ({"logprobs": True}, "logprobs is True")):
            with pytest.raises(openai.BadRequestError, match=said):
                server.answers(QUERIES[:1], 2, **body)
        with pytest.raises(openai.BadRequestError, match="model is 'other'; this server has 'tiny'"):
            server.client().chat.completions.create(model="other", messages=messages(QUERIES[1]))
        with pytest.raises(openai.BadRequestError, match="max_tokens is 1000000000; this model reads and writes"):
            server.answers(QUERIES[:1], 10**9)
        body = json.dumps({**HELLO, "\ud800": 1}).encode()
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(f"{server.url}/v1/chat/completions", data=body, timeout=60)
        assert server.answers(QUERIES[:1], 2)

    def test_a_seed_makes_the_same_answer_again_whoever_else_asks(self, served):
        bodies = [{"temperature": 1.5, "seed": seed} for seed in (3, 3, 4, 3, 3, 4)]
        with ThreadPoolExecutor(6) as pool:
            told = list(pool.map(lambda body: served[0].answers(QUERIES[:1], 6, extra_body=body)[0], bodies))
        assert len({told[place] for place in (0, 1, 3, 4)}) == 1 and told[2] == told[5] != told[0]

    def test_a_request_may_ask_for_no_guard_or_a_weaker_one(self, served):
        server, guard, subject = served
        weaker = guard.with_settings(cmrm_sample={"alpha": 0.25})
        wanted = [None, "off", 0.25] * 3
        with ThreadPoolExecutor(9) as pool:
            told = list(pool.map(lambda asked: server.answers(QUERIES[:1], 6, **asking(asked)), wanted))
        expected = [one.respond(subject, QUERIES[:1], max_new_tokens=6) for one in (guard, NONE, weaker)]
        assert told == expected * 3 and expected[0] != expected[1]
        done = server.client().chat.completions.create(
            model="tiny", messages=messages(QUERIES[1]), max_tokens=2, **asking("off")
        )
        assert done.vlmguard == {"fired": None, "asked": "off"}
        strength = {"guard": "cmrm_sample", "alpha": [0.0, 0.5], "calibrated": False}
        assert server.get("/vlmguard")["per_request"] == {"off": True, "strength": strength}
        for wrong, said in ((0.6, "may be asked for 0 to 0.5"), ("on", "give 'off' or a number")):
            with pytest.raises(openai.BadRequestError, match=said):
                server.answers(QUERIES[:1], 2, **asking(wrong))

    def test_whoever_measures_can_ask_first_which_guard_is_on(self, served, tmp_path):
        server, guard, subject = served
        guard.save(tmp_path / "own")
        guard.with_settings(cmrm_sample={"alpha": 0.25}).save(tmp_path / "other")
        for url in (server.url, f"{server.url}/v1"):
            asked = doctor("--server", url, "--guard-dir", tmp_path / "own")
            assert (asked.exit_code, asked.output.strip()) == (0, f"good  {url} has {guard.fingerprint}")
        other = doctor("--server", server.url, "--guard-dir", tmp_path / "other")
        assert other.exit_code == 1 and f"has {guard.fingerprint}, not cmrm_sample+self_reminder-" in other.output

    def test_a_guard_stands_in_front_of_another_server(self, served, tmp_path):
        server, guard, subject = served
        words = ("--upstream", server.url, "--guard", "goal_priority")
        before = Server(tmp_path / "log", "-m", "vlmguard_plugin", "serve", "tiny", *words)
        try:
            assert before.process.poll() is None, before.said[-3000:]
            rewritten = [vg.build_guard("goal_priority").rewrite(query) for query in QUERIES]
            assert before.answers(QUERIES, 6) == guard.respond(subject, rewritten, max_new_tokens=6)
            assert f"in front of {server.url}/v1, which has {guard.fingerprint}" in before.said
            assert before.get("/vlmguard")["per_request"] is None
            for body, said in (
                (asking("off"), "one guard for all requests.*--per-request"),
                ({"extra_body": {"temperature": 1, "top_k": 5}}, "top_k: can't be handed on"),
                ({}, "max_tokens is 999999; this model reads and writes"),  # as the server behind it says
            ):
                with pytest.raises(openai.BadRequestError, match=said):
                    before.answers(QUERIES[:1], 2 if body else 999999, **body)
        finally:
            before.stop()

    def test_a_folder_of_another_guard_does_not_stand_in_front(self, served, tmp_path):
        served[1].save(tmp_path)
        words = ["serve", "tiny", "--upstream", "http://127.0.0.1:9", "--guard", "ecso", "--guard-dir", str(tmp_path)]
        told = CliRunner().invoke(main, words)
        assert told.exit_code == 1 and "holds the guard 'cmrm_sample+self_reminder', but 'ecso' was" in told.output

    def test_a_guard_that_needs_hidden_states_does_not_stand_in_front(self, served, tmp_path):
        words = ("--upstream", f"{served[0].url}/v1", "--guard", "cmrm")
        before = Server(tmp_path / "log", "-m", "vlmguard_plugin", "serve", "tiny", *words)
        assert before.process.wait(60) == 1
        assert "guard 'cmrm' is fitted on hidden states" in before.said and "Traceback" not in before.said
