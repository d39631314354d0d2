"""Archives: unpacked once, never outside of their folder, and refused where they are damaged or would fill the disk."""

import io
import random
import tarfile
import zipfile

import pytest
from helpers.file_server import serving, sha, zipped

from vlmguard_plugin.benchmarks import BenchmarkError, Download
from vlmguard_plugin.benchmarks.archives import unpack
from vlmguard_plugin.benchmarks.download import fetch


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as running:
        yield running


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archives_are_unpacked_once(server, tmp_path, kind):
    members = {"top__images__1.png": b"1", "top__list.csv": b"2", "alone": b"3"}
    if kind == "zip":
        content = zipped(**members)
    else:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, data in members.items():
                info = tarfile.TarInfo(name.replace("__", "/"))
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        content = buffer.getvalue()
    server.files["set." + kind] = content
    wanted = [Download(server.url("set." + kind), "data", sha(content), unpack=True, strip=1)]
    fetch(wanted, tmp_path)
    contents = {
        str(path.relative_to(tmp_path / "data")): path.read_bytes()
        for path in (tmp_path / "data").rglob("*")
        if path.is_file()
    }
    assert contents == {"images/1.png": b"1", "list.csv": b"2"}
    (tmp_path / ".archives" / f"{sha(wanted[0].url.encode())[:8]}-set.{kind}").write_bytes(content)  # left by a kill
    fetch(wanted, tmp_path)
    assert len(server.asked) == 1 and not list((tmp_path / ".archives").iterdir())


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/tmp/out.txt", "..\\out.txt", "C:\\out.txt"])
def test_no_archive_writes_outside(server, tmp_path, name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("good.txt", "x")
        archive.writestr(name, "x")
    server.files["bad.zip"] = buffer.getvalue()
    with pytest.raises(BenchmarkError, match="leads out of its folder"):
        fetch([Download(server.url("bad.zip"), "in/side", unpack=True)], tmp_path / "cache")
    assert not list(tmp_path.rglob("out.txt")) and not list(tmp_path.rglob("good.txt"))


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_that_would_fill_the_disk_is_refused(server, tmp_path, kind, monkeypatch):
    monkeypatch.setattr("vlmguard_plugin.benchmarks.archives.ALWAYS_ALLOWED", 1 << 20)
    size = 2 << 20
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.txt", bytes(size))
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            info = tarfile.TarInfo("a.txt")
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(size)))
    server.files["bomb." + kind] = buffer.getvalue()
    with pytest.raises(BenchmarkError, match="unpacks to more than 1,048,576 bytes"):
        fetch([Download(server.url("bomb." + kind), "data", unpack=True)], tmp_path)
    assert not list(tmp_path.rglob("a.txt"))


def test_links_and_damaged_archives_are_refused(server, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    server.files["link.tar"] = buffer.getvalue()
    with pytest.raises(BenchmarkError, match="'link', a link or device"):
        fetch([Download(server.url("link.tar"), "x", unpack=True)], tmp_path)
    server.files["half.zip"] = zipped(a=b"1" * 1000)[:500]
    with pytest.raises(BenchmarkError, match="not a whole zip or tar archive"):
        fetch([Download(server.url("half.zip"), "y", unpack=True)], tmp_path)
    with pytest.raises(ValueError, match="inside the source folder"):
        Download("http://x/y", "../y")


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_random_damage_of_an_archive_is_one_error(tmp_path, kind):
    """Three decompressors and two formats raise of every kind."""
    buffer = io.BytesIO()
    if kind == "zip":
        buffer.write(zipped(**{f"folder__{number}.txt": bytes(range(200)) for number in range(5)}))
    else:
        with tarfile.open(fileobj=buffer, mode="w:" + kind.partition(".")[2]) as archive:
            for number in range(5):
                info = tarfile.TarInfo(f"folder/{number}.txt")
                info.size = 200
                archive.addfile(info, io.BytesIO(bytes(range(200))))
    whole, refused = buffer.getvalue(), 0
    for seed in range(120):
        generator = random.Random(f"{kind}:{seed}")
        content = bytearray(whole)
        for _ in range(generator.choice((1, 3, 20))):
            content[generator.randrange(len(content))] = generator.randrange(256)
        (tmp_path / "archive").write_bytes(
            content[: generator.choice((len(content), generator.randrange(len(content))))]
        )
        try:
            unpack(tmp_path / "archive", tmp_path / str(seed))
        except BenchmarkError as error:
            refused += 1
            assert str(tmp_path / "archive") in str(error) and "\n" not in str(error)
    assert refused > 20
    assert {path.parts[len(tmp_path.parts)] for path in tmp_path.rglob("*")} <= {"archive", *map(str, range(120))}


def test_a_name_that_is_a_file_and_a_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("a", "x")
        archive.writestr("a/b", "x")
    with pytest.raises(BenchmarkError, match="archive.zip is not a whole"):
        unpack(tmp_path / "archive.zip", tmp_path / "out")
