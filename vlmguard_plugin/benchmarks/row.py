"""One row of any benchmark, and what became of the rows of its original files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Sequence

from PIL import Image

HALF = re.compile("[\ud800-\udfff]")
LETTERS = ascii_uppercase
"""Letters of multiple-choice options, in order."""


def choice_prompt(question: str, options: Sequence[str]) -> str:
    """A multiple-choice question as every host of ours puts it: LLaVA's own wording. options: texts of A, B, ..."""
    lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, options)]
    return "\n".join([question, *lines, "Answer with the option's letter from the given choices directly."])


class BenchmarkError(ValueError):
    """A benchmark's original files, or a request to prepare them, are not as they must be."""


class SourceMissing(FileNotFoundError):
    """A file or folder of a benchmark's original data is not there."""


@dataclass(frozen=True)
class Row:
    """One item, however its benchmark stores it.

    id: the item's own name, unique in its set. request: what the model is asked.
    images: files, PIL images or what such a file holds, shown before the request.
    category: the benchmark's own class of the item. harmful: whether the request is harmful; None for utility items.
    pair: the same for items that belong together (the same request under another condition, or its harmless twin).
    answer: the right answer (a letter where there are options); of a safety item, its authors' reference answer.
    options: 2 to 26 texts, for A, B, ...
    condition: what stands in the picture, for example "text" (no picture), "blank", "noise", "picture".
    intent: the request in plain words, where `request` hides it in a picture or a jailbreak; judges are shown it.
    shown: what the picture shows, in words, where the benchmark says; judges that can't see are told.
    """

    id: str
    request: str
    images: tuple[Path | Image.Image | bytes, ...] = ()
    category: str = ""
    harmful: bool | None = None
    pair: str = ""
    answer: str | None = None
    options: tuple[str, ...] | None = None
    condition: str = "text"
    intent: str = ""
    shown: str = ""

    def __post_init__(self) -> None:
        texts = ("id", "request", "category", "pair", "answer", "condition", "intent", "shown")
        for name, text in [*((name, getattr(self, name)) for name in texts), *zip(LETTERS, self.options or ())]:
            if text is not None and not isinstance(text, str):
                raise BenchmarkError(f"row {self.id!r} has a {name} that is no text but a {type(text).__name__}")
            if text and HALF.search(text):
                raise BenchmarkError(f"row {self.id!r} has half a character (a lone surrogate) in its {name}")
        if not self.request.strip():
            raise BenchmarkError(f"row {self.id!r} has an empty request; every row must ask something")
        if self.options is not None:
            if not 2 <= len(self.options) <= len(LETTERS):
                raise BenchmarkError(
                    f"row {self.id!r} has {len(self.options)} options; 2 to {len(LETTERS)} are possible"
                )
            if any(not option.strip() for option in self.options):
                raise BenchmarkError(f"row {self.id!r} has an empty option; leave unused options out")
            allowed = LETTERS[: len(self.options)]
            if self.answer is None or self.answer not in tuple(allowed):
                raise BenchmarkError(
                    f"row {self.id!r} has the answer {self.answer!r}; it must be one of {', '.join(allowed)}"
                )


@dataclass(frozen=True)
class BadRow:
    """A row that was left out. row: its number in the file, from 1 (for a csv, the line it starts on)."""

    file: Path
    row: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}: {self.reason}"


@dataclass(frozen=True)
class Reading:
    """Rows read from original files, and those that could not be."""

    rows: tuple[Row, ...]
    bad: tuple[BadRow, ...] = ()
