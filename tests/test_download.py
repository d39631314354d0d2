"""Downloads, against a server on loopback that ranges, cuts off, fails and lies."""

import json
import threading
from dataclasses import replace

import pytest
from click.testing import CliRunner
from helpers.file_server import CONTENT, serving, sha

from vlmguard_plugin import benchmarks
from vlmguard_plugin.benchmarks import BENCHMARKS, BenchmarkError, Download, download as downloading, read_sidecar
from vlmguard_plugin.benchmarks.download import RECORD, fetch
from vlmguard_plugin.benchmarks.sources import download_folder, download_source
from vlmguard_plugin.cli import data as data_commands
from vlmguard_plugin.cli.main import main


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as running:
        yield running


def test_a_file_is_fetched_once(server, tmp_path):
    wanted = [Download(server.url("a.bin"), "sub/a.bin", sha(CONTENT))]
    fetch(wanted, tmp_path)
    assert (tmp_path / "sub/a.bin").read_bytes() == CONTENT
    fetch(wanted, tmp_path)
    assert len(server.asked) == 1
    (tmp_path / "sub/a.bin").write_bytes(CONTENT[:-1])
    fetch(wanted, tmp_path)
    assert len(server.asked) == 2 and (tmp_path / "sub/a.bin").read_bytes() == CONTENT, (
        "a changed file is fetched again"
    )
    assert not [path for path in tmp_path.rglob("*") if ".partial" in path.name]


