"""Fitted guards pushed to a folder, a file server and a hub, pulled back, and refused where they can't be trusted."""

import json
import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner
from helpers.guard_folders import rewrite
from helpers.hub_stand_in import environment_for, hub
from helpers.processes import python

import vlmguard_plugin as vg
from vlmguard_plugin.cli.main import main
from vlmguard_plugin.guards.core.places import repository_of

CALIBRATION = {
    "bound": 0.02,
    "pairs": 50,
    "unguarded": {"harmful_refused": 0.2, "harmless_refused": 0.04, "degenerate": 0.0, "n": 50},
    "points": [
        {"settings": {"alpha": 0.5}, "harmful_refused": 0.6, "harmless_refused": 0.06, "degenerate": 0.0, "n": 50},
        {"settings": {"alpha": 2.0}, "harmful_refused": 0.9, "harmless_refused": 0.5, "degenerate": 0.1, "n": 50},
    ],
    "chosen": {"alpha": 0.5},
}


@pytest.fixture(scope="module")
def folder(subject, anchors, tmp_path_factory):
    place = tmp_path_factory.mktemp("fitted") / "my-guard"
    vg.build_guard("vlm_guard", alpha=0.5).fit(subject, anchors).save(place)
    return place


@pytest.fixture
def calibrated(folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "calibrated")
    rewrite(place, calibration=CALIBRATION)
    return place


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


class Files(BaseHTTPRequestHandler):
    def do_PUT(self):
        self.server.files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.order.append(self.path.rpartition("/")[2])
        self.send_response(201)
        self.end_headers()

    def do_GET(self):
        content = self.server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.most])

    def log_message(self, *arguments):
        pass


@contextmanager
def file_server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    running.files, running.order, running.most = {}, [], None
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running, f"http://127.0.0.1:{running.server_address[1]}/guards/mine"
    running.shutdown()
    running.server_close()
    thread.join()


def test_through_a_folder(folder, subject, tmp_path):
    place, out = tmp_path / "shared", tmp_path / "pulled"
    assert run("push", folder, place).exit_code == 0
    assert sorted(path.name for path in place.iterdir()) == ["README.md", "guard.json", "guard.safetensors"]
    done = run("pull", place, "--out", out)
    assert done.exit_code == 0 and "vlm_guard, fitted on llava-" in done.output
    own, pulled = vg.load_guard(folder, subject), vg.load_guard(out, subject)
    assert pulled.fingerprint == own.fingerprint and pulled.facts["anchors"] == own.facts["anchors"]


def test_through_a_file_server(folder, subject, tmp_path, monkeypatch):
    with file_server(monkeypatch) as (server, place):
        assert run("push", folder, place).exit_code == 0
        assert server.order[-1] == "guard.json"  # which readers ask for first
        guard = vg.Guard.from_pretrained(place, subject)
        assert guard.fingerprint == vg.load_guard(folder).fingerprint
        server.most = 100
        done = run("pull", place, "--out", tmp_path / "cut")
        assert done.exit_code == 1 and "can't be had" in done.output or "ended after 100 of" in done.output
        server.most = None
        assert "can't be had (it answers 404" in run("pull", f"{place}-other", "--out", tmp_path / "no").output


