"""Our models in lm-evaluation-harness's registry: called when the host has been imported."""

from __future__ import annotations

from types import ModuleType

from lm_eval.api.registry import model_registry

from vlmguard_plugin.hosts.lm_eval.model import GuardedLM
from vlmguard_plugin.hosts.models import MODELS
from vlmguard_plugin.naming import ANY_CHECKPOINT, guard_names, guarded_name, spellings


def register_models(models: ModuleType) -> None:
    """Add our models to the host's registry: "vlmguard", and `<model>`, `<model>-<guard>` for those of MODELS.

    Underscores do as well as hyphens. models: `lm_eval.models`.
    """
    model_registry.register(ANY_CHECKPOINT, target=GuardedLM)
    for model in MODELS:
        for guard in (None, *guard_names()):
            name = guarded_name(model, guard) if guard else model
            for spelling in spellings(name):
                model_registry.register(spelling, target=named(spelling, model, guard))


def named(name: str, model: str, guard: str | None) -> type[GuardedLM]:
    """The class that is registered as one model with one guard."""
    return type(
        "GuardedLM", (GuardedLM,), {"name": name, "model": model, "guard": guard, "__doc__": f"{model}, guard {guard}."}
    )
