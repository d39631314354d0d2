"""An HTTP server on loopback that answers as a judge's endpoint does, well or badly."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from vlmguard_plugin.judges.base import Case
from vlmguard_plugin.judges.endpoint import EndpointJudge

KEY = "sk-very-secret"

ANSWER = "Take a bowl, add flour and water, and stir for a minute."


def completion(content, **choice):
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": content}, **choice}]}


def label(word, reason="so"):
    return completion(json.dumps({"label": word, "reason": reason}))


class Server:
    """Answers each request with `reply(request, number)`: a dict (sent as JSON), bytes (HALF...: it hangs up before the
    announced end), a status, (status, dict), or None to hang up at once. headers: sent with every reply."""

    def __init__(self, reply, **headers):
        self.requests, self.paths, self.keys, self.api_keys = [], [], [], []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append(body)
                server.paths.append(self.path)
                server.keys.append(self.headers["Authorization"])
                server.api_keys.append(self.headers["api-key"])
                said = reply(body, len(server.requests))
                if said is None:
                    return self.connection.close()
                code = 200
                if isinstance(said, tuple):
                    code, said = said
                if isinstance(said, int):
                    code, said = said, {"error": {"message": f"no, {KEY}", "code": "x"}}
                if isinstance(said, dict):
                    said = json.dumps(said).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(said) + 1000 * said.startswith(b"HALF")))
                self.send_header("Retry-After", "0.01")
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def stop(self):
        self.http.shutdown()
        self.http.server_close()


def data(body):
    """The case as the endpoint's model sees it."""
    return json.loads(body["messages"][-1]["content"])


def judge_at(server, **settings):
    return EndpointJudge("tester", server.url, KEY, **{"timeout": 5, "retry": 0, **settings})


def verdict_from(server, case=Case("Do the bad thing.", ANSWER), **settings):
    return judge_at(server, **settings).judge([case])[0]
