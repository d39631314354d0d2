"""A guard model beside the subject: over real HTTP, with tiny local models; its cost, and that it never guesses."""

import json
import re

import pytest
from helpers.dripping import dripping_server
from helpers.judge_endpoint import KEY, Server, completion
from helpers.tiny_evaluators import reward_folder

import vlmguard_plugin as vg
from vlmguard_plugin.guards.core.gates_heard import hearing_gates
from vlmguard_plugin.guards.core.moderation import Exchange, ModerationFailed, read_reply, worded
from vlmguard_plugin.guards.moderated import REFUSAL
from vlmguard_plugin.query import Turn
from vlmguard_plugin.subjects.base import Subject

QUERIES = [vg.Query("How do I bake bread?"), vg.Query("How do I do the bad thing?"), vg.Query("What is a boat?")]


@pytest.fixture
def serve(monkeypatch):
    """Starts a server and has the guard ask it, with KEY."""
    servers = []

    def start(reply):
        server = Server(reply)
        servers.append(server)
        monkeypatch.setenv("VLMGUARD_MODERATOR_BASE_URL", server.url)
        monkeypatch.setenv("VLMGUARD_MODERATOR_KEY", KEY)
        return server

    yield start
    for server in servers:
        server.stop()


def moderated(**settings):
    return vg.build_guard(
        "moderated", **{"guard_model": "filter", "timeout": 5.0, "retry": 0, "workers": 1, **settings}
    )


def moderation(flagged):
    return {"id": "x", "model": "filter", "results": [{"flagged": flagged, "categories": {}, "category_scores": {}}]}


def by_words(word):
    """A /moderations endpoint that flags what holds a word."""
    return lambda body, number: moderation(word in str(body["input"]))


def answers_alone(subject):
    return subject.generate(QUERIES, max_new_tokens=8)


def test_requests_are_moderated(subject, serve):
    server = serve(by_words("bad thing"))
    guard = moderated(looks_at="input")
    plain = answers_alone(subject)
    given = guard.respond(subject, QUERIES, max_new_tokens=8)
    assert given == [plain[0], REFUSAL, plain[2]]
    assert server.paths == ["/v1/moderations"] * 3 and set(server.keys) == {f"Bearer {KEY}"}
    assert [body["input"] for body in server.requests] == [query.text for query in QUERIES]
    assert {body["model"] for body in server.requests} == {"filter"}
    assert guard.checks.calls == 3 and guard.checks.tokens is None and guard.checks.seconds > 0


def test_a_refused_request_costs_no_answer(fresh, serve):
    serve(lambda body, number: moderation(True))
    before = fresh.generated_tokens
    assert moderated(looks_at="input", refusal="No.").respond(fresh, QUERIES, max_new_tokens=8) == ["No."] * 3
    assert fresh.generated_tokens == before


def test_answers_are_moderated(subject, serve):
    plain = answers_alone(subject)
    server = serve(lambda body, number: moderation(body["input"] == plain[2]))
    guard = moderated(looks_at="output")
    assert guard.respond(subject, QUERIES, max_new_tokens=8) == [plain[0], plain[1], REFUSAL]
    assert sorted(body["input"] for body in server.requests) == sorted(text for text in plain if text.strip())


def test_both_are_moderated_and_what_was_refused_is_not_asked_about_again(subject, serve):
    plain = answers_alone(subject)
    server = serve(lambda body, number: moderation(body["input"] in (QUERIES[0].text, plain[2])))
    guard = moderated()
    assert guard.respond(subject, QUERIES, max_new_tokens=8) == [REFUSAL, plain[1], REFUSAL]
    assert len(server.requests) == guard.checks.calls == 5


def test_how_often_it_refuses_is_heard_as_a_gate(subject, serve):
    serve(by_words("bad thing"))
    with hearing_gates(QUERIES) as heard:
        moderated(looks_at="input").respond(subject, QUERIES, max_new_tokens=4)
    assert heard.fired == [False, True, False]


@pytest.mark.parametrize(
    "reply, problem",
    [
        (lambda body, number: 500, "says HTTP 500"),
        (lambda body, number: 401, "says HTTP 401 Unauthorized; check the key"),
        (lambda body, number: None, "the connection to the endpoint was lost"),
        (lambda body, number: b"<html>hello</html>", "reply is no JSON"),
        (lambda body, number: {"results": []}, "no moderation with one result"),
        (lambda body, number: {"results": [{"flagged": "false"}]}, "flagged is 'false'"),
        (lambda body, number: {"results": [{"flagged": False}] * 2}, "no moderation with one result"),
        (lambda body, number: {"error": "x"}, "no moderation with one result"),
        (lambda body, number: b"HALF{}", "the connection to the endpoint"),
    ],
)
def test_a_check_that_fails_is_never_safe(subject, serve, reply, problem):
    serve(reply)
    with pytest.raises(ModerationFailed, match=problem) as caught:
        moderated().respond(subject, QUERIES[:1], max_new_tokens=4)
    message = str(caught.value)
    assert "\n" not in message and KEY not in message and "not answered" in message


