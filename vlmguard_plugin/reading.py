"""Files that others have written: read within limits, where what can't be read is one ValueError, and shown."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, Iterator

MAX_BYTES = 1 << 30
"""The largest file that is read at once (1 GiB); the largest set here, JailBreakV-28K's logs, takes a tenth."""
MAX_LINES = 10_000_000

MAX_DEPTH = 100
"""Lists and objects within each other; what walks through them afterwards has no more room than that for sure."""


def in_line(error: BaseException) -> str:
    """An error with its kind, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def parsed_json(text: str | bytes) -> Any:
    """What JSON text says. ValueError where it is none, or is nested more than MAX_DEPTH deep."""
    try:
        value = json.loads(text)
    except RecursionError:
        value = None
        too_deep = True
    else:
        too_deep = is_deeper(value, MAX_DEPTH)
    if too_deep:
        raise ValueError(f"nested more than {MAX_DEPTH} deep")
    return value


def is_deeper(value: Any, most: int) -> bool:
    """Whether lists and dicts lie more than `most` deep within each other."""
    layer = [value] if isinstance(value, (dict, list)) else []
    for _ in range(most):
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
    return bool(layer)


def read_json(path: Path) -> Any:
    """What a UTF-8 JSON file holds. OSError where it can't be opened, ValueError for anything else."""
    return parsed_json(read_bytes(path).decode("utf-8"))


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number from 1, what it says or a ValueError) of each line of a UTF-8 JSON Lines file that is not blank.

    Lines end at a line feed alone: strings may hold the other characters that Unicode breaks lines at. Raises as
    `read_bytes` does, and ValueError for more than MAX_LINES lines.
    """
    checked_file(path)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if number > MAX_LINES:
                raise ValueError(f"{path.name} has more than {MAX_LINES:,} lines")
            if not line.strip():
                continue
            try:
                yield number, parsed_json(line.decode("utf-8"))
            except ValueError as error:
                yield number, error


def visible(text: str) -> str:
    """Text in one line in which control characters, and others that print nothing, are written as escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def read_bytes(path: Path) -> bytes:
    """A file's bytes. OSError where it can't be opened, ValueError for one of more than MAX_BYTES bytes, and for what
    is no ordinary file: a pipe or a device may never come to its end.
    """
    checked_file(path)
    return path.read_bytes()


def checked_file(path: Path) -> None:
    """The errors of `read_bytes`, for a file that something else will read."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise ValueError(f"{path.name} is {kind}, not an ordinary file")
    if status.st_size > MAX_BYTES:
        raise ValueError(f"{path.name} has {status.st_size:,} bytes; at most {MAX_BYTES:,} are read")
