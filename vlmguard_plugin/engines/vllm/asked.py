"""What an engine is asked for, as it stands in vLLM's `additional_config` and so reaches every process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping

from vlmguard_plugin import environment

KEY = "vlmguard"
OWN_WORDS = "vlmguard_"
"""What the names of `extra_args` begin with that this package's own subject gives; nobody else may."""


@dataclass(frozen=True)
class Asked:
    """guard: a fitted guard's folder; None in a subject's engine, whose guards come with its calls.

    settings: put in the place of the folder's own.
    """

    guard: str | None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def as_config(self) -> dict[str, Any]:
        """As `asked_of` reads it."""
        return {"guard": self.guard, "settings": dict(self.settings)} if self.guard else {"subject": True}


def asked_of(additional_config: Any) -> Asked | None:
    """What a configuration asks for, or $VLMGUARD_VLLM_GUARD where it says nothing; None for no guard.

    ValueError for what can't be understood: a guard that nobody sees is better refused than left out.
    """
    asked = (additional_config or {}).get(KEY) if isinstance(additional_config, dict) else None
    if asked is None:
        folder = environment.VLLM_GUARD.value()
        return Asked(folder) if folder else None
    if asked == {"subject": True}:
        return Asked(None)
    if not isinstance(asked, dict) or not isinstance(asked.get("guard"), str) or not asked["guard"]:
        raise ValueError(
            f'additional_config has {KEY}={asked!r}; give {{"guard": "FOLDER"}}, the folder of a fitted guard, and '
            'perhaps "settings"'
        )
    strangers = sorted(set(asked) - {"guard", "settings"})
    settings = asked.get("settings") or {}
    if strangers or not isinstance(settings, dict):
        raise ValueError(
            f'additional_config has {KEY}={asked!r}; it takes guard and settings alone, settings as {{"alpha": 0.5}}'
        )
    return Asked(asked["guard"], settings)


def check_request(asked: Asked, params: Any) -> None:
    """VLLMValidationError for a request to a served guard that could not be guarded rightly. params: vLLM's."""
    if asked.guard is None:
        return
    from vllm.exceptions import VLLMValidationError  # a ValueError, which servers answer with status 400

    said = getattr(params, "extra_args", None) or {}
    own = sorted(name for name in said if name.startswith(OWN_WORDS))
    if own:
        raise VLLMValidationError(f"{', '.join(own)}: where a prompt ends is not for a request to say; leave it out")
    if getattr(params, "prompt_logprobs", None) is not None:
        raise VLLMValidationError(
            "prompt_logprobs: the guard on this engine decides at the prompt's last token, so the likelihood of words "
            "within a prompt is not that of an answer; use engine=vllm of this package's own models"
        )
