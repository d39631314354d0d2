"""The text of a local judge's prompt: its authors', from a file, or a wording of our own."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from vlmguard_plugin import environment
from vlmguard_plugin.files import expanded
from vlmguard_plugin.judges.base import JudgeError, first_line


@dataclass(frozen=True)
class Wording:
    """The text of a judge's prompt with its {fields}. source: whose it is, in words."""

    text: str
    source: str

    @property
    def version(self) -> str:
        """Digest of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:8]

    def filled(self, **values: str) -> str:
        """The prompt; only these {fields} are filled in, once, so that braces in values stay as they are."""
        return re.sub(rf"\{{({'|'.join(values)})\}}", lambda field: values[field[1]], self.text)


def wording(judge: str, ours: str, fields: Sequence[str], prompt_file: str | Path | None) -> Wording:
    """The prompt file's text (argument, or $VLMGUARD_<JUDGE>_PROMPT), else our own wording.

    Raises JudgeError if the file can't be read or lacks one of the fields.
    """
    path = prompt_file or environment.JUDGE_PROMPTS[judge].value()
    if not path:
        return Wording(ours, "our own wording, not the authors' prompt")
    try:
        text = expanded(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise JudgeError(f"judge {judge}: prompt file {path} can't be read ({first_line(error)})") from error
    missing = [f"{{{field}}}" for field in fields if f"{{{field}}}" not in text]
    if missing:
        raise JudgeError(f"judge {judge}: prompt file {path} has no {' and no '.join(missing)}; put the field there")
    return Wording(text, f"prompt file {Path(path).name}")