def test_the_card_says_what_the_guard_was_held_to(calibrated, tmp_path):
    place = tmp_path / "shared"
    assert run("push", calibrated, place, "--base-model", "somebody/vlm").exit_code == 0
    card = (place / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: vlmguard_plugin\n") and 'base_model: "somebody/vlm"' in card
    assert "At most 2 points more than the unguarded model: 6.0% of 50 harmless anchors." in card
    assert "| **`alpha=0.5`** | 60.0 [46.2, 72.4] | 6.0 [2.1, 16.2] | 0.0 [0.0, 3.7] |" in card
    assert "| `alpha=2.0` | 90.0 [" in card and "| *unguarded* | 20.0 [" in card
    assert "](calibration.svg)" in card and b"<svg" in (place / "calibration.svg").read_bytes()


def test_the_card_of_a_guard_without_calibration_says_so(folder, tmp_path):
    run("push", folder, tmp_path / "shared")
    card = (tmp_path / "shared" / "README.md").read_text()
    assert "None: it was not calibrated" in card and "calibration.svg" not in card


def test_a_composition_has_a_card_with_both_settings(subject, anchors, tmp_path):
    guard = vg.build_guard("vlm_guard+self_reminder").fit(subject, anchors)
    guard.push(tmp_path)
    assert "| `vlm_guard` | `{" in (tmp_path / "README.md").read_text()
    assert vg.Guard.from_pretrained(tmp_path, subject).fingerprint == guard.fingerprint


def test_a_class_takes_its_own_guard_alone(folder, subject):
    own = type(vg.load_guard(folder))
    assert own.from_pretrained(folder, subject).name == "vlm_guard"
    with pytest.raises(ValueError, match="holds the guard 'vlm_guard', which is no SelfReminder; use vg.Guard"):
        type(vg.build_guard("self_reminder")).from_pretrained(folder)


def test_what_belongs_to_another_model_is_refused(folder, fresh):
    import torch

    with torch.no_grad():
        next(fresh.model.parameters()).add_(1.0)
    other = vg.HuggingFaceSubject(fresh.model, fresh.processor)
    with pytest.raises(vg.WrongModel, match="fit it again on this model"):
        vg.Guard.from_pretrained(folder, other)


def test_files_of_a_machine_are_not_shared(subject, anchors, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("Be kind: {query}")
    guard = vg.build_guard("self_reminder", prompt_file=str(words)).fit(subject, anchors)
    with pytest.raises(ValueError, match="can't be shared: prompt_file names the file"):
        guard.push(tmp_path / "shared")
    assert not (tmp_path / "shared").exists()


def test_a_pulled_guard_reads_no_file_of_the_machine(subject, anchors, tmp_path):
    place = tmp_path / "theirs"
    vg.build_guard("self_reminder").fit(subject, anchors).save(place)
    rewrite(place, settings={"prompt_file": "/etc/hostname"})
    with pytest.raises(ValueError, match="prompt_file names the file '/etc/hostname'"):
        vg.Guard.from_pretrained(place)
    rewrite(place, guard="cmrm", settings={"conditions": ["photos=/home/me"]})
    with pytest.raises(ValueError, match="names 'photos=/home/me', a place of one machine"):
        vg.Guard.from_pretrained(place)


def test_damaged_files_are_refused(folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "damaged")
    content = bytearray((place / "guard.safetensors").read_bytes())
    content[-1] ^= 1
    (place / "guard.safetensors").write_bytes(content)
    done = run("pull", place, "--out", tmp_path / "out")
    assert done.exit_code == 1 and "is not the file that guard.json describes" in done.output
    assert not (tmp_path / "out" / "guard.json").exists()


def test_a_folder_is_never_published_by_mistake(folder):
    done = run("push", folder, "shared/my-guard")
    assert done.exit_code == 1 and "write ./shared/my-guard for the folder, or hf://shared/my-guard" in done.output
    assert "names no repository" in run("push", folder, "hf://just-one-word").output


@pytest.mark.parametrize(
    "place, repository",
    [("hf://a/b.c", "a/b.c"), ("a/b", "a/b"), ("./a/b", None), ("../b", None), ("/a/b", None), ("a/b/c", None)],
)
def test_which_places_are_the_hubs(place, repository):
    assert repository_of(place, reading=True) == repository


THERE_AND_BACK = """
import json, sys
import vlmguard_plugin as vg
guard = vg.load_guard(sys.argv[1])
facts = {"private": True, "base_model": "somebody/vlm", "commit_message": "first"}
said = {"where": guard.push_to_hub("somebody/my-guard", **facts)}
said["again"] = guard.push_to_hub("somebody/my-guard")
back = vg.Guard.from_pretrained("somebody/my-guard")
said["same"] = back.fingerprint == guard.fingerprint and back.facts["anchors"] == guard.facts["anchors"]
for name, place, options in (
    ("lost", "somebody/other", {}), ("bad", "somebody/pickled", {}), ("revision", sys.argv[1], {"revision": "v1"})
):
    try:
        vg.Guard.from_pretrained(place, **options)
        said[name] = "taken"
    except (OSError, ValueError) as error:
        said[name] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""


def test_through_the_hub(folder, tmp_path):
    with hub() as running:
        running.repositories["somebody/pickled"] = {"guard.json": b"{}", "pytorch_model.bin": b"\\x80\\x04."}
        running.private["somebody/pickled"] = False
        done = python("-c", THERE_AND_BACK, folder, environment=environment_for(running, tmp_path))
        said = json.loads(done.stdout.splitlines()[-1])
        kept = running.repositories["somebody/my-guard"]
        assert said["where"].endswith("/somebody/my-guard") and said["same"], said
        assert sorted(kept) == ["README.md", "guard.json", "guard.safetensors"] and running.private["somebody/my-guard"]
        assert running.messages == ["first", "A fitted guard of vlmguard_plugin"]
        assert b"vlmguard pull hf://somebody/my-guard --out" in kept["README.md"]
        assert kept["guard.safetensors"] == (folder / "guard.safetensors").read_bytes()
        assert said["lost"].startswith("NotShared: no guard can be had from hf://somebody/other (RepositoryNotFound")
        assert said["bad"].startswith("NotShared: no guard can be had from hf://somebody/pickled")
        assert "is no repository of the hub; leave it out" in said["revision"]
        fetched = {path.rpartition("/")[2] for method, path in running.asked if "/resolve/" in path}
        assert fetched == {"guard.json", "guard.safetensors"}, "nothing else is ever asked for"


def test_without_the_right_to_write(folder, tmp_path):
    with hub() as running:
        words = ("-m", "vlmguard_plugin", "push", folder, "hf://somebody/my-guard")
        done = python(*words, environment=environment_for(running, tmp_path, token="hf_wrong"), check=False)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "hf://somebody/my-guard can't be written" in done.stderr and "hf auth login" in done.stderr


def test_where_there_is_no_hub_one_line_says_so_at_once(folder, tmp_path):
    with hub() as running:
        nowhere = {**environment_for(running, tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    for words in (("pull", "hf://somebody/x", "--out", tmp_path / "out"), ("push", folder, "hf://somebody/x")):
        done = python("-m", "vlmguard_plugin", *words, environment=nowhere, check=False)
        assert done.returncode == 1 and "the hub can't be reached (Conn" in done.stderr
        assert len(done.stderr.splitlines()) == 1, "it is asked once"
