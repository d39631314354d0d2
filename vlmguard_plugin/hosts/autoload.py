"""Register with host frameworks the moment they are imported, so that the user's command does not change.

Imported at every start of Python by a one-line .pth file, hence standard library only, and little of it.
VLMGUARD_DISABLE=1 switches it off.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # of typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from typing import Any

# After this module has been imported: call this function with it.
AFTER_IMPORT = {
    "vlmeval.smp": "vlmguard_plugin.hosts.vlmeval.judge_key:hide_judge_key",
    "vlmeval.dataset": "vlmguard_plugin.hosts.vlmeval.registration:register_datasets",
    "vlmeval.config": "vlmguard_plugin.hosts.vlmeval.registration:register_models",
    "vlmeval.inference": "vlmguard_plugin.hosts.vlmeval.recording:register_inference",
    "vlmeval.inference_api": "vlmguard_plugin.hosts.vlmeval.api_mode:register_api_mode",
    "vlmeval.inference_mt": "vlmguard_plugin.hosts.vlmeval.recording:register_inference",
    "vlmeval.inference_video": "vlmguard_plugin.hosts.vlmeval.recording:register_video",
    "lmms_eval.models": "vlmguard_plugin.hosts.lmms_eval.registration:register_models",
    "lm_eval.models": "vlmguard_plugin.hosts.lm_eval.registration:register_models",
}


class _AfterImport:
    """A finder that finds nothing itself: it lets the others find, and adds a call behind the import."""

    def __init__(self) -> None:
        self._busy: set[str] = set()

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name not in AFTER_IMPORT or name in self._busy:
            return None
        from importlib.util import find_spec

        self._busy.add(name)  # the other finders may ask back
        try:
            spec = find_spec(name)
        finally:
            self._busy.discard(name)
        loader: Any = spec and spec.loader
        if hasattr(loader, "exec_module"):
            execute = loader.exec_module

            def exec_module(module: object) -> None:
                execute(module)
                _register(name, module)

            loader.exec_module = exec_module
        return spec


def _register(name: str, module: object) -> None:
    """Never costs the host its run, whatever goes wrong here: one line says so."""
    from importlib import import_module

    where, function = AFTER_IMPORT[name].split(":")
    try:
        getattr(import_module(where), function)(module)
    except Exception as error:  # noqa: BLE001 - the host's run matters more than ours, whatever this is
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"vlmguard: could not register with {name} ({reason}); the host goes on without it", file=sys.stderr)


def switched_off() -> bool:
    """Whether VLMGUARD_DISABLE says so (any value but empty, 0, false and no)."""
    return os.environ.get("VLMGUARD_DISABLE", "").lower() not in ("", "0", "false", "no")


if not switched_off() and not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
    sys.meta_path.insert(0, _AfterImport())
