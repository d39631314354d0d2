"""vLLM's own server as a process, and requests to it in OpenAI's form."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from openai import OpenAI

MODEL = "tiny"
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


class Server:
    """A server that is up, or whose process has ended; `stop` ends it. words: of its command, behind `python`."""

    def __init__(self, log, *words, up="/health", environment=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = Path(log)
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, words), "--port", str(self.port), "--host", "127.0.0.1"],
                env={**os.environ, **ENVIRONMENT, **(environment or {})},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.time() + 480
        while time.time() < deadline and self.process.poll() is None and self.status(up) != 200:
            time.sleep(0.3)

    @property
    def said(self):
        """What it has printed."""
        return self.log.read_text(errors="replace")

    def status(self, path):
        """The HTTP status of a path; None where nobody answers."""
        try:
            return urllib.request.urlopen(self.url + path, timeout=5).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def get(self, path):
        """The JSON at a path."""
        return json.loads(urllib.request.urlopen(self.url + path, timeout=30).read())

    def client(self):
        """OpenAI's client of it."""
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120)

    def answers(self, queries, tokens, **more):
        """Its answers to queries, asked for at once. more: what else OpenAI's client takes."""
        client = self.client()

        def answer(query):
            done = client.chat.completions.create(
                model=MODEL, messages=messages(query), max_tokens=tokens, temperature=0, **more
            )
            return done.choices[0].message.content

        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(answer, queries))

    def stop(self):
        """End it and its workers."""
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def vllm_server(log, checkpoint, *words, config=None, environment=None):
    """`vllm serve` of a checkpoint. config: its --additional-config."""
    more = ("--additional-config", json.dumps(config)) if config else ()
    start = ("-m", "vllm.entrypoints.cli.main", "serve", checkpoint, "--dtype", "float32", "--served-model-name", MODEL)
    return Server(log, *start, *more, *words, environment=environment)


def messages(query):
    """A query in OpenAI's form."""
    turns = [*query.history, *query.turns()[len(query.history) :]]
    return [{"role": turn.role, "content": [part(kind, value) for kind, value in turn.parts]} for turn in turns]


def part(kind, value):
    if kind == "text":
        return {"type": "text", "text": value}
    file = io.BytesIO()
    value.save(file, "PNG")
    address = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": address}}
