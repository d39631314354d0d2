"""The key that the host's `--judge-key` is given, kept out of what the host writes: its status.json and its log."""

from __future__ import annotations

import logging
import sys
from functools import wraps
from typing import Any, Sequence

SHORTEST = "--judge-k"
"""The shortest form of the option that the host takes for it."""
HIDDEN = "***"


def hide_judge_key(smp: Any) -> None:
    """Put HIDDEN in the key's place wherever the host writes its arguments down. smp: the module `vlmeval.smp`."""
    key = key_in(sys.argv)
    if not key:
        return
    smp.upsert_run_status = without(key, smp.upsert_run_status)
    make = logging.getLogRecordFactory()

    def record_without_key(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if key in (message := record.getMessage()):
            record.msg, record.args = message.replace(key, HIDDEN), ()
        return record

    logging.setLogRecordFactory(record_without_key)


def key_in(arguments: Sequence[str]) -> str | None:
    """The key among a command's arguments; None where there is none."""
    for word, after in zip(arguments, [*arguments[1:], ""]):
        option, equals, value = word.partition("=")
        if option.startswith(SHORTEST):
            return value if equals else after
    return None


def masked(arguments: Sequence[str]) -> list[str]:
    """A command's arguments with HIDDEN in the key's place."""
    key = key_in(arguments)
    return [word.replace(key, HIDDEN) if key else word for word in arguments]


def without(key: str, write: Any) -> Any:
    """The host's function that writes the status of a run, which is told HIDDEN in the key's place."""

    @wraps(write)
    def write_without_key(run_dir: Any, **fields: Any) -> Any:
        if isinstance(argv := fields.get("argv"), list):
            fields["argv"] = [str(word).replace(key, HIDDEN) for word in argv]
        return write(run_dir, **fields)

    return write_without_key
