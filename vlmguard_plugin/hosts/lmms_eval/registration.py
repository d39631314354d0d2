"""Our models in lmms-eval's registry: by its entry-point group, and by the startup hook for names not listed."""

from __future__ import annotations

from importlib.util import find_spec
from types import ModuleType
from typing import Any

from lmms_eval.models.registry_v2 import ModelManifest

from vlmguard_plugin.hosts.autoload import switched_off
from vlmguard_plugin.hosts.models import MODELS
from vlmguard_plugin.naming import ANY_CHECKPOINT, listed_names, split_guarded

CLASSES = "vlmguard_plugin.hosts.lmms_eval.model"


def manifest(name: str) -> ModelManifest:
    """What the registry is told of one of our names; the class's code is imported when a run asks for it."""
    return ModelManifest(name, chat_class_path=f"{CLASSES}.{name}")


def manifests() -> list[ModelManifest]:
    """The names that lists show; none where $VLMGUARD_DISABLE says so.

    The host has a `llava` of its own, which runs LLaVA's own package; where that is installed the name stays the
    host's.
    """
    if switched_off():
        return []
    package = find_spec("llava")
    taken = {"llava"} if package and package.origin else set()  # a folder of that name has no origin
    return [manifest(name) for name in (ANY_CHECKPOINT, *listed_names(MODELS)) if name not in taken]


def register_models(models: ModuleType) -> None:
    """After `lmms_eval.models` is imported: our names once more, and every `<model>_<guard>` when it is asked for.

    The host reads no further entry points behind one that fails, so ours may not have been read.
    """
    registry = models.MODEL_REGISTRY_V2
    for listed in manifests():
        registry.register_manifest(listed)
    resolve = registry.resolve

    def resolve_guarded(model_name: str, *args: Any, **kwargs: Any) -> Any:
        if model_name not in registry.list_model_names() and guarded(model_name):
            registry.register_manifest(manifest(model_name))
        return resolve(model_name, *args, **kwargs)

    registry.resolve = resolve_guarded


def guarded(name: str) -> tuple[str, str] | None:
    """(model, guard) of a name `<model>_<guard>`; None where it is no such name."""
    return split_guarded(name, MODELS.__contains__)
