"""Files written whole or not at all, and where the package keeps what it makes."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Mapping

import platformdirs

from vlmguard_plugin import environment

LEFT_BEHIND = 3600
"""Seconds after which an unfinished file of ours is taken for one that a killed process has left."""
PIECES, PIECE = 256, 1 << 12
"""How many pieces of a checkpoint's file are hashed, and how many bytes each has."""


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Put a file in place in one step, its folder too: a reader sees all of it, or what was there before.

    content: str is written as UTF-8. Several processes may write the same file at once; one of them wins, whole.
    A link stays one; to a pipe or a device, such as /dev/stdout, the content is sent. OSError names the file.
    """
    write_together({Path(path): content})


def write_together(contents: Mapping[Path, bytes | str]) -> None:
    """`write_whole` for files that belong together: none is put in place before all are written."""
    scratches: dict[Path, Path] = {}
    path = Path()
    try:
        for path, content in contents.items():
            data = content.encode("utf-8") if isinstance(content, str) else content
            if is_special(path):
                with path.open("wb") as file:
                    file.write(data)
                continue
            target = ordinary_target(path)
            scratch = target.with_name(f".vlmguard-{os.getpid()}-{secrets.token_hex(4)}.part")
            scratches[target] = scratch
            with scratch.open("xb") as file:
                file.write(data)
            if target.exists():
                scratch.chmod(target.stat().st_mode & 0o777)
        for path, scratch in scratches.items():
            os.replace(scratch, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:  # at an interrupt too: nothing half written stays behind
        for scratch in scratches.values():
            scratch.unlink(missing_ok=True)


def expanded(path: str | Path) -> Path:
    """A path with ~ being the home directory; ValueError where ~NAME is the home of nobody here."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{str(path)!r} names a home folder that is not there; write the path in full") from error


def is_special(path: Path) -> bool:
    """Whether a path is a pipe or a device."""
    return path.exists() and not path.is_file() and not path.is_dir()


def ordinary_target(path: Path) -> Path:
    """Where a file is to be put, links followed, its folder made. OSError for a folder, and for a loop of links."""
    try:
        target = path.resolve() if path.is_symlink() else path
        if target.is_symlink():  # links in a circle: Python 3.13 no longer refuses to resolve them
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    except RuntimeError as error:  # Python before 3.13
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    for old in target.parent.glob(".vlmguard-*.part"):
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > LEFT_BEHIND:
                old.unlink()
    return target


def check_writable(place: str | Path) -> None:
    """OSError where nothing can be written at a place, a file or a folder, before work is done for it."""
    place = Path(place)
    if is_special(place):
        return
    folder = place if place.is_dir() else place.parent
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(place)) from error


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def folder_sha256(folder: Path) -> str:
    """A sha256 that tells one checkpoint's folder from another, in hexadecimal, in a moment however large it is.

    Of each file in it, in order: its name, its size, and its bytes, of a large one PIECES evenly spaced ones of PIECE.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name}\n{size}\n".encode())
        with path.open("rb") as file:
            for number in range(PIECES if size > PIECES * PIECE else 0):
                file.seek(number * (size - PIECE) // (PIECES - 1))
                digest.update(file.read(PIECE))
            digest.update(b"" if size > PIECES * PIECE else file.read())
    return digest.hexdigest()


def cache_directory(cache_dir: str | Path | None = None) -> Path:
    """The cache directory, made if need be: cache_dir, else $VLMGUARD_CACHE, else the user's cache directory."""
    chosen = cache_dir or environment.CACHE.value() or platformdirs.user_cache_dir("vlmguard")
    folder = expanded(chosen)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
