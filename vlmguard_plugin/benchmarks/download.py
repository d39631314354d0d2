"""Authors' files into a folder: resumed where a transfer stopped, checked by digest, archives unpacked.

`downloads.json` in the folder holds which licence was accepted and, by path, the url and sha256 of what came.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path, PurePosixPath
from typing import Any, Iterator, Sequence, TypedDict

import filelock
from tqdm import tqdm

from vlmguard_plugin.benchmarks.archives import unpack
from vlmguard_plugin.benchmarks.benchmark import Download
from vlmguard_plugin.benchmarks.row import BenchmarkError
from vlmguard_plugin.files import sha256_of, write_whole
from vlmguard_plugin.reading import read_json

RECORD = "downloads.json"
TRIES = 5
"""Attempts in a row that may bring nothing before a download is given up."""
FIRST_WAIT = 1.0
"""Seconds before the second attempt; doubled each time."""
TIMEOUT = 60.0
"""Seconds that a connection may be silent."""
CHUNK = 1 << 20
"""Bytes read at a time."""
RETRIED = (408, 429, 500, 502, 503, 504)
"""Statuses of HTTP after which another attempt is made."""
BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)
"""What a connection that fails raises."""


class FileFacts(TypedDict, total=False):
    """What is noted of one download. sha256: of the file, in hex. unpacked: the archive is unpacked, and removed."""

    url: str
    sha256: str
    unpacked: bool


class Record(TypedDict):
    """What downloads.json holds. accepted: the licence that the user accepted, or None. files: by path in the folder;
    an archive's key is "FOLDER <- URL"."""

    accepted: str | None
    files: dict[str, FileFacts]


class Interrupted(Exception):
    """A transfer ended before its end; what has come is kept."""


def fetch(downloads: Sequence[Download], folder: Path, progress: bool = False) -> Path:
    """Bring all files into the folder, unless they are there unchanged; returns the folder.

    Files are got one after the other under a lock of the folder, so that two commands never write the same one.
    progress: show a bar on stderr. BenchmarkError says what could not be had and what to do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock"):
        for download in downloads:
            if download.unpack:
                fetch_archive(download, folder, progress)
            else:
                fetch_file(download, folder, folder / download.path, download.path, progress)
    return folder


def fetch_file(download: Download, folder: Path, target: Path, key: str, progress: bool) -> str:
    """One file, at target; its sha256. Without a digest of the authors', the one noted under key holds."""
    known: FileFacts = read_record(folder)["files"].get(key, {})
    expected = download.sha256 or (known.get("sha256") if known.get("url") == download.url else None)
    if target.is_file() and expected and sha256_of(target) == expected:
        return expected
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    transfer(download.url, partial, progress)
    digest = sha256_of(partial)
    if expected and digest != expected:
        forget(partial)
        why = "the authors' file has changed or the transfer is damaged"
        renew = "" if download.sha256 else f", or delete {folder / RECORD} to take the file as it is now"
        raise BenchmarkError(
            f"{download.url} has the sha256 {digest}, not {expected}: {why}; it was removed. "
            f"Try again{renew}, or get the file by hand and give it with --source"
        )
    partial.replace(target)
    forget(partial)
    note(folder, key, {"url": download.url, "sha256": digest})
    return digest


def fetch_archive(download: Download, folder: Path, progress: bool) -> None:
    """One archive, unpacked into folder/path; the archive itself is removed when all of it is unpacked."""
    key = f"{download.path or '.'} <- {download.url}"
    known: FileFacts = read_record(folder)["files"].get(key, {})
    target = folder / download.path
    name = PurePosixPath(urllib.parse.urlsplit(download.url).path).name or "archive"
    archive = folder / ".archives" / f"{hashlib.sha256(download.url.encode()).hexdigest()[:8]}-{name}"
    if known.get("unpacked") and known.get("sha256") == (download.sha256 or known.get("sha256")) and target.is_dir():
        archive.unlink(missing_ok=True)  # a process may have been killed right before it did so
        return
    digest = fetch_file(download, folder, archive, key, progress)
    unpack(archive, target, download.strip)
    note(folder, key, {"url": download.url, "sha256": digest, "unpacked": True})
    archive.unlink()


