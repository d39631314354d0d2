"""Files are written whole or not at all, whoever else writes them and whatever interrupts."""

import errno
import os
import subprocess
import sys
import time

import pytest

from vlmguard_plugin import files
from vlmguard_plugin.files import cache_directory, check_writable, write_together, write_whole

WRITER = """
import sys
from vlmguard_plugin.files import write_whole
path, letter, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(60):
    write_whole(path, letter * size)
"""


def test_text_and_bytes_are_written_as_they_are(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    write_whole(path, "caf\u00e9\r\n")
    assert path.read_bytes() == b"caf\xc3\xa9\r\n"
    write_whole(str(path), b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff" and os.listdir(path.parent) == ["file.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="no umask there")
@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_an_interrupted_write_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, "before")

    def interrupted(*_):
        assert len(os.listdir(tmp_path)) == 2, "the new content lies beside the old one"
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "after")
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["file"]


def test_files_that_belong_together_are_replaced_together(tmp_path, monkeypatch):
    both = {tmp_path / "a": "new", tmp_path / "folder" / "b": "new"}
    write_together({path: "old" for path in both})
    for disk, reason in (("full", "No space left"), ("a folder", "Is a directory")):
        if disk == "a folder":
            monkeypatch.undo()
            (tmp_path / "folder" / "b").unlink()
            (tmp_path / "folder" / "b").mkdir()
        else:
            monkeypatch.setattr(files.secrets, "token_hex", full_at_the_second())
        with pytest.raises(OSError, match=reason) as caught:
            write_together(both)
        assert caught.value.filename == str(tmp_path / "folder" / "b")
        assert (tmp_path / "a").read_text() == "old" and sorted(os.listdir(tmp_path)) == ["a", "folder"]


def full_at_the_second():
    """In the place of a scratch file's random name."""
    names = iter(["first"])

    def name(_):
        for word in names:
            return word
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return name


def test_to_a_pipe_or_device_content_is_sent(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE)
    write_whole(tmp_path / "pipe", "words")
    assert reader.communicate()[0] == b"words" and not (tmp_path / "pipe").is_file()
    (tmp_path / "null").symlink_to("/dev/null")
    write_whole(tmp_path / "null", "words")
    assert (tmp_path / "null").is_symlink() and not os.path.isfile("/dev/null")
    script = "from vlmguard_plugin.files import write_whole; write_whole('/dev/stdout', 'words')"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "words"


def test_errors_name_the_file_that_was_asked_for(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "in the way").write_text("a file")
    for place in (tmp_path / "a", tmp_path, tmp_path / "in the way" / "file"):
        with pytest.raises(OSError) as caught:
            write_whole(place, "x")
        assert caught.value.filename == str(place) and caught.value.strerror
    with pytest.raises(OSError) as caught:
        check_writable(tmp_path / "in the way" / "file")
    assert caught.value.filename == str(tmp_path / "in the way" / "file")
    check_writable(tmp_path / "not" / "there" / "yet")
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "in the way"]


def test_what_killed_processes_left_is_swept_away(tmp_path):
    for name, age in ((".vlmguard-1-00.part", 7200), (".vlmguard-2-00.part", 60), ("other.part", 7200)):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    write_whole(tmp_path / "file", "x")
    assert sorted(os.listdir(tmp_path)) == [".vlmguard-2-00.part", "file", "other.part"]


def test_what_can_not_be_encoded_leaves_nothing(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "file", "half \ud83d of it")
    assert os.listdir(tmp_path) == []


def test_a_reader_never_sees_half_a_file_of_two_writers(tmp_path):
    path, size = tmp_path / "file", 300_000
    write_whole(path, "a" * size)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), letter, str(size)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for letter in "ab"
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    seen = set()
    while any(writer.poll() is None for writer in writers):
        content = path.read_bytes()
        assert len(content) == size and len(set(content)) == 1, "a mixture, or half a file"
        seen.add(content[:1])
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert seen and seen <= {b"a", b"b"}
    assert os.listdir(tmp_path) == ["file"]


def test_the_cache_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("VLMGUARD_CACHE", str(tmp_path / "of the environment"))
    assert cache_directory() == tmp_path / "of the environment" and cache_directory().is_dir()
    assert cache_directory(tmp_path / "given") == tmp_path / "given" and (tmp_path / "given").is_dir()
    monkeypatch.setenv("VLMGUARD_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "of the user"))
    if sys.platform == "linux":
        assert cache_directory() == tmp_path / "of the user" / "vlmguard"
