"""Put our models and datasets into VLMEvalKit's registries, in place."""

from __future__ import annotations

import os
from functools import partial
from types import ModuleType

from vlmguard_plugin.guards.registry import host_suffix, list_guards


def register_models(config: ModuleType) -> None:
    """Add every model, unguarded and with each guard, to `vlmeval.config.supported_VLM`."""
    import vlmeval.vlm

    from vlmguard_plugin.hosts.models import MODELS
    from vlmguard_plugin.hosts.vlmeval.model import GuardedVLM

    vlmeval.vlm.GuardedVLM = GuardedVLM  # so that `--config` files can name the class
    for model in MODELS:
        config.supported_VLM.setdefault(model, partial(GuardedVLM, model=model))
        for guard in list_guards():
            name = f"{model}_{host_suffix(guard)}"
            config.supported_VLM.setdefault(name, partial(GuardedVLM, model=model, guard=guard))
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        use_gloo_without_cuda()


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