def transfer(url: str, partial: Path, progress: bool) -> None:
    """Everything at url into partial, from where an earlier transfer stopped."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise BenchmarkError(f"{url} is no http or https address; get the file by hand and give it with --source")
    failures = 0
    with tqdm(desc=partial.name.removesuffix(".partial"), unit="B", unit_scale=True, disable=not progress) as bar:
        while True:
            before = size_of(partial)
            try:
                return receive(url, partial, bar)
            except urllib.error.HTTPError as error:
                if error.code not in RETRIED:
                    raise BenchmarkError(
                        f"{url} answers {error.code} {error.reason}; see whether it opens in a browser, and give the "
                        "file with --source"
                    ) from error
                reason = f"it answers {error.code} {error.reason}"
            except (*BROKEN, Interrupted) as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
            failures = 1 if size_of(partial) > before else failures + 1
            if failures >= TRIES:
                raise BenchmarkError(
                    f"{url} can't be had ({reason}, {failures} times in a row); look at the connection and run the "
                    "command again, which goes on where it stopped, or give the file with --source"
                )
            time.sleep(FIRST_WAIT * 2 ** (failures - 1))


def receive(url: str, partial: Path, bar: tqdm) -> None:
    """One request for what partial lacks, written behind it; Interrupted where less comes than was announced.

    A server that does not know ranges, or whose file has changed since, sends all of it, and partial starts anew.
    """
    tag = partial.with_name(partial.name + ".etag")
    have = size_of(partial)
    headers = {"User-Agent": "vlmguard_plugin", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag.is_file():
            headers["If-Range"] = tag.read_text(encoding="utf-8")
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if error.headers.get("Content-Range", "").endswith(f"*/{have}"):
            return
        forget(partial)  # longer than the file there is
        raise Interrupted("the part that was there does not fit") from error
    with answer:
        begins = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        resumed = bool(have) and answer.status == 206 and begins
        if answer.status == 206 and not resumed:
            forget(partial)
            raise Interrupted("another part came than was asked for")
        start = have if resumed else 0
        announced = answer.headers.get("Content-Length")
        total = start + int(announced) if announced and announced.isdigit() else None
        bar.total = total
        bar.n = start
        bar.refresh()
        if not resumed:
            keep_tag(tag, answer.headers.get("ETag"))
        received = start
        try:
            with open(partial, "ab" if resumed else "wb") as stream:
                for chunk in chunks(answer):
                    stream.write(chunk)
                    received += len(chunk)
                    bar.update(len(chunk))
        except OSError as error:
            raise BenchmarkError(
                f"{partial} can't be written ({error}); free space there, or set VLMGUARD_CACHE to another folder"
            ) from error
    if total is not None and received < total:
        raise Interrupted(f"the connection closed after {received} of {total} bytes")


def chunks(answer: Any) -> Iterator[bytes]:
    """What a server sends, as it comes; Interrupted where the connection breaks."""
    while True:
        try:
            chunk = answer.read1(CHUNK)
        except (http.client.HTTPException, OSError) as error:
            raise Interrupted(str(error) or type(error).__name__) from error
        if not chunk:
            return
        yield chunk


def keep_tag(path: Path, tag: str | None) -> None:
    """Note the version that a server says it sends; weak tags don't say that bytes are the same."""
    if tag and not tag.startswith("W/"):
        path.write_text(tag, encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


def forget(partial: Path) -> None:
    """Remove an unfinished file and what was noted of it."""
    partial.unlink(missing_ok=True)
    partial.with_name(partial.name + ".etag").unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def read_record(folder: Path) -> Record:
    """What downloads.json holds; an empty record where there is none. BenchmarkError for a damaged one."""
    path = folder / RECORD
    if not path.is_file():
        return {"accepted": None, "files": {}}
    try:
        content = read_json(path)
    except ValueError as error:
        raise BenchmarkError(f"{path} is no JSON ({error}); delete it and try again") from error
    if not isinstance(content, dict) or not isinstance(content.get("files"), dict):
        raise BenchmarkError(f"{path} holds no downloads; delete it and try again")
    return {"accepted": content.get("accepted"), "files": content["files"]}


def note(folder: Path, key: str, facts: FileFacts) -> None:
    """Write the facts of one file into downloads.json."""
    record = read_record(folder)
    record["files"][key] = facts
    write_record(folder, record)


def accept(folder: Path, licence: str) -> None:
    """Write into downloads.json that the user has accepted this licence."""
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock"):
        write_record(folder, {**read_record(folder), "accepted": licence})


def write_record(folder: Path, record: Record) -> None:
    """Write downloads.json in one step."""
    write_whole(folder / RECORD, json.dumps(record, indent=2) + "\n")
