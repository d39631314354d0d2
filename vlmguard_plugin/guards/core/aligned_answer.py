"""An answer that is drawn sentence by sentence, each of several candidates."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Sequence

from vlmguard_plugin.query import Query
from vlmguard_plugin.subjects.base import Drawn
from vlmguard_plugin.subjects.stopping import before

if TYPE_CHECKING:
    from PIL import Image


class AlignedAnswer:
    """An answer that is drawn sentence by sentence.

    query: what it answers. pictures: the query's, RGB. put: the query with the prefix, as it is put to the model.
    said, tokens: what has been drawn so far, and how many tokens. ended: by the model itself.
    """

    def __init__(self, query: Query, pictures: Sequence[Image.Image], prefix: str) -> None:
        self.query, self.pictures, self.prefix = query, pictures, prefix
        before = query.text if query.raw else query.begun
        spaced = prefix if before[-1:].strip() == "" else f" {prefix}"
        self.lead = query.begun + spaced
        self.put = query.wrapped("", spaced) if query.raw else replace(query, begun=self.lead)
        self.said, self.tokens, self.ended = "", 0, False

    def is_whole(self, most: int, stop: Sequence[str]) -> bool:
        """Whether nothing is to be drawn any more. most: tokens. stop: texts that the answer ends before."""
        return self.ended or self.tokens >= most or any(text in self.prefix + self.said for text in stop)

    def seed(self, *parts: int) -> int:
        """Of the random numbers for what these numbers name: alike for every query of the same words."""
        words = [(turn.role, [value for kind, value in turn.parts if kind == "text"]) for turn in self.query.turns()]
        content = json.dumps([*parts, words, self.query.begun])
        return int.from_bytes(hashlib.sha256(content.encode()).digest()[:4], "big")

    def with_words(self, text: str) -> str:
        """The whole answer so far, and these words behind it."""
        return (self.lead + self.said + text).strip()

    def take(self, sentence: Drawn) -> None:
        """Go on with a sentence."""
        self.said += sentence.text
        self.tokens += sentence.tokens
        self.ended = sentence.ended

    def cut(self, stop: Sequence[str]) -> str:
        """The answer, up to the texts that it ends before."""
        text = before(self.prefix + self.said, stop)
        return text if self.query.raw else text.strip()
