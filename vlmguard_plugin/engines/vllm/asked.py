"""What an engine is asked for, as it stands in vLLM's `additional_config` and so reaches every process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping

from vlmguard_plugin import environment

KEY = "vlmguard"
MEANT = "guard"
"""Letters in keys that mean this one; vLLM would pass over them without a word."""


@dataclass(frozen=True)
class Asked:
    """guard: a fitted guard's folder; None in a subject's engine, whose guards come with its calls.

    settings: put in the place of the folder's own. per_request: whether a request may ask for no guard, or for
    another strength (guards.core.strength).
    """

    guard: str | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    per_request: bool = False

    def as_config(self) -> dict[str, Any]:
        """As `asked_of` reads it."""
        if not self.guard:
            return {"subject": True}
        return {"guard": self.guard, "settings": dict(self.settings), "per_request": self.per_request}


def check_spelling(where: str, given: Iterable[Any]) -> None:
    """ValueError for a key that means the guard's and is another. where: what it stands in."""
    for name in given:
        if name != KEY and MEANT in "".join(filter(str.isalpha, str(name).lower())):
            raise ValueError(f"{where} has {name!r}; a guard is asked for as {KEY!r}, in these letters")


def asked_of(additional_config: Any) -> Asked | None:
    """What a configuration asks for, or $VLMGUARD_VLLM_GUARD where it says nothing; None for no guard.

    ValueError for what can't be understood: a guard that nobody sees is better refused than left out.
    """
    given = additional_config if isinstance(additional_config, dict) else {}
    check_spelling("additional_config", given)
    asked = given.get(KEY)
    if KEY not in given:
        folder = environment.VLLM_GUARD.value()
        return Asked(folder) if folder else None
    if asked == {"subject": True}:
        return Asked(None)
    if not isinstance(asked, dict) or not isinstance(asked.get("guard"), str) or not asked["guard"]:
        raise ValueError(
            f'additional_config has {KEY}={asked!r}; give {{"guard": "FOLDER"}}, the folder of a fitted guard, and '
            'perhaps "settings" and "per_request"'
        )
    strangers = sorted(set(asked) - {"guard", "settings", "per_request"})
    settings, per_request = asked.get("settings", {}), asked.get("per_request", False)
    if strangers or not isinstance(settings, dict) or not isinstance(per_request, bool):
        raise ValueError(
            f"additional_config has {KEY}={asked!r}; it takes guard, settings and per_request alone, settings as "
            '{"alpha": 0.5} and per_request as true or false'
        )
    return Asked(asked["guard"], settings, per_request)
