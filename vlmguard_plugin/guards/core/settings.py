"""What guards' settings share: a frozen dataclass that checks itself, and how it names what is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Sequence

MOST_WHOLE = 1_000_000
"""The largest whole number of a setting that has no bound of its own."""


@dataclass(frozen=True)
class GuardSettings:
    """Checks that settings classes share; a guard's own are a frozen dataclass that validates itself."""

    @classmethod
    def from_saved(cls, saved: dict[str, Any]) -> dict[str, Any]:
        """Settings as this version means them, from a folder that any version has written."""
        return saved

    def contents(self) -> dict[str, str]:
        """sha256 of the files that a fit under these settings reads beside the anchors, by name; none for most."""
        return {}

    def check_number(self, field: str, least: float = -math.inf, most: float = math.inf) -> None:
        """ValueError unless the setting is a finite number, least <= number <= most."""
        value = getattr(self, field)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (is_number and -math.inf < value < math.inf and least <= value <= most):
            floor = "" if least == -math.inf else f" of at least {least}"
            ceiling = "" if most == math.inf else f"{' and' if floor else ' of'} at most {most}"
            raise ValueError(f"{field} is {value!r}; it must be a finite number{floor}{ceiling}")

    def check_whole(self, field: str, least: int, otherwise: str = "", most: int = MOST_WHOLE) -> None:
        """ValueError unless the setting is a whole number, least <= number <= most. otherwise: what else it may be."""
        value = getattr(self, field)
        if type(value) is not int or not least <= value <= most:
            ceiling = f" and at most {most:,}" if type(value) is int and value > most else ""
            raise ValueError(f"{field} is {value!r}; it must be a whole number of at least {least}{ceiling}{otherwise}")

    def check_words(self, field: str, what: str) -> None:
        """ValueError unless the setting is text with words in it, which can be written as UTF-8. what: it is to be."""
        value = getattr(self, field)
        if not isinstance(value, str) or not value.strip() or value.encode("utf-8", "ignore").decode() != value:
            raise ValueError(f"{field} is {value!r}; give {what}")

    def check_flag(self, field: str) -> None:
        """ValueError unless the setting is True or False."""
        if type(getattr(self, field)) is not bool:
            raise ValueError(f"{field} is {getattr(self, field)!r}; it must be True or False")

    def check_choice(self, field: str, choices: Sequence[str]) -> None:
        """ValueError unless the setting is one of the choices."""
        if getattr(self, field) not in choices:
            raise ValueError(f"{field} is {getattr(self, field)!r}; choose one of {', '.join(choices)}")


def setting_names(settings: type[GuardSettings]) -> tuple[str, ...]:
    """The names of a guard's settings, in order."""
    return tuple(field.name for field in fields(settings))
