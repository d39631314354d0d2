"""A model hub on loopback that keeps what is pushed to it: the parts of its API that pushing and pulling use.

Repositories are made, files come inline or, as large ones do, by way of its store of large files; a commit puts them in
place, whole. Every path that was asked for is written down.
"""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

COMMIT = "{:040x}"


class Hub(ThreadingHTTPServer):
    """repositories: name -> {file: bytes}. large: sha256 -> bytes. asked: (method, path). token: what writers need."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories, self.private, self.large, self.asked = {}, {}, {}, []
        self.token, self.commits, self.messages = "hf_test", 0, []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def say(self, status, content=None, **headers):
        body = content if isinstance(content, bytes) else json.dumps({} if content is None else content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def may_write(self):
        return self.headers.get("Authorization") == f"Bearer {self.server.token}"

    def do_POST(self):
        hub, path = self.server, self.path.partition("?")[0]
        hub.asked.append(("POST", path))
        body = self.body()
        if not self.may_write():
            return self.say(401, {"error": "Invalid username or password."})
        if path == "/api/validate-yaml":
            errors = (
                [] if isinstance(yaml.safe_load(json.loads(body)["content"].split("---")[1]), dict) else ["no facts"]
            )
            return self.say(400 if errors else 200, {"errors": errors, "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            if name in hub.repositories:
                return self.say(409, {"error": "exists", "url": f"{hub.address}/{name}"})
            hub.repositories[name], hub.private[name] = {}, asked.get("private") or asked.get("visibility") == "private"
            return self.say(200, {"url": f"{hub.address}/{name}"})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self.say(
                200, {"transfer": "basic", "objects": [self.upload(one) for one in json.loads(body)["objects"]]}
            )
        name = path.removeprefix("/api/models/").rsplit("/", 2)[0]
        if name not in hub.repositories:
            return self.say(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        if "/preupload/" in path:
            files = [
                {"path": one["path"], "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                 "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]  # fmt: skip
            return self.say(200, {"files": files})
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                hub.messages.append(value["summary"])
            elif line["key"] == "file":
                hub.repositories[name][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                hub.repositories[name][value["path"]] = hub.large[value["oid"]]
        hub.commits += 1
        oid = COMMIT.format(hub.commits)
        return self.say(200, {"success": True, "commitOid": oid, "commitUrl": f"{hub.address}/{name}/commit/{oid}"})

    def upload(self, one):
        action = {"href": f"{self.server.address}/large/{one['oid']}", "header": {}}
        return {**one, "authenticated": True, "actions": {"upload": action}}

    def do_PUT(self):
        content = self.body()
        oid = self.path.rpartition("/")[2]
        assert hashlib.sha256(content).hexdigest() == oid
        self.server.large[oid] = content
        self.say(200)

    def do_GET(self):
        hub, path = self.server, self.path.partition("?")[0]
        hub.asked.append((self.command, path))
        parts = path.strip("/").split("/")
        if path == "/api/whoami-v2":
            return self.say(200, {"name": "somebody", "type": "user"}) if self.may_write() else self.say(401)
        if parts[:2] == ["api", "models"]:
            name = "/".join(parts[2:4])
            return (
                self.say(200, {"id": name, "sha": COMMIT.format(hub.commits)})
                if name in hub.repositories
                else self.lost()
            )
        name, file = "/".join(parts[:2]), parts[-1]
        if name not in hub.repositories or (hub.private[name] and not self.may_write()):
            return self.lost()
        if file not in hub.repositories[name]:
            return self.say(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
        content = hub.repositories[name][file]
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        return self.say(200, content, ETag=tag, X_Repo_Commit=COMMIT.format(hub.commits))

    do_HEAD = do_GET

    def lost(self):
        self.say(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")

    def log_message(self, *arguments):
        pass


@contextmanager
def hub():
    """A running hub, empty."""
    running = Hub()
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def environment_for(running, home, token="hf_test"):
    """What makes huggingface_hub ask this hub, in a process of its own, with a cache in `home`."""
    names = (
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "HF_HUB_OFFLINE",
        "HF_HUB_CACHE",
    )
    return {
        **dict.fromkeys(names),
        "HF_ENDPOINT": running.address,
        "HF_HOME": str(home),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
