"""Our models in lm-evaluation-harness's registry: called when the host has been imported."""

from __future__ import annotations

from types import ModuleType

from lm_eval.api.registry import model_registry

from vlmguard_plugin.hosts.models import MODELS
from vlmguard_plugin.naming import ANY_CHECKPOINT, guard_names, guarded_name, spellings

CLASSES = "vlmguard_plugin.hosts.lm_eval.model"


def register_models(models: ModuleType) -> None:
    """Add our models to the host's registry: "vlmguard", and `<model>`, `<model>-<guard>` for those of MODELS.

    Underscores do as well as hyphens. A class's code is imported when a run asks for it. models: `lm_eval.models`.
    """
    guarded = [guarded_name(model, guard) for model in MODELS for guard in guard_names()]
    for name in (ANY_CHECKPOINT, *MODELS, *guarded):
        for spelling in spellings(name):
            model_registry.register(spelling, target=f"{CLASSES}:{spelling}")
