"""The models every host is offered, by name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Model:
    """A model the hosts are offered.

    checkpoint: hub name or local folder. variable: environment variable that names a local folder instead.
    demo: variant of the demo VLM, built at first use, in the checkpoint's place.
    max_new_tokens: length of an answer, in tokens.
    """

    checkpoint: str
    variable: str | None = None
    demo: str | None = None
    max_new_tokens: int = 512

    def folder_or_name(self) -> str:
        """What to load: the folder in the environment variable, else the demo VLM's, else the checkpoint."""
        local = os.environ.get(self.variable) if self.variable else None
        if local and not os.path.isdir(local):
            raise FileNotFoundError(f"${self.variable} is {local!r}, which is no folder; name a save_pretrained folder")
        if local or not self.demo:
            return local or self.checkpoint
        from vlmguard_plugin.demo.build import build_demo_vlm

        return str(build_demo_vlm(self.demo))

    def guard_settings(self, guard: str) -> dict[str, Any]:
        """Settings found for this guard on this model; empty (the guard's own defaults) where none were."""
        if not self.demo:
            return {}
        from vlmguard_plugin.demo.settings import GUARD_SETTINGS

        return GUARD_SETTINGS.get(guard, {})

    def describe(self) -> str:
        """One line for a list."""
        source = f"small real VLM built here, adapter {self.demo!r}" if self.demo else self.checkpoint
        return f"{source}; a local folder by ${self.variable}" if self.variable else source


MODELS = {
    "llava": Model("llava-hf/llava-1.5-7b-hf", "VLMGUARD_LLAVA"),
    "demo_vlm": Model("demo", "VLMGUARD_DEMO_VLM", demo="answers", max_new_tokens=48),
    "demo_vlm_control": Model("demo", "VLMGUARD_DEMO_VLM_CONTROL", demo="captions", max_new_tokens=48),
}
