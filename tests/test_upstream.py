"""A server behind a guard that replies as it should not: taken neither for an answer nor for the client's fault."""

import pytest
from helpers.judge_endpoint import Server, completion

import vlmguard_plugin as vg
from vlmguard_plugin.hosts.guarded import NoAnswer
from vlmguard_plugin.serving.upstream import Upstream, UpstreamSubject

NO_MESSAGE = {"choices": [{"index": 0, "finish_reason": "stop"}]}


def answered(reply):
    """What a guard in front of a server that replies so gives to a request."""
    there = Server(lambda body, number: reply)
    try:
        before = Upstream(UpstreamSubject(there.url, "m"), vg.build_guard("self_reminder"), 5)
        return before.respond_each([vg.Query("What is this?")])[0].text
    finally:
        there.stop()


@pytest.mark.parametrize(
    "reply, said",
    [
        ({"choices": []}, "reply is no chat completion"),
        ({"choices": None}, "reply is no chat completion"),
        ({"error": {"message": "overloaded"}}, "reply is no chat completion"),
        (NO_MESSAGE, "reply is no chat completion"),
        (b"[]", "reply is no chat completion"),
        (b'{"choices": [', "reply is no JSON"),
        (completion([{"type": "text", "text": "a bowl"}]), "the content of the server's reply is no text"),
        (None, "Connection error"),
        (b"HALF", "Connection error"),
    ],
)
def test_what_is_no_completion_is_the_servers_fault(reply, said):
    text = answered(reply)
    assert isinstance(text, NoAnswer) and said in text.reason and not text.refused


def test_what_it_says_in_refusing_is_its_answer():
    refusal = {"role": "assistant", "content": None, "refusal": "I can't help with that."}
    assert answered({"choices": [{"index": 0, "message": refusal}]}) == "I can't help with that."
    assert answered(completion(" a bowl ")) == "a bowl"
