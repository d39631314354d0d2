"""For the site's API reference: lines of a docstring such as "alpha: strength" become the items of a list.

Docstrings here say what each argument is in a line that begins with its name; as Markdown these would run together.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

SAID = re.compile(r"(?:\w+(?:, \w+)*): ")
ENDS = re.compile(r"Raises |Returns |\w+(Error|Guard|Model) ")
"""What no longer belongs to the argument before it."""
BULLET = "- "


class DocstringLists(griffe.Extension):
    """Rewrites every docstring before it is read."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """griffe: an object has been read."""
        if obj.docstring is not None:
            obj.docstring.value = as_list(obj.docstring.value)


def as_list(text: str) -> str:
    """The docstring with its lines "name: ..." as a list; sentences that begin so within a line stay."""
    lines: list[str] = []
    for line in text.split("\n"):
        said = SAID.match(line)
        if said:
            names = ", ".join(f"`{name}`" for name in said[0].rstrip(": ").split(", "))
            if lines and lines[-1].strip() and not lines[-1].startswith((BULLET, "  ")):
                lines.append("")
            line = f"{BULLET}{names}: {line[said.end() :]}"
        elif ENDS.match(line) and lines and lines[-1].startswith((BULLET, "    ")):
            lines.append("")
        elif lines and lines[-1].startswith((BULLET, "    ")) and line.strip():
            line = f"    {line.lstrip()}"
        lines.append(line)
    return "\n".join(lines)
