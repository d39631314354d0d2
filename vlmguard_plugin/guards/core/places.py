"""Where fitted guards are shared: a folder, a file server, or a repository of the model hub.

A place is written as its users write it: `/shared/my-guard` or `./my-guard`, `https://files.example.org/my-guard`,
`hf://somebody/my-guard`. Only guard.json and guard.safetensors are ever fetched, whatever else lies there.
"""

from __future__ import annotations

import http.client
import re
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator, Mapping

from vlmguard_plugin.files import expanded, write_together
from vlmguard_plugin.guards.core.saved import FACTS_FILE, TENSORS_FILE
from vlmguard_plugin.reading import MAX_BYTES, in_line, visible

FETCHED = (TENSORS_FILE, FACTS_FILE)
HUB = "hf://"
SERVERS = ("http://", "https://")
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
"""OWNER/NAME, as the hub calls a repository."""
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
"""How an address begins, be it one that a path has taken a slash from; a drive's letter is none."""
CARD = "README.md"
PAGES = (b"<!doctype", b"<html")
"""How a web page begins."""
SECONDS, IN_ALL = 60.0, 600.0
"""How long a file server may be silent, and how long a file may take."""


class NotShared(OSError):
    """A guard can't be brought to a place, or had from it."""


class OtherPage(ValueError):
    """A place has a page of somebody's where the card would be written."""


def checked_place(place: str | Path) -> str | Path:
    """A place as the rest of this module takes it; ValueError for none, and for an address of another kind.

    A server's address must be bare: what stands behind a "?" would come before the files' names, and a password would
    be published with the card.
    """
    text = str(place)
    if not text.strip():
        raise ValueError("the place is empty; give a folder (. for this one), http(s)://... or hf://OWNER/NAME")
    begun = SCHEME.match(text)
    if begun is None or text.startswith(HUB):
        return place
    scheme = f"{begun[1].lower()}://"
    if scheme not in SERVERS:
        raise ValueError(f"{visible(text)!r} can't hold a guard; give a folder, http(s)://... or hf://OWNER/NAME")
    address = urllib.parse.urlsplit(text)
    if not address.hostname or isinstance(place, Path):
        raise ValueError(f"{visible(text)!r} is no address of a file server; write it as text, {scheme}HOST/FOLDER")
    if address.username is not None:
        raise ValueError(
            f"{scheme}...@{address.hostname} holds a user name, which the card would publish; leave it out"
        )
    if address.query or address.fragment:
        raise ValueError(
            f"{visible(text)!r} has a ? or a #, but files' names are to be added; give a folder's bare address"
        )
    return scheme + address.netloc + urllib.parse.quote(address.path, safe="/%:@!$&'()*+,;=~")


def repository_of(place: str | Path, reading: bool) -> str | None:
    """The hub's repository that a place names; None for a folder or a file server.

    reading: OWNER/NAME is then a folder where there is one, else a repository, as everywhere with the hub. Of one to
    write to, ValueError asks which is meant: a folder's name must not become a publication.
    """
    text = str(place)
    if text.startswith(HUB):
        name = text.removeprefix(HUB)
        if not REPOSITORY.fullmatch(name):
            raise ValueError(f"{text!r} names no repository of the hub; write hf://OWNER/NAME")
        return name
    if isinstance(place, Path) or not REPOSITORY.fullmatch(text) or text.startswith(".") or Path(text).is_dir():
        return None
    if not reading:
        raise ValueError(
            f"{text!r} may mean a folder or a repository of the hub; write ./{text} for the folder, or hf://{text}"
        )
    return text


def put(files: Mapping[str, bytes], place: str | Path, *, private: bool | None = None, message: str = "") -> str:
    """Write the files, by name, to a place, and return where they are. NotShared where that fails.

    private: whether a hub's repository that is made for it is private; None leaves it to the hub.
    message: of the hub's commit.
    A README.md that is there already and is no guard's card is somebody's work, and is refused.
    """
    place = checked_place(place)
    repository = repository_of(place, reading=False)
    if repository is not None:
        return put_to_hub(files, repository, private, message)
    if str(place).startswith(SERVERS):
        return put_to_server(files, str(place))
    folder = expanded(place)
    if (folder / CARD).is_file():
        check_card((folder / CARD).read_bytes(), folder)
    write_together({folder / name: content for name, content in files.items()})
    return str(folder)


def put_to_hub(files: Mapping[str, bytes], repository: str, private: bool | None, message: str) -> str:
    """The same to the hub, as one commit; the repository is made if need be. Logged in as huggingface_hub is."""
    from huggingface_hub import CommitOperationAdd, HfApi

    from vlmguard_plugin.subjects.hub import why_hub_is_silent

    silent = why_hub_is_silent(repository)
    if silent is not None:
        raise NotShared(f"the hub can't be reached ({silent}); push to a folder or a file server in its place")
    api = HfApi(library_name="vlmguard_plugin")
    try:
        where = api.create_repo(repository, private=private, exist_ok=True)
        if api.file_exists(repository, CARD):
            check_card(Path(api.hf_hub_download(repository, CARD)).read_bytes(), HUB + repository)
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        api.create_commit(repository, operations, commit_message=message or "A fitted guard of vlmguard_plugin")
    except OtherPage:
        raise
    except Exception as error:  # as in from_hub
        raise NotShared(
            f"{HUB}{repository} can't be written ({short(error)}); see whether you are logged in (`hf auth login`, or "
            "$HF_TOKEN) and may write there, or push to a folder"
        ) from error
    return str(where)


