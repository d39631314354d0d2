"""Files written whole or not at all, and where the package keeps what it makes."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

import platformdirs

from vlmguard_plugin import environment


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Put a file in place in one step, its folder too: a reader sees all of it, or what was there before.

    content: str is written as UTF-8. Several processes may write the same file at once; one of them wins, whole.
    """
    path = Path(path)
    path = path.resolve() if path.is_symlink() else path  # the link stays one
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".vlmguard-{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with scratch.open("xb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
        if path.exists():
            scratch.chmod(path.stat().st_mode & 0o777)
        os.replace(scratch, path)
    except BaseException:  # an interrupt too: nothing half written stays behind
        scratch.unlink(missing_ok=True)
        raise


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def cache_directory(cache_dir: str | Path | None = None) -> Path:
    """The cache directory, made if need be: cache_dir, else $VLMGUARD_CACHE, else the user's cache directory."""
    chosen = cache_dir or environment.CACHE.value() or platformdirs.user_cache_dir("vlmguard")
    folder = Path(chosen).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
