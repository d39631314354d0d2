"""What guards that act on the prompt share: a template around the request."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.preset import Preset
from vlmguard_plugin.guards.core.settings import GuardSettings
from vlmguard_plugin.query import Query

PLACE = "{query}"


@dataclass(frozen=True)
class PromptSettings(GuardSettings):
    """Settings of a prompt guard.

    prompt_file: text file with {query} where the request goes, in place of this project's own wording (a paper's
        original, for example); None is the own wording.
    """

    prompt_file: str | None = None

    def __post_init__(self) -> None:
        if self.prompt_file is None:
            return
        object.__setattr__(self, "prompt_file", str(self.prompt_file))
        path = Path(self.prompt_file)
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no prompt_file {path}; give a text file with {PLACE} where the request goes"
            )
        try:
            times = path.read_text(encoding="utf-8-sig").count(PLACE)
        except UnicodeDecodeError as error:
            raise ValueError(f"prompt_file {path} is not UTF-8 text ({error}); save it as UTF-8") from error
        if times != 1:
            raise ValueError(f"prompt_file {path} holds {PLACE} {times} times; write it once, where the request goes")


class PromptGuard(Guard):
    """A guard that puts words around the request: `template`, with {query} where the request goes.

    Nothing is fitted.
    """

    Settings = PromptSettings
    settings: PromptSettings
    needs_fit = False
    files = ("prompt_file",)
    paper = Preset({}, ours=("prompt_file",), note="the wording is ours; prompt_file takes the original")
    template: ClassVar[str]

    def rewrite(self, query: Query) -> Query:
        return query.wrapped(*self.words)

    @cached_property
    def words(self) -> tuple[str, str]:
        """What stands before the request and after it; a prompt_file is read once."""
        file = self.settings.prompt_file
        template = Path(file).read_text(encoding="utf-8-sig").strip() if file else self.template
        before, after = template.split(PLACE)
        return before, after