def put_to_server(files: Mapping[str, bytes], place: str) -> str:
    """The same to a file server that takes PUT, file by file; guard.json, which readers ask for first, comes last."""
    with suppress(NotShared):  # nothing there, or nothing that can be read
        there = from_server(f"{place.rstrip('/')}/{CARD}")
        if not there.lstrip().lower().startswith(PAGES):  # which some servers answer whatever they are asked for
            check_card(there, place)
    for name in sorted(files, key=lambda name: name == FACTS_FILE):
        url = f"{place.rstrip('/')}/{name}"
        request = urllib.request.Request(url, data=files[name], method="PUT")
        request.add_header("Content-Type", "application/octet-stream")
        try:
            urllib.request.urlopen(request, timeout=SECONDS).close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NotShared(
                f"{url} can't be written ({short(error)}); name an address that takes files by PUT, or a folder"
            ) from error
    return place


def check_card(content: bytes, place: str | Path) -> None:
    """OtherPage for a README.md that says something and is no guard's card: writing over it would lose it."""
    text = content.decode("utf-8", errors="replace").strip()
    head, _, body = text.removeprefix("---").partition("\n---") if text.startswith("---") else ("", "", text)
    if body.strip() and "library_name: vlmguard_plugin" not in head:
        raise OtherPage(f"{place} has a {CARD} that is no guard's card; give the guard a place of its own")


@contextmanager
def fetched(place: str | Path, revision: str | None = None) -> Iterator[Path]:
    """A folder with the two files of a place, as long as it is open. NotShared where they can't be had.

    revision: of a hub's repository: a branch, a tag or a commit; ValueError with any other place.
    """
    place = checked_place(place)
    repository = repository_of(place, reading=True)
    if revision is not None and repository is None:
        raise ValueError(f"revision is {revision!r}, but {str(place)!r} is no repository of the hub; leave it out")
    if repository is not None:
        yield from_hub(repository, revision)
    elif str(place).startswith(SERVERS):
        with tempfile.TemporaryDirectory() as folder:
            for name in reversed(FETCHED):
                content = from_server(url := f"{str(place).rstrip('/')}/{name}")
                if content.lstrip()[:1] == b"<":
                    raise NotShared(f"{url} is a web page, no file of a guard; give the address of a guard's folder")
                Path(folder, name).write_bytes(content)
            yield Path(folder)
    else:
        yield expanded(place)


def from_hub(repository: str, revision: str | None) -> Path:
    """The folder of the hub's cache that holds the two files, and only these; a silent hub is asked once."""
    from huggingface_hub import hf_hub_download

    from vlmguard_plugin.subjects.hub import why_hub_is_silent

    silent = why_hub_is_silent(repository)
    try:
        for name in reversed(FETCHED):
            file = Path(hf_hub_download(repository, name, revision=revision, local_files_only=silent is not None))
            revision = file.parent.name  # its commit: a push between the two must not mix two guards
    except Exception as error:  # the library that it asks with has errors of its own, by its version
        if silent is not None:
            raise NotShared(
                f"{HUB}{repository} is not in the hub's cache, and the hub can't be reached ({silent}); give a folder "
                "or a file server in its place"
            ) from error
        raise NotShared(
            f"no guard can be had from {HUB}{repository} ({short(error)}); see whether the name is right and you may "
            "read it, or give a folder"
        ) from error
    return file.parent


def from_server(url: str) -> bytes:
    """What a file server has at an address, of at most MAX_BYTES."""
    content, until = bytearray(), time.monotonic() + IN_ALL
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            while len(content) <= MAX_BYTES and (block := answer.read1(1 << 20)):
                content += block
                if time.monotonic() > until:
                    raise TimeoutError(f"after {IN_ALL:g} s only {len(content)} bytes have come")
            announced = answer.headers.get("Content-Length", "")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotShared(
            f"{url} can't be had ({short(error)}); see whether it opens in a browser; a hub's repository is hf://OWNER/NAME"
        ) from error
    if len(content) > MAX_BYTES:
        raise NotShared(f"{url} has more than {MAX_BYTES:,} bytes; no fitted guard is so large")
    if announced.isdigit() and int(announced) != len(content):
        raise NotShared(f"{url} ended after {len(content)} of {announced} bytes; try again")
    return bytes(content)


def short(error: BaseException) -> str:
    """An error in one line of bounded length."""
    if isinstance(error, urllib.error.HTTPError):
        return " ".join(f"it answers {error.code} {error.reason}".split())
    line = in_line(error)
    return line if len(line) <= 120 else f"{line[:120].rpartition(' ')[0]} …"
