"""Endpoints that never come to an end: their time and their bytes are bounded."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from helpers.judge_endpoint import ANSWER

from vlmguard_plugin.judges import endpoint as endpoint_judge
from vlmguard_plugin.judges.base import Case
from vlmguard_plugin.judges.endpoint import EndpointJudge


def test_a_reply_that_drips_is_given_up():
    """Each byte comes in time, the whole never would."""

    class Dripping(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.end_headers()
            while not enough.wait(0.05):
                self.wfile.write(b" ")

        def log_message(self, *_):
            pass

    enough = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Dripping)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    judge = EndpointJudge("tester", f"http://127.0.0.1:{server.server_port}", timeout=0.5, retry=0)
    (verdict,) = judge.judge([Case("Do it.", ANSWER)])
    enough.set()
    server.shutdown()
    assert verdict.failed and verdict.reason == "the endpoint's reply was not whole after 1 s"


@pytest.mark.parametrize("code", [200, 400])
def test_a_reply_without_an_end_is_given_up(monkeypatch, code):
    monkeypatch.setattr(endpoint_judge, "MOST_BYTES", 100_000)
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
