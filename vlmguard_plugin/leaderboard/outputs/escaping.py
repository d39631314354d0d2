"""Text from outside, made fit for where it is shown: names, categories, paths and answers may hold anything.

No name can do something in a terminal, in Markdown, in a spreadsheet or on a page; none is shown as another.
"""

from __future__ import annotations

import json
import math
import re
from numbers import Integral, Real
from typing import Any, Mapping

from vlmguard_plugin.reading import visible

SPECIAL = re.compile(r"([\\`*<>&|~$]|(?<=\])\(|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)|(?<=www)\.)", re.IGNORECASE)
"""What Markdown, as GitHub has it, would not show as it is within a line ..."""
STARTS = re.compile(r"^(\d*)([#+=.)\[-])")
"""... and at its beginning."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With one of these a spreadsheet begins a formula."""
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Control characters, marks that turn the direction of text, and lone surrogates."""
PLACE = re.compile(r"(?<![\w.:/\\<-])(?:~?/|[A-Za-z]:[\\/]+|\\\\)(?:[^\s/\\'\"<>|,;:]+[/\\]+)+([^\s/\\'\"<>|,;:]*)")
"""A path from the root, the home directory or a drive on, with its last part."""


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a cell of a table too."""
    return SPECIAL.sub(r"\\\1", visible(text))


def paragraph(line: str) -> str:
    """A line that Markdown shows as it is, on its own."""
    return STARTS.sub(r"\1\\\2", escaped(line.strip()))


def printable(text: str) -> str:
    """Text without characters that a page can't hold or that change the direction of their surroundings."""
    if text.isascii() and text.isprintable():
        return text
    return UNPRINTABLE.sub(shown_instead, text.replace("\r\n", "\n"))


def without_folders(text: str) -> str:
    """Text in which files and folders with a place on some machine are called by their last name alone."""
    return PLACE.sub(r"\1", text)


def shown_instead(match: re.Match[str]) -> str:
    """The picture of a control character, or the sign for one that can't be shown."""
    return chr(0x2400 + ord(match[0])) if match[0] < " " else "\ufffd"


def json_value(value: Any) -> Any:
    """A value as JSON has it: NaN and infinity are null, what UTF-8 can't hold is written as an escape."""
    if isinstance(value, Mapping):
        return {json_value(str(name)): json_value(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(inner) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def json_text(value: Any) -> str:
    """A value as strictly valid JSON, whatever it holds (`json_value`)."""
    return json.dumps(json_value(value), indent=2, allow_nan=False)


def csv_cell(value: Any) -> str | int | float | None:
    """A value for the CSV: numbers stay numbers, text that a spreadsheet would run gets an apostrophe before it."""
    plain: str | int | float | None = json_value(value)
    if isinstance(plain, bool):
        return str(plain).lower()
    if not isinstance(plain, str):
        return plain
    return f"'{visible(plain)}" if plain.startswith(FORMULA) else visible(plain)
