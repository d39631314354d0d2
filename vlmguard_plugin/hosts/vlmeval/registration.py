"""Put our models and datasets into VLMEvalKit's registries."""

from __future__ import annotations

import json
import os
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from vlmguard_plugin import environment
from vlmguard_plugin.hosts.models import MODELS
from vlmguard_plugin.naming import listed_names, split_guarded


def register_models(config: ModuleType) -> None:
    """Add our models to `vlmeval.config.supported_VLM`, and let it know any `<model>_<guard>`.

    Nothing of ours is imported for that but names: a model's code is when the model is built.
    """
    import vlmeval.vlm

    vlmeval.vlm.GuardedVLM = guarded_vlm  # so that `--config` files can name them
    vlmeval.vlm.GuardedHost = guarded_host
    table = GuardedNames(config.supported_VLM)
    for name in listed_names(MODELS):
        model, guard = split_guarded(name, MODELS.__contains__) or (name, None)
        table.setdefault(name, partial(guarded_vlm, model=model, **({"guard": guard} if guard else {})))
    for name, arguments in models_in(environment.MODELS.value()).items():
        table[name] = partial(
            {"GuardedVLM": guarded_vlm, "GuardedHost": guarded_host}[arguments.pop("class")], **arguments
        )
    config.supported_VLM = table
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        use_gloo_without_cuda()


class GuardedNames(dict):
    """The host's models by name, which knows every `<model>_<guard>` besides without listing it."""

    def __missing__(self, name: str) -> Any:
        found = self._guarded(name)
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and self._guarded(name) is not None)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default

    def _guarded(self, name: str) -> partial | None:
        found = split_guarded(name, super().__contains__)
        if found is None:
            return None
        model, guard = found
        return partial(guarded_vlm if model in MODELS else guarded_host, model=model, guard=guard)


def models_in(path: str | None) -> dict[str, dict[str, Any]]:
    """Models of the user's own: "model" of a JSON file as the host's `--config` takes it, of our two classes."""
    return json.loads(Path(path).read_text(encoding="utf-8"))["model"] if path else {}


def guarded_vlm(use_vllm: bool = False, **arguments: Any) -> Any:
    """A GuardedVLM; its code is imported now. use_vllm: what the host tells models of some names."""
    if use_vllm:
        raise ValueError(f"{arguments['model']} runs on transformers here; leave --use-vllm out")
    return import_module("vlmguard_plugin.hosts.vlmeval.model").GuardedVLM(**arguments)


def guarded_host(**arguments: Any) -> Any:
    """A GuardedHost; its code is imported now."""
    return import_module("vlmguard_plugin.hosts.vlmeval.wrapped").GuardedHost(**arguments)


def register_datasets(dataset: ModuleType) -> None:
    """Put our dataset classes before the host's custom ones in `vlmeval.dataset.DATASET_CLASSES`."""
    from vlmguard_plugin.hosts.vlmeval.datasets import DATASETS

    for position, cls in enumerate(DATASETS):
        setattr(dataset, cls.__name__, cls)  # so that `--config` files can name the class
        dataset.DATASET_CLASSES.insert(position, cls)
        dataset.SUPPORTED_DATASETS.extend(cls.supported_datasets())


def use_gloo_without_cuda() -> None:
    """The host asks for the nccl backend; on a machine without CUDA give it gloo."""
    import torch
    import torch.distributed as distributed

    if torch.cuda.is_available():
        return
    init = distributed.init_process_group

    def init_process_group(backend=None, *args, **kwargs):
        return init("gloo" if backend == "nccl" else backend, *args, **kwargs)

    distributed.init_process_group = init_process_group