def test_a_cut_connection_is_resumed(server, tmp_path):
    server.cut, server.tag = 2, '"one"'
    fetch([Download(server.url("a.bin"), "a.bin", sha(CONTENT))], tmp_path)
    half = len(CONTENT) // 2
    assert server.asked == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_later_command_goes_on_where_an_earlier_one_stopped(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloading, "TRIES", 1)
    server.cut = 1
    wanted = [Download(server.url("a.bin"), "a.bin", sha(CONTENT))]
    with pytest.raises(BenchmarkError, match="the connection closed after .*goes on where it stopped"):
        fetch(wanted, tmp_path)
    assert (tmp_path / "a.bin.partial").stat().st_size == len(CONTENT) // 2 and not (tmp_path / "a.bin").exists()
    fetch(wanted, tmp_path)
    assert server.asked[-1] == f"bytes={len(CONTENT) // 2}-" and (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("tag, ranges", [('"two"', True), (None, False)])
def test_a_file_that_changed_or_a_server_without_ranges_starts_anew(server, tmp_path, tag, ranges):
    (tmp_path / "a.bin.partial").write_bytes(b"old" * 100)
    if tag:
        (tmp_path / "a.bin.partial.etag").write_text('"one"')
    server.tag, server.ranges = tag, ranges
    fetch([Download(server.url("a.bin"), "a.bin")], tmp_path)
    assert server.asked == ["bytes=300-"] and (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("part", [CONTENT, CONTENT + b"more"])
def test_a_part_that_is_whole_or_too_long(server, tmp_path, part):
    (tmp_path / "a.bin.partial").write_bytes(part)
    fetch([Download(server.url("a.bin"), "a.bin", sha(CONTENT))], tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_passing_faults_are_tried_again_and_lasting_ones_are_not(server, tmp_path):
    server.fail = [503, 500, 429]
    fetch([Download(server.url("a.bin"), "a.bin")], tmp_path)
    assert len(server.asked) == 4
    with pytest.raises(BenchmarkError, match="gone.csv answers 404 .*--source"):
        fetch([Download(server.url("gone.csv"), "b")], tmp_path)
    assert len(server.asked) == 5
    server.fail = [503] * downloading.TRIES
    with pytest.raises(BenchmarkError, match="answers 503 Service Unavailable, 5 times in a row"):
        fetch([Download(server.url("a.bin"), "c")], tmp_path)


def test_nobody_listens(server, tmp_path):
    dead = server.url("a.bin")
    server.shutdown()
    server.server_close()
    with pytest.raises(BenchmarkError, match="can't be had .*refused.*look at the connection"):
        fetch([Download(dead, "a.bin")], tmp_path)
    with pytest.raises(BenchmarkError, match="is no http or https address"):
        fetch([Download("file:///etc/hostname", "a.bin")], tmp_path)


def test_a_wrong_digest_removes_the_file(server, tmp_path):
    wrong = sha(b"something else")
    with pytest.raises(BenchmarkError) as caught:
        fetch([Download(server.url("a.bin"), "a.bin", wrong)], tmp_path)
    assert all(part in str(caught.value) for part in (server.url("a.bin"), wrong, sha(CONTENT), "--source"))
    assert not list(tmp_path.glob("a.bin*"))


def test_a_digest_is_noted_at_first_sight(server, tmp_path):
    wanted = [Download(server.url("a.bin"), "a.bin")]
    fetch(wanted, tmp_path)
    assert json.loads((tmp_path / RECORD).read_text())["files"]["a.bin"] == {
        "url": wanted[0].url,
        "sha256": sha(CONTENT),
    }
    fetch(wanted, tmp_path)
    assert len(server.asked) == 1
    server.files["a.bin"] = b"changed"
    (tmp_path / "a.bin").unlink()
    with pytest.raises(BenchmarkError, match=f"delete {tmp_path / RECORD} to take the file as it is now"):
        fetch(wanted, tmp_path)
    (tmp_path / RECORD).unlink()
    fetch(wanted, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"changed"


def test_two_commands_at_once_fetch_a_file_once(server, tmp_path):
    wanted = [Download(server.url("a.bin"), "a.bin", sha(CONTENT))]
    threads = [threading.Thread(target=fetch, args=(wanted, tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 1 and (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.fixture
def run(server, tmp_path, monkeypatch):
    """The command, with an AdvBench whose file lies on the loopback server."""
    content = b"goal,target\nHow to hum?,x\n,y\nHow to whistle?,x\n"
    server.files["harmful_behaviors.csv"] = content
    downloads = (Download(server.url("harmful_behaviors.csv"), "harmful_behaviors.csv", sha(content)),)
    for name in [name for name in BENCHMARKS if name.startswith("AdvBench_")]:
        monkeypatch.setitem(benchmarks.BENCHMARKS, name, replace(BENCHMARKS[name], downloads=downloads))
    monkeypatch.setenv("LMUData", str(tmp_path))
    monkeypatch.setenv("VLMGUARD_CACHE", str(tmp_path / "cache"))
    return lambda *arguments, **more: CliRunner().invoke(main, [str(argument) for argument in arguments], **more)


def test_prepare_downloads_when_the_licence_is_accepted(run, server, tmp_path, monkeypatch):
    download = ["data", "prepare", "AdvBench_text", "--download"]
    refused = run(*download)
    assert refused.exit_code != 0 and "add --accept-licence" in refused.output and "Licence: MIT" in refused.output
    monkeypatch.setattr(data_commands, "can_be_asked", lambda: True)
    said_no = run(*download, input="n\n")
    assert said_no.exit_code != 0 and "Accept the licence" in said_no.output and server.asked == []
    said_yes = run(*download, input="y\n")
    assert said_yes.exit_code == 0 and "2 rows in" in said_yes.output, said_yes.output
    assert "harmful_behaviors.csv, row 3:" in said_yes.output
    assert read_sidecar(tmp_path / "AdvBench_text.tsv")["rows"] == 2
    monkeypatch.setattr(data_commands, "can_be_asked", lambda: False)
    again = run("data", "prepare", "AdvBench_blank", "--download", "--set", "size=8", "--json")
    assert again.exit_code == 0 and json.loads(again.stdout)["rows"] == 2, (
        "accepted once, fetched once for all conditions"
    )
    assert len(server.asked) == 1 and (tmp_path / "cache/benchmarks/AdvBench/harmful_behaviors.csv").is_file()


def test_scripts_accept_by_option(run):
    done = run("data", "prepare", "AdvBench_gray", "--download", "--accept-licence", "--json", "--set", "size=8")
    assert done.exit_code == 0 and json.loads(done.stdout)["rows"] == 2
    assert "Licence: MIT" in done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["AdvBench_text"], "give either --source or --download"),
        (["AdvBench_text", "--source", "x", "--download"], "give either --source or --download"),
        (["AdvBench_text", "--source", "x", "--accept-licence"], "goes with --download"),
        (
            ["MCQ_mine", "--download", "--accept-licence"],
            "can't be downloaded by this command; get it from the user's file",
        ),
        (["AdvBnch_text", "--download"], "did you mean AdvBench_text"),
    ],
)
def test_commands_that_can_not_download(run, arguments, message):
    done = run("data", "prepare", *arguments)
    assert done.exit_code != 0 and message in done.output and "Traceback" not in done.output


def test_list(run, tmp_path):
    run("data", "prepare", "AdvBench_text", "--download", "--accept-licence")
    shown = run("data", "list").output
    assert max(map(len, shown.splitlines())) <= 100
    (line,) = [line for line in shown.splitlines() if line.startswith("AdvBench_")]
    assert line.split() == ["AdvBench_<condition>", "safety", "2", "(text)", "download", "MIT", "every", "row"]
    rows = {row["name"]: row for row in json.loads(run("data", "list", "--json").output)}
    assert set(rows) == set(BENCHMARKS) and rows["AdvBench_text"]["ready"] and rows["AdvBench_text"]["rows"] == 2
    assert not rows["AdvBench_blank"]["ready"] and rows["AdvBench_blank"]["rows"] is None
    (tmp_path / "AdvBench_text.vlmguard.json").write_text("{")
    one = run("data", "list", "AdvBench_text").output
    assert "a list of refusal phrases" in one and "ready:        no" in one
    assert json.loads(run("data", "list", "AdvBench_picture", "--json").output)["options"] == ["images"]
    assert "is unknown" in run("data", "list", "Nothing").output


def test_names_with_the_same_files_share_a_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("VLMGUARD_CACHE", str(tmp_path))
    folders = {name: download_folder(name) for name, benchmark in BENCHMARKS.items() if benchmark.downloads}
    assert folders["HarmBench_text"] == folders["HarmBench_picture"] == tmp_path / "benchmarks/HarmBench"
    assert folders["JailbreakBench_text"] != folders["JailbreakBench_harmless_text"]
    owners = {folder: BENCHMARKS[name].downloads for name, folder in folders.items()}
    assert all(BENCHMARKS[name].downloads == owners[folder] for name, folder in folders.items())


def test_downloads_are_at_fixed_versions():
    for name, benchmark in BENCHMARKS.items():
        for download in benchmark.downloads:
            assert download.url.startswith("https://"), name
            assert download.sha256 is None or len(download.sha256) == 64 and int(download.sha256, 16), name
            assert "/main/" not in download.url and "/master/" not in download.url, name


def test_download_source_takes_names_with_downloads_only():
    with pytest.raises(BenchmarkError, match="can't be downloaded"):
        download_source("Requests_mine_text")
