"""VLMEvalKit's messages as queries."""

from __future__ import annotations

from typing import Any

from vlmguard_plugin.query import Query, Turn


def as_query(message: list[dict[str, Any]]) -> Query:
    """The host's message as a query: its texts and images in order."""
    return Query.from_parts(parts_of(message))


def as_conversation(messages: list[dict[str, Any]]) -> Query:
    """The host's turns as a query: the last one's content, and those before it as its history."""
    return Query.from_parts(
        parts_of(messages[-1]["content"]), [Turn(turn["role"], parts_of(turn["content"])) for turn in messages[:-1]]
    )


def parts_of(message: list[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    """The parts of the host's message."""
    return tuple((part["type"], part["value"]) for part in message)


def has_video(message: list[dict[str, Any]]) -> bool:
    """Whether the host's message shows a video."""
    return any(part["type"] == "video" for part in message)
