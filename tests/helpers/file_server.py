"""An HTTP server of files on loopback that ranges, cuts off, fails and lies."""

import hashlib
import io
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from vlmguard_plugin.benchmarks import download as downloading


class Server(ThreadingHTTPServer):
    """files: path -> content. cut: how many answers stop half way. fail: status codes of the next answers.
    heads: headers that these have."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.fail, self.ranges, self.asked, self.tag = {}, 0, [], True, [], None
        self.heads = {}

    def url(self, path):
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.fail:
            self.send_response(server.fail.pop(0))
            for name, value in server.heads.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        content = server.files.get(self.path.lstrip("/"))
        if content is None:
            return self.send_error(404)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        if self.headers.get("If-Range") not in (None, server.tag):
            start = 0
        if start >= len(content) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if server.tag:
            self.send_header("ETag", server.tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        part = content[start:]
        if server.cut:
            server.cut -= 1
            part = part[: len(part) // 2]
        self.wfile.write(part)

    def log_message(self, *arguments):
        pass


CONTENT = bytes(range(256)) * 400


@contextmanager
def serving(monkeypatch):
    """A running server that has a.bin, which is CONTENT; no proxy is asked, and nobody waits long."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(downloading, "FIRST_WAIT", 0.001)
    running = Server()
    running.files["a.bin"] = CONTENT
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def sha(content):
    return hashlib.sha256(content).hexdigest()


def zipped(**members):
    """A zip archive; "__" in a name stands for "/"."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()
