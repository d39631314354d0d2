"""Put our models and datasets into VLMEvalKit's registries."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from vlmguard_plugin import environment
from vlmguard_plugin.hosts.models import MODELS
from vlmguard_plugin.hosts.vlmeval.command import check_command, is_hosts_command
from vlmguard_plugin.hosts.vlmeval.models import guarded_host, guarded_vlm
from vlmguard_plugin.naming import listed_names, split_guarded
from vlmguard_plugin.reading import read_json


def register_models(config: Any) -> None:
    """Add our models to `vlmeval.config.supported_VLM`, and let it know any `<model>_<guard>`.

    Nothing of ours is imported for that but names: a model's code is when the model is built.
    """
    if is_hosts_command(sys.argv, sys.orig_argv):
        check_command(sys.argv[1:], config.supported_VLM.__contains__)
    import vlmeval.vlm

    vlmeval.vlm.GuardedVLM = guarded_vlm  # so that `--config` files can name them
    vlmeval.vlm.GuardedHost = guarded_host
    table = GuardedNames(config.supported_VLM)
    for name in listed_names(MODELS):
        model, guard = split_guarded(name, MODELS.__contains__) or (name, None)
        builder = partial(guarded_vlm, model=model, guard=guard) if guard else partial(guarded_vlm, model=model)
        table.setdefault(name, builder)
    for name, arguments in models_in(environment.MODELS.path()).items():
        table[name] = partial(
            {"GuardedVLM": guarded_vlm, "GuardedHost": guarded_host}[arguments.pop("class")], **arguments
        )
    config.supported_VLM = table
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        use_gloo_without_cuda()


class GuardedNames(dict[str, Any]):
    """The host's models by name, which knows every `<model>_<guard>` besides without listing it."""

    def __missing__(self, name: str) -> Any:
        builder = self._guarded(name)
        if builder is None:
            raise KeyError(name)
        return builder

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and self._guarded(name) is not None)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default

    def _guarded(self, name: str) -> partial[Any] | None:
        model_and_guard = split_guarded(name, super().__contains__)
        if model_and_guard is None:
            return None
        model, guard = model_and_guard
        return partial(guarded_vlm if model in MODELS else guarded_host, model=model, guard=guard)


def models_in(path: Path | None) -> dict[str, dict[str, Any]]:
    """Models of the user's own: "model" of a JSON file as the host's `--config` takes it, of our two classes."""
    return read_json(path)["model"] if path else {}


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
    import torch.distributed

    if torch.cuda.is_available():
        return
    distributed: Any = torch.distributed
    init = distributed.init_process_group

    def init_process_group(backend: str | None = None, *args: Any, **kwargs: Any) -> Any:
        return init("gloo" if backend == "nccl" else backend, *args, **kwargs)

    distributed.init_process_group = init_process_group
