"""The models every host is offered, by name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from vlmguard_plugin import environment
from vlmguard_plugin.environment import Variable
from vlmguard_plugin.naming import guards_in


@dataclass(frozen=True)
class Model:
    """A model the hosts are offered.

    checkpoint: hub name or local folder. variable: environment variable that names a local folder instead.
    demo: name of the demo VLM that is built at first use, in the checkpoint's place.
    max_new_tokens: length of an answer, in tokens.
    """

    checkpoint: str
    variable: Variable | None = None
    demo: str | None = None
    max_new_tokens: int = 512

    def folder_or_name(self) -> str:
        """What to load: the folder in the environment variable, else the demo VLM's, else the checkpoint."""
        local = str(self.variable.path() or "") if self.variable else None
        if self.variable and local and not os.path.isdir(local):
            raise FileNotFoundError(
                f"${self.variable.name} is {local!r}, which is no folder; name a save_pretrained folder"
            )
        if local or not self.demo:
            return local or self.checkpoint
        from vlmguard_plugin.demo.build import build_demo_vlm

        return str(build_demo_vlm(self.demo))

    def guard_settings(self, guard: str) -> dict[str, Any]:
        """Settings found for this guard on this model; empty (the guard's own defaults) where none were."""
        if not self.demo:
            return {}
        from vlmguard_plugin.demo.settings import GUARD_SETTINGS

        names = guards_in(guard)
        settings = {name: GUARD_SETTINGS[self.demo].get(name, {}) for name in names}
        return settings if len(names) > 1 else settings[guard]

    def describe(self) -> str:
        """One line for a list."""
        source = f"small real VLM built here, {self.demo!r}" if self.demo else self.checkpoint
        return f"{source}; a local folder by ${self.variable.name}" if self.variable else source


MODELS = {
    "llava": Model("llava-hf/llava-1.5-7b-hf", environment.LLAVA),
    "demo_vlm": Model("demo", environment.DEMO_VLM, demo="demo_vlm", max_new_tokens=48),
    "demo_vlm_control": Model("demo", environment.DEMO_VLM_CONTROL, demo="demo_vlm_control", max_new_tokens=48),
    "demo_vlm_15b": Model("demo", environment.DEMO_VLM_15B, demo="demo_vlm_15b", max_new_tokens=48),
    "demo_vlm_15b_control": Model(
        "demo", environment.DEMO_VLM_15B_CONTROL, demo="demo_vlm_15b_control", max_new_tokens=48
    ),
}
