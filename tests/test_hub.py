"""Checkpoints by hub name where there is no hub: one line at once, and the cache where it holds them."""

import json
import socket
import threading
import time
from contextlib import suppress

import pytest
from helpers.file_server import serving
from helpers.processes import python
from helpers.tiny_models import tiny_llava, tiny_processor

LOAD = """
import json, sys
from vlmguard_plugin.hosts.guard_spec import GuardSpec
try:
    said = type(GuardSpec(sys.argv[1]).load_subject()).__name__
except OSError as error:
    said = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""


@pytest.fixture
def nowhere(tmp_path):
    """No hub at this address, and a cache of one tiny checkpoint."""
    folder = tmp_path / "hub" / "models--somebody--tiny"
    snapshot = folder / "snapshots" / ("0" * 40)
    tiny_llava().save_pretrained(snapshot)
    tiny_processor().save_pretrained(snapshot)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    unset = dict.fromkeys(("HF_HUB_OFFLINE", "HF_HUB_CACHE", "VLMGUARD_LLAVA"))
    return {**unset, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}


def said_of(checkpoint, environment):
    done = python("-c", LOAD, checkpoint, environment=environment)
    assert "Retrying" not in done.stderr  # the hub is asked once
    return json.loads(done.stdout.splitlines()[-1])


def test_without_a_hub(nowhere):
    said = said_of("llava", nowhere)
    assert said.startswith("NotHere: llava-hf/llava-1.5-7b-hf is not in the hub's cache") and "$VLMGUARD_LLAVA" in said
    assert "Error" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize("status, silent", [(503, True), (429, True), (401, False), (404, True)])
def test_which_answers_of_the_hub_are_none(status, silent, monkeypatch):
    """A busy hub would be asked for each file for minutes; one that refuses has spoken. A hub says why it has no such
    model: a server that only has no such page is none."""
    code = "from vlmguard_plugin.subjects.hub import why_hub_is_silent as why; print(why('somebody/tiny'))"
    with serving(monkeypatch) as server:
        server.fail = [status] * 20
        place = {"HF_ENDPOINT": server.url("").rstrip("/"), "HF_HUB_OFFLINE": None}
        said = python("-c", code, environment=place).stdout.splitlines()[-1]
    assert (str(status) in said) if silent else said == "None"


def test_a_hub_without_the_model_has_spoken(monkeypatch):
    with serving(monkeypatch) as server:
        server.fail, server.heads = [404] * 20, {"X-Error-Code": "RepoNotFound"}
        assert why(server.url("").rstrip("/")) == "None"


def test_a_server_that_is_no_hub_is_one_line(nowhere, monkeypatch):
    with serving(monkeypatch) as server:
        said = said_of("llava", {**nowhere, "HF_ENDPOINT": server.url("").rstrip("/")})
    assert said.startswith("NotHere: llava-hf/llava-1.5-7b-hf is not in the hub's cache")
    assert "the status 404" in said and "$VLMGUARD_LLAVA" in said and len(said.splitlines()) == 1


def why(endpoint):
    code = "from vlmguard_plugin.subjects.hub import why_hub_is_silent as why; print(why('somebody/tiny', 5))"
    place = {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": None}
    return python("-c", code, environment=place).stdout.splitlines()[-1]


def test_a_page_to_log_in_at_is_no_hub(monkeypatch):
    with serving(monkeypatch) as server:
        server.files["api/models/somebody/tiny"] = b"<html>"
        assert why(server.url("").rstrip("/")) == "what answers in its place is no hub"


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"], ids=["nothing", "a drip"])
def test_the_question_ends_in_time(head):
    """However little comes, and however slowly."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with suppress(OSError):
                connection = server.accept()[0]
                connection.sendall(head)
                for _ in range(60):
                    connection.sendall(b" " if head else b"")
                    time.sleep(1)

        threading.Thread(target=answer, daemon=True).start()
        started = time.monotonic()
        assert why(f"http://127.0.0.1:{server.getsockname()[1]}") == "no whole answer within 5 seconds"
        assert time.monotonic() - started < 55, "imports and all"


def test_what_the_cache_holds_is_loaded(nowhere):
    assert said_of("somebody/tiny", nowhere) == "HuggingFaceSubject"