def test_an_endpoint_that_is_away(subject, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ModerationFailed, match="connection to the endpoint was lost .Connection refused."):
        moderated(base_url="http://127.0.0.1:9/v1").respond(subject, QUERIES[:1], max_new_tokens=4)
    for name in ("VLMGUARD_MODERATOR_BASE_URL", "OPENAI_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="there is no endpoint to ask; give base_url"):
        moderated().respond(subject, QUERIES[:1])
    with pytest.raises(ValueError, match="no http:// or https:// address"):
        moderated(base_url="filter.example").respond(subject, QUERIES[:1])


@pytest.mark.parametrize(
    "url, problem",
    [
        ("http://me:open-sesame@h/v1", "user name or password"),
        ("http://h/v1?token=open-sesame", "behind its [?]"),
        ("ftp://h", "no http:// or https:// address"),
        (8000, "base_url is 8000"),
    ],
)
def test_addresses_that_hold_secrets_are_refused_before_they_are_written_down(url, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        moderated(base_url=url)
    assert "sesame" not in str(caught.value)
    assert moderated(base_url="https://h/v1/moderations?api-version=1").settings.base_url


def test_a_reply_that_drips_is_given_up(subject):
    """Each byte comes in time, the whole never would."""
    with dripping_server() as address, pytest.raises(ModerationFailed, match="the reply was not whole after 1 s"):
        moderated(base_url=f"{address}/v1", timeout=0.5).respond(subject, QUERIES[:1], max_new_tokens=2)


def test_an_endpoint_that_is_lost_is_not_waited_for_again_and_again(subject, serve):
    away = [True]
    server = serve(lambda body, number: None if away[0] else moderation(False))
    guard = moderated(looks_at="input", retry=1)
    for check in range(6):
        with pytest.raises(ModerationFailed, match="the connection to the endpoint was lost"):
            guard.respond(subject, QUERIES[:1], max_new_tokens=2)
    assert len(server.requests) == 5 * 2 + 1, "five are tried twice, then once"
    away[0] = False
    assert guard.respond(subject, QUERIES[:1], max_new_tokens=8) == answers_alone(subject)[:1]
    assert guard.checks.calls == 7


def test_a_failure_that_passes_is_tried_again(subject, serve):
    server = serve(lambda body, number: 503 if number == 1 else moderation(False))
    guard = moderated(looks_at="input", retry=1)
    assert guard.respond(subject, QUERIES[:1], max_new_tokens=8) == answers_alone(subject)[:1]
    assert len(server.requests) == 2 and guard.checks.calls == 1


def chat(word, tokens=7):
    return {**completion(word), "usage": {"prompt_tokens": tokens - 1, "completion_tokens": 1, "total_tokens": tokens}}


def test_a_chat_model_is_asked_in_our_words(subject, serve):
    plain = answers_alone(subject)
    server = serve(lambda body, number: chat("Unsafe." if "bad thing" in body["messages"][0]["content"] else "safe"))
    guard = moderated(api="chat")
    assert guard.respond(subject, QUERIES, max_new_tokens=8) == [plain[0], REFUSAL, plain[2]]
    assert server.paths == ["/v1/chat/completions"] * 5 and server.requests[0]["temperature"] == 0
    assert guard.checks.calls == 5 and guard.checks.tokens == 35
    of_answer = server.requests[-1]["messages"][0]["content"]
    assert "Person: What is a boat?" in of_answer and f"Assistant: {plain[2]}" in of_answer
    assert "what the assistant said does harm" in of_answer


def test_llama_guard_is_given_the_conversation(subject, serve):
    server = serve(lambda body, number: chat("\n\nunsafe\nS1,S9" if number == 2 else "\n\nsafe"))
    query = vg.Query("And now?", history=(Turn("user", (("text", "Hello"),)), Turn("assistant", (("text", "Hi"),))))
    (given,) = moderated(api="chat", form="llama_guard").respond(subject, [query], max_new_tokens=6)
    assert given == REFUSAL
    asked, with_answer = (body["messages"] for body in server.requests)
    assert [turn["role"] for turn in asked] == ["user", "assistant", "user"] and asked[-1]["content"] == "And now?"
    assert with_answer[-1] == {"role": "assistant", "content": subject.generate([query], max_new_tokens=6)[0]}


def test_pictures_are_shown_to_a_model_that_sees(subject, serve, pictures):
    for api, reply in (("moderation", moderation(False)), ("chat", chat("safe"))):
        server = serve(lambda body, number, reply=reply: reply)
        query = vg.Query("What is this?", (pictures[0],))
        moderated(api=api, pictures=True, looks_at="input").respond(subject, [query], max_new_tokens=2)
        said = json.dumps(server.requests[0])
        assert "data:image/png;base64," in said and "What is this?" in said
        moderated(api=api, looks_at="input").respond(subject, [query], max_new_tokens=2)
        assert "image" not in json.dumps(server.requests[1])


@pytest.mark.parametrize("word", ["", "perhaps", "safe or unsafe", "I think it is safe", "unsafe? safe"])
def test_a_reply_that_says_neither_is_refused(subject, serve, word):
    serve(lambda body, number: chat(word))
    with pytest.raises(ModerationFailed, match="neither safe nor unsafe"):
        moderated(api="chat").respond(subject, QUERIES[:1], max_new_tokens=2)


def test_wildguards_lines():
    request, both = Exchange((("user", "How?"),)), Exchange((("user", "How?"),), "So.")
    lines = "Harmful request: {}\nResponse refusal: {}\nHarmful response: {}"
    assert read_reply("wildguard", request, lines.format("yes", "n/a", "n/a"))
    assert not read_reply("wildguard", request, lines.format("no", "N/A", "N/A"))
    assert not read_reply("wildguard", both, lines.format("yes", "yes", "no"))
    assert read_reply("wildguard", both, lines.format("yes", "no", "yes"))
    with pytest.raises(ModerationFailed, match="three lines"):
        read_reply("wildguard", both, lines.format("yes", "no", "n/a"))
    ((_, asked),) = worded("wildguard", both, None)
    assert "Person:\nHow?" in asked and "Assistant:\nSo." in asked
    ((_, own),) = worded("plain", Exchange((("user", "{answer} {request}"),), "A"), "Q {request} A {answer}")
    assert own == "Q {answer} {request} A A", "what a person wrote is no field"


def test_what_can_not_be_sent_is_no_fault_of_the_endpoints(subject, serve, tmp_path):
    serve(by_words("bad"))
    (tmp_path / "a.png").write_bytes(b"no picture")
    asked = (vg.Query("What is this?", (tmp_path / "a.png",)), vg.Query("half \ud800"))
    for query, problem in zip(asked, ("a.png", "half a character")):
        with pytest.raises(ModerationFailed, match=problem) as failed:
            moderated(pictures=True, looks_at="input").respond(subject, [query], max_new_tokens=4)
        assert "no JSON" not in str(failed.value) and "not answered" in str(failed.value)


@pytest.mark.parametrize(
    "settings, problem",
    [
        ({"api": "chats"}, "api is 'chats'"),
        ({"looks_at": "all"}, "looks_at is 'all'"),
        ({"api": "classifier"}, "a classifier needs it"),
        ({"unsafe_labels": ["x"]}, "nothing else takes it"),
        ({"api": "classifier", "unsafe_labels": ["x"], "pictures": True}, "pictures is True"),
        ({"api": "generator", "base_url": "http://h"}, "base_url is given"),
        ({"form": "llama_guard"}, "is not asked in words"),
        ({"prompt_file": "x.txt"}, "has no wording"),
        ({"api": "chat", "prompt_file": "absent.txt"}, "absent.txt can't be read"),
        ({"threshold": 2}, "threshold is 2"),
        ({"threshold": 0.9}, "gives verdicts, no probabilities"),
    ],
)
def test_settings_that_can_not_be(settings, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        moderated(**settings)


def test_a_guard_model_is_needed_and_labels_must_be_its_own(subject):
    with pytest.raises(ValueError, match="guard_model is not given"):
        vg.build_guard("moderated").respond(subject, QUERIES)
    folder = reward_folder(labels=2)
    for labels in (["harmful"], ["LABEL_0", "LABEL_1"]):
        guard = moderated(guard_model=folder, api="classifier", unsafe_labels=labels)
        with pytest.raises(ValueError, match="has the labels LABEL_0, LABEL_1"):
            guard.respond(subject, QUERIES)


def test_a_wording_of_the_users(tmp_path, subject, serve):
    path = tmp_path / "wording.txt"
    path.write_text("Is it fine? {request} {answer}")
    server = serve(lambda body, number: chat("safe"))
    moderated(api="chat", prompt_file=path, looks_at="input").respond(subject, QUERIES[:1], max_new_tokens=2)
    assert server.requests[0]["messages"][0]["content"] == f"Is it fine? {QUERIES[0].text} "
    path.write_text("{request} {request} {answer}")
    with pytest.raises(ValueError, match="holds {request} 2 times"):
        moderated(api="chat", prompt_file=path)


def test_composed_with_steering_guards(subject: Subject, anchors, serve):
    serve(by_words("bad thing"))
    settings = {"guard_model": "filter", "timeout": 5.0, "retry": 0, "looks_at": "input"}
    guard = vg.build_guard("cmrm+moderated", cmrm={"layers": [1]}, moderated=settings).fit(subject, anchors)
    given = guard.respond(subject, QUERIES, max_new_tokens=6)
    assert given[1] == REFUSAL and guard.checks.calls == 3
