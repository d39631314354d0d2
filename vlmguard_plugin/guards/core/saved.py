"""Fitted guards on disk: a folder with guard.safetensors and guard.json."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping

from vlmguard_plugin import __version__
from vlmguard_plugin.files import write_together
from vlmguard_plugin.lazy import safetensors, torch, transformers
from vlmguard_plugin.reading import in_line, parsed_json, read_bytes, read_json, visible

if TYPE_CHECKING:
    from torch import Tensor

TENSORS_FILE, FACTS_FILE = "guard.safetensors", "guard.json"
_FORMAT = 2
_WITHOUT_DIGEST = 1
"""The format of earlier versions, whose guard.json has no sha256 of its own; it is read, not written."""


LARGEST = 1e7
"""The largest fitted number that is taken for one; hidden states of large models reach some ten thousand."""


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
        """Write the folder; the files appear whole, one right after the other, or not at all."""
        folder = Path(folder)
        tensors = safetensors.torch.save(self.tensors, metadata={"guard": self.guard})
        facts = {
            "format": _FORMAT,
            "guard": self.guard,
            "settings": self.settings,
            **self.facts,
            "tensors": {name: list(tensor.shape) for name, tensor in self.tensors.items()},
            "tensors_sha256": hashlib.sha256(tensors).hexdigest(),
            # of the fit: a guard that was loaded and is kept elsewhere is no new one
            "versions": self.facts.get("versions")
            or {
                "vlmguard_plugin": __version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
        }
        facts = parsed_json(json.dumps(facts))
        facts["sha256"] = digest_of(facts)
        write_together({folder / TENSORS_FILE: tensors, folder / FACTS_FILE: json.dumps(facts, indent=2)})

    @classmethod
    def load(cls, folder: str | Path) -> FittedFolder:
        """Read a folder, whose files must be as they were written, with numbers that can be worked with.

        Raises FileNotFoundError or DamagedGuard, naming the file and the remedy.
        """
        folder = Path(folder)
        for name in (FACTS_FILE, TENSORS_FILE):
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"{folder} holds no {name}; give the folder that guard.save or `vlmguard fit` wrote"
                )
        remedy = "the guard has to be fitted again, or fetched again from where it was shared"
        try:
            facts = read_json(folder / FACTS_FILE)
            format_there = facts["format"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedGuard(f"{folder / FACTS_FILE} is damaged ({in_line(error)}); {remedy}") from error
        if type(format_there) is not int or format_there not in (_FORMAT, _WITHOUT_DIGEST):
            raise DamagedGuard(
                f"{folder / FACTS_FILE} has format {format_there!r} but this version reads {_FORMAT}; "
                "use the version of vlmguard_plugin that wrote it, or fit again"
            )
        if format_there == _FORMAT and facts.get("sha256") != digest_of(facts):
            raise DamagedGuard(f"{folder / FACTS_FILE} is not as it was written (its sha256 differs); {remedy}")
        try:
            guard, settings, shapes, digest = (facts[key] for key in ("guard", "settings", "tensors", "tensors_sha256"))
            model = {key: facts["model"][key] for key in ("fingerprint", "num_layers", "hidden_size")}
            model |= {key: facts["model"][key] for key in ("prompt_form", "engines") if key in facts["model"]}
        except (KeyError, TypeError) as error:
            raise DamagedGuard(f"{folder / FACTS_FILE} is damaged ({error!r}); {remedy}") from error
        for key, value, kind in (
            ("guard", guard, str),
            ("settings", settings, dict),
            ("tensors", shapes, dict),
            ("num_layers", model["num_layers"], int),
            ("hidden_size", model["hidden_size"], int),
            ("fingerprint", model["fingerprint"], str),
        ):
            if type(value) is not kind:
                raise DamagedGuard(f"{folder / FACTS_FILE} is damaged ({key} is {value!r}); {remedy}")
        try:
            data = read_bytes(folder / TENSORS_FILE)
            tensors = safetensors.torch.load(data)
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
            raise DamagedGuard(f"{folder / TENSORS_FILE} is damaged ({error}); {remedy}") from error
        shapes_there = {name: list(tensor.shape) for name, tensor in tensors.items()}
        if hashlib.sha256(data).hexdigest() != digest or shapes_there != shapes:
            how = f"tensors {shapes_there}, described {shapes}" if shapes_there != shapes else "its sha256 differs"
            raise DamagedGuard(f"{folder / TENSORS_FILE} is not the file that {FACTS_FILE} describes ({how}); {remedy}")
        problem = problem_in(tensors)
        if problem:
            raise DamagedGuard(f"{folder / TENSORS_FILE}: {problem}; {remedy}")
        own = ("format", "guard", "settings", "tensors", "tensors_sha256", "sha256")
        kept = {key: facts[key] for key in facts if key not in own}
        kept["model"] = model
        return cls(guard, settings, kept, tensors)


def digest_of(facts: dict[str, Any]) -> str:
    """The sha256 of a guard.json's content, but for the digest itself."""
    content = {key: value for key, value in facts.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def problem_in(tensors: Mapping[str, Tensor]) -> str | None:
    """Why fitted numbers are worthless, naming the tensor; None where they are not."""
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            return f"{visible(name)} is {tensor.dtype}, not float32"
        if not bool(torch.isfinite(tensor).all()):
            return f"{visible(name)} holds numbers that are not finite"
        if not bool(tensor.any()):
            return f"{visible(name)} is zero everywhere"
        if float(tensor.abs().max()) > LARGEST:
            return f"{visible(name)} holds numbers beyond {LARGEST:,.0f}, which no hidden state has"
    return None
