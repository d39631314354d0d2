"""Fitted guards on disk: a folder with guard.safetensors and guard.json."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlmguard_plugin import __version__
from vlmguard_plugin.files import write_whole
from vlmguard_plugin.lazy import safetensors, torch, transformers
from vlmguard_plugin.reading import read_json

if TYPE_CHECKING:
    from torch import Tensor

TENSORS_FILE, FACTS_FILE = "guard.safetensors", "guard.json"
_FORMAT = 1


class DamagedGuard(ValueError):
    """A guard folder is incomplete or its files do not belong together."""


@dataclass(frozen=True)
class FittedFolder:
    """What a fitted guard keeps.

    guard: registered name. settings: JSON of its settings. facts: model, anchors and per-layer facts.
    tensors: fitted numbers, float32, by name (docs/guards.md lists names and shapes per guard).
    """

    guard: str
    settings: dict[str, Any]
    facts: dict[str, Any]
    tensors: dict[str, Tensor]

    def save(self, folder: str | Path) -> None:
        """Write the folder; each file appears whole or not at all."""
        folder = Path(folder)
        tensors = safetensors.torch.save(self.tensors, metadata={"guard": self.guard})
        facts = {
            "format": _FORMAT,
            "guard": self.guard,
            "settings": self.settings,
            **self.facts,
            "tensors": {name: list(tensor.shape) for name, tensor in self.tensors.items()},
            "tensors_sha256": hashlib.sha256(tensors).hexdigest(),
            "versions": {
                "vlmguard_plugin": __version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
        }
        write_whole(folder / TENSORS_FILE, tensors)
        write_whole(folder / FACTS_FILE, json.dumps(facts, indent=2))

    @classmethod
    def load(cls, folder: str | Path) -> FittedFolder:
        """Read a folder. Raises FileNotFoundError or DamagedGuard, naming the file and the remedy."""
        folder = Path(folder)
        for name in (FACTS_FILE, TENSORS_FILE):
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"{folder} holds no {name}; give the folder that guard.save or `vlmguard fit` wrote"
                )
        remedy = "the guard has to be fitted again"
        try:
            facts = read_json(folder / FACTS_FILE)
            guard, settings, shapes, digest = (facts[key] for key in ("guard", "settings", "tensors", "tensors_sha256"))
            model = {key: facts["model"][key] for key in ("fingerprint", "num_layers", "hidden_size")}
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedGuard(f"{folder / FACTS_FILE} is damaged ({error!r}); {remedy}") from error
        for key, value, kind in (("guard", guard, str), ("settings", settings, dict), ("tensors", shapes, dict)):
            if not isinstance(value, kind):
                raise DamagedGuard(f"{folder / FACTS_FILE} is damaged ({key} is {value!r}); {remedy}")
        if facts.get("format") != _FORMAT:
            raise DamagedGuard(
                f"{folder / FACTS_FILE} has format {facts.get('format')!r} but this version reads {_FORMAT}; "
                "use the version of vlmguard_plugin that wrote it, or fit again"
            )
        data = (folder / TENSORS_FILE).read_bytes()
        try:
            tensors = safetensors.torch.load(data)
        except safetensors.SafetensorError as error:
            raise DamagedGuard(f"{folder / TENSORS_FILE} is damaged ({error}); {remedy}") from error
        shapes_there = {name: list(tensor.shape) for name, tensor in tensors.items()}
        if hashlib.sha256(data).hexdigest() != digest or shapes_there != shapes:
            raise DamagedGuard(
                f"{folder / TENSORS_FILE} is not the file that {FACTS_FILE} describes (tensors {shapes_there}, "
                f"described {shapes}); {remedy}"
            )
        kept = {
            key: facts[key] for key in facts if key not in ("format", "guard", "settings", "tensors", "tensors_sha256")
        }
        kept["model"] = model
        return cls(guard, settings, kept, tensors)
