"""What an endpoint's replies and errors may say: bounded, in one line, without a key."""

from __future__ import annotations

import errno
import http
import re
import time
from typing import Any, Iterator

from vlmguard_plugin.reading import visible

PIECE = 12
"""Characters of a key in a row that are kept out of whatever an endpoint says."""
MOST_BYTES = 8 << 20
"""Bytes of a reply that are read; a whole one has some thousand."""


def masked(text: str, key: str | None) -> str:
    """Text without the key, and without any longer piece of it."""
    if not key:
        return text
    text = text.replace(key, "***")
    pieces = {key[start : start + PIECE] for start in range(len(key) - PIECE + 1)}
    return re.sub("|".join(map(re.escape, pieces)), "***", text, flags=re.IGNORECASE) if pieces else text


def status(code: int) -> str:
    """A status in words, with what to do about it."""
    remedy = {
        **dict.fromkeys(range(300, 400), "; it sends elsewhere, which is not followed: give that address"),
        401: "; check the key",
        403: "; check the key",
        404: "; check the base URL and the model's name",
        429: "; too many requests or no quota left",
    }
    try:
        phrase = f" {http.HTTPStatus(code).phrase}"
    except ValueError:
        phrase = ""
    return f"HTTP {code}{phrase}{remedy.get(code, '')}"


def words(body: object, key: str | None) -> str:
    """What the endpoint says of an error, in one line of at most 200 characters, without the key; "" for nothing."""
    told = body.get("message") if isinstance(body, dict) else body
    line = masked(visible(" ".join(str(told or "").split())), key)
    return f": {line[:200]}" if line else ""


def bound(response: Any, seconds: float | None = None) -> None:
    """Let no more than MOST_BYTES of a reply be read, and none that is compressed: it could unpack to anything.

    seconds: that the reading may take in all, of a reply that drips; None for no bound.

    response: of the HTTP library that openai brings along.
    """
    stream = response.stream
    kind: Any = next(kind for kind in type(stream).__mro__ if kind.__name__ == "SyncByteStream")

    class Bounded(kind):
        def __iter__(self) -> Iterator[bytes]:
            read, began = 0, time.monotonic()
            if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
                raise OSError(errno.EPROTO, "the reply is compressed, though none such was asked for")
            for block in stream:
                read += len(block)
                if seconds is not None and time.monotonic() - began > seconds:
                    raise OSError(errno.ETIMEDOUT, f"the reply was not whole after {seconds:g} s")
                if read > MOST_BYTES:
                    raise OSError(errno.EFBIG, f"the reply has more than {MOST_BYTES:,} bytes")
                yield block

        def close(self) -> None:
            stream.close()

    response.stream = Bounded()


def cause(error: BaseException) -> str:
    """Why a connection failed, without any address: the system's own words, else the kind of error."""
    inner: BaseException | None = error
    while inner is not None:
        last, inner = inner, inner.__cause__ or inner.__context__
        if isinstance(last, OSError) and last.strerror:
            return last.strerror
    return type(error.__cause__ or error).__name__
