"""Endpoints that never come to an end, send elsewhere or say too much: their time, bytes and words are bounded."""

import contextlib
import gzip
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from helpers.dripping import dripping_server
from helpers.judge_endpoint import ANSWER, KEY, judge_at, label, verdict_from

from vlmguard_plugin.endpoints import replies
from vlmguard_plugin.judges import endpoint
from vlmguard_plugin.judges.base import Case
from vlmguard_plugin.judges.endpoint import EndpointJudge
from vlmguard_plugin.judges.judgements import Judgements


def test_a_reply_that_drips_is_given_up():
    with dripping_server() as address:
        (verdict,) = EndpointJudge("tester", address, timeout=0.5, retry=0).judge([Case("Do it.", ANSWER)])
    assert verdict.failed and verdict.reason == "the endpoint's reply was not whole after 1 s"


@pytest.mark.parametrize("code", [200, 400])
def test_a_reply_without_an_end_is_given_up(monkeypatch, code):
    monkeypatch.setattr(replies, "MOST_BYTES", 100_000)
    sent = []

    class Endless(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(code)
            self.end_headers()
            with contextlib.suppress(OSError):  # it hangs up
                while len(sent) < 10_000:
                    sent.append(self.wfile.write(b" " * 65_536))

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    judge = EndpointJudge("tester", f"http://127.0.0.1:{server.server_port}", timeout=20, retry=0)
    (verdict,) = judge.judge([Case("Do it.", ANSWER)])
    server.shutdown()
    assert verdict.failed and "the reply has more than 100,000 bytes" in verdict.reason and len(sent) < 10_000


@pytest.mark.parametrize("encoding, packed", [("gzip", 1), ("gzip, gzip", 2), ("deflate", 0), ("br", 0)])
def test_a_compressed_reply_is_not_unpacked(serve, encoding, packed):
    """Some kilobytes may unpack to gigabytes."""
    body = json.dumps(label("safe")).encode()
    for _ in range(packed):
        body = gzip.compress(body)
    server = serve(lambda *_: body, Content_Encoding=encoding)
    verdict = verdict_from(server)
    assert verdict.failed and "compressed" in verdict.reason


def test_an_encoding_that_changes_nothing_is_taken(serve):
    assert verdict_from(serve(lambda *_: label("safe"), Content_Encoding="identity")).label == "safe"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_nobody_is_asked_in_the_endpoints_place(serve, code):
    other = serve(lambda *_: label("safe"))
    server = serve(lambda *_: code, Location=f"{other.url}/chat/completions")
    verdict = verdict_from(server)
    assert verdict.failed and f"HTTP {code}" in verdict.reason and "give that address" in verdict.reason
    assert other.requests == []


@pytest.mark.parametrize("echo", [KEY, KEY.upper(), KEY[:-1], f"Bearer {KEY}", f"a{KEY}b"])
def test_a_key_that_is_echoed_is_kept_nowhere(serve, tmp_path, echo):
    replies = [label("safe", f"because of {echo}"), {"choices": [{"message": {"content": f"I like {echo}"}}]}]
    server = serve(lambda _, number: replies[number % 2])
    verdicts = Judgements(tmp_path).judged(judge_at(server), [Case("Q", ANSWER), Case("Q", ANSWER + " Then bake.")])
    kept = "".join(path.read_text() for path in tmp_path.rglob("*.jsonl"))
    assert {verdict.failed for verdict in verdicts} == {True, False} and "because of" in kept
    for text in (kept, *(verdict.raw + verdict.reason for verdict in verdicts)):
        assert KEY[:12].lower() not in text.lower()


def test_a_judges_words_do_nothing_in_a_terminal(serve):
    verdict = verdict_from(serve(lambda *_: label("safe", "red \x1b[31m and \u202eback")))
    assert verdict.label == "safe" and verdict.reason == "red \\x1b[31m and \\u202eback"


def test_an_interrupt_waits_for_no_reply(serve, monkeypatch):
    going = threading.Event()

    def slow(*_):
        going.set()
        time.sleep(8)
        return label("safe")

    judge = judge_at(serve(slow), timeout=30)

    def interrupt(pool, ask, cases):
        for case in cases:
            pool.submit(ask, case)
        going.wait(5)
        raise KeyboardInterrupt

    monkeypatch.setattr(endpoint.ThreadPoolExecutor, "map", interrupt)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        judge.judge([Case("Q", f"{ANSWER} {number}") for number in range(8)])
    assert time.monotonic() - began < 6
