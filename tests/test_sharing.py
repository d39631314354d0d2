"""Fitted guards pushed to a folder, a file server and a hub, pulled back, and refused where they can't be trusted."""

import json
import shutil
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner
from helpers.guard_folders import rewrite
from helpers.hub_stand_in import environment_for, hub
from helpers.processes import python

import vlmguard_plugin as vg
from vlmguard_plugin.cli.main import main
from vlmguard_plugin.guards.core import places
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
        if self.server.drips:
            for byte in content:
                time.sleep(0.05)
                try:
                    self.wfile.write(bytes([byte]))
                except OSError:
                    return None
        return self.wfile.write(content[: self.server.most])

    def log_message(self, *arguments):
        pass


@contextmanager
def file_server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    running.files, running.order, running.most, running.drips = {}, [], None, False
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
    card = (tmp_path / "README.md").read_text()
    assert (
        "| `vlm_guard` | `{" in card and "| layers edited by `vlm_guard` | " in card and "`self_reminder`: Self" in card
    )
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
    "place, said",
    [
        ("", "the place is empty"),
        ("s3://bucket/guard", "can't hold a guard"),
        ("file:///srv/guard", "can't hold a guard"),
        ("https:/example.org/guard", "is no address of a file server"),
        ("https://example.org/guard?token=abc", "has a ? or a #"),
        ("~nobody-of-this-name/guard", "names a home folder that is not there"),
    ],
)
def test_what_is_no_place_is_refused_in_one_line(folder, tmp_path, monkeypatch, place, said):
    monkeypatch.chdir(tmp_path)
    for words in (("push", folder, place), ("pull", place, "--out", "out")):
        done = run(*words)
        assert done.exit_code == 1 and said in done.output and isinstance(done.exception, SystemExit)
    assert not list(tmp_path.iterdir())


def test_a_password_is_neither_published_nor_shown(folder):
    done = run("push", folder, "https://me:secret@example.org/guard")
    assert done.exit_code == 1 and "the card would publish" in done.output and "secret" not in done.output


def test_a_page_of_somebodys_is_never_written_over(folder, tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("# My project")
    done = run("push", folder, tmp_path)
    assert done.exit_code == 1 and "has a README.md that is no guard's card" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    with file_server(monkeypatch) as (server, place):
        server.files["/guards/mine/README.md"] = b"# My project"
        assert "no guard's card" in run("push", folder, place).output and not server.order
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")  # as a new repository of the hub has it
    assert run("push", folder, tmp_path).exit_code == run("push", folder, tmp_path).exit_code == 0


def test_what_a_server_says_wrongly_is_told_of_its_address(folder, tmp_path, monkeypatch):
    with file_server(monkeypatch) as (server, place):
        run("push", folder, place)
        server.files["/guards/mine/guard.json"] = b"{}"
        assert f"{place}/guard.json is damaged" in run("pull", place, "--out", tmp_path / "out").output
        server.files["/guards/mine/guard.json"] = b"\n<!doctype html><title>Log in</title>"
        assert f"{place}/guard.json is a web page" in run("pull", place, "--out", tmp_path / "out").output
        server.drips = True
        monkeypatch.setattr(places, "IN_ALL", 0.2)
        assert "after 0.2 s only" in run("pull", place, "--out", tmp_path / "out").output
    assert not (tmp_path / "out").exists()


def test_spaces_and_letters_of_any_script_in_an_address(folder, tmp_path, monkeypatch):
    with file_server(monkeypatch) as (server, place):
        assert run("push", folder, f"{place} ünd more").exit_code == 0
        assert run("pull", f"{place} ünd more", "--out", tmp_path / "ö ut").exit_code == 0
        assert "/guards/mine%20%C3%BCnd%20more/guard.json" in server.files


def test_a_pulled_guard_keeps_the_versions_of_its_fit_and_does_nothing_to_a_terminal(folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "theirs")
    model = json.loads((place / "guard.json").read_text())["model"]
    rewrite(place, versions={"torch": "0.1"}, model={**model, "fingerprint": "x\x1b[31m"})
    done = run("pull", place, "--out", tmp_path / "out")
    assert done.exit_code == 0 and "x\\x1b[31m" in done.output
    assert json.loads((tmp_path / "out" / "guard.json").read_text())["versions"] == {"torch": "0.1"}


def test_a_calibration_that_is_not_whole_is_refused(calibrated, tmp_path):
    rewrite(calibrated, calibration={**CALIBRATION, "points": [{"settings": {"alpha": 0.5}}]})
    done = run("push", calibrated, tmp_path / "shared")
    assert done.exit_code == 1 and "its calibration is not whole" in done.output


def test_the_card_of_what_needs_no_fit_says_so(subject, anchors, tmp_path):
    vg.build_guard("self_reminder").fit(subject, anchors).push(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "works with any model" in card and "fitted" not in card.partition("## Use it")[0]


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
try:
    guard.push_to_hub("somebody/model")
except ValueError as error:
    said["over"] = str(error)
print(json.dumps(said))
"""


def test_through_the_hub(folder, tmp_path):
    with hub() as running:
        running.repositories["somebody/pickled"] = {"guard.json": b"{}", "pytorch_model.bin": b"\\x80\\x04."}
        running.repositories["somebody/model"] = {"README.md": b"# A model"}
        running.private |= {"somebody/pickled": False, "somebody/model": False}
        done = python("-c", THERE_AND_BACK, folder, environment=environment_for(running, tmp_path))
        said = json.loads(done.stdout.splitlines()[-1])
        kept = running.repositories["somebody/my-guard"]
        assert said["where"].endswith("/somebody/my-guard") and said["same"], said
        assert sorted(kept) == ["README.md", "guard.json", "guard.safetensors"] and running.private["somebody/my-guard"]
        assert said["over"].endswith(
            "hf://somebody/model has a README.md that is no guard's card; give the guard a place of its own"
        )
        assert running.messages == ["first", "A fitted guard of vlmguard_plugin"]
        assert b"vlmguard pull hf://somebody/my-guard --out" in kept["README.md"]
        assert kept["guard.safetensors"] == (folder / "guard.safetensors").read_bytes()
        assert said["lost"].startswith("NotShared: no guard can be had from hf://somebody/other (RepositoryNotFound")
        assert said["bad"].startswith("NotShared: no guard can be had from hf://somebody/pickled")
        assert "is no repository of the hub; leave it out" in said["revision"]
        asked = {path.rpartition("/")[2] for method, path in running.asked if "/resolve/" in path}
        assert asked == {"guard.json", "guard.safetensors", "README.md"}, "and the card alone before it is written"


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
