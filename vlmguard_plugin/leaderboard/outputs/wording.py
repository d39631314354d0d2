"""Figures and texts of the page in words, and text from outside made fit to print."""

from __future__ import annotations

import json
import re
from typing import Any

from markupsafe import Markup

from vlmguard_plugin.statistics.rates import Rate

UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Control characters, marks that turn the direction of text, and lone surrogates."""


def printable(value: Any) -> Any:
    """Text without characters that a page can't hold or that change the direction of their surroundings."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isascii() and value.isprintable():
        return value
    return UNPRINTABLE.sub(shown_instead, value.replace("\r\n", "\n"))


def shown_instead(found: re.Match) -> str:
    """The picture of a control character, or the sign for one that can't be shown."""
    return chr(0x2400 + ord(found[0])) if found[0] < " " else "\ufffd"


def percent(share: float | None) -> str:
    """A share of 1 in percent with one decimal."""
    return "n/a" if share is None else f"{100 * share:.1f}"


def points(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def interval(low: float, high: float, signed: bool = False) -> str:
    """For example "[35.2, 64.8]", in percent."""
    shown = points if signed else percent
    return f"[{shown(low)}, {shown(high)}]"


def bar(rate: Rate, most: float = 1.0) -> str:
    """Where a bar ends and its interval lies, in percent of the width; most: the share at the right end."""
    return f"--v:{100 * rate.value / most:.1f}%;--l:{100 * rate.low / most:.1f}%;--h:{100 * rate.high / most:.1f}%"


def number(value: float) -> str:
    """Three digits, or all before the decimal point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def p_value(p: float) -> str:
    """With two digits, "p<0.001" below that."""
    return "p<0.001" if p < 0.001 else f"p={p:.2g}"


def plain(value: Any) -> str:
    """A setting as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def shortened(text: str, length: int) -> str:
    """Text of at most that many characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def plural(count: int, what: str) -> str:
    """For example "1 item", "2 items"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def written(value: Any) -> str:
    """The same text for the same plain value."""
    return json.dumps(value, sort_keys=True, default=str)
