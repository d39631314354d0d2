"""Inference-time safety guards for vision-language models.

The public names are imported when first used, so that importing the package costs nothing.
"""

from importlib import import_module as _import_module
from typing import Any as _Any

__version__ = "0.1.0"

_PUBLIC = {
    "HuggingFaceSubject": "vlmguard_plugin.subjects.huggingface",
    "HostSubject": "vlmguard_plugin.subjects.host_object",
    "AnswersCutShort": "vlmguard_plugin.subjects.huggingface",
    "Query": "vlmguard_plugin.query",
    "Turn": "vlmguard_plugin.query",
    "BlankImage": "vlmguard_plugin.query",
    "Guard": "vlmguard_plugin.guards.core.base",
    "RepresentationGuard": "vlmguard_plugin.guards.core.representation",
    "RepresentationSettings": "vlmguard_plugin.guards.core.representation",
    "PromptGuard": "vlmguard_plugin.guards.core.prompt",
    "GuardNotFitted": "vlmguard_plugin.guards.core.base",
    "WrongModel": "vlmguard_plugin.guards.core.base",
    "build_guard": "vlmguard_plugin.guards.core.registry",
    "list_guards": "vlmguard_plugin.guards.core.registry",
    "load_guard": "vlmguard_plugin.guards.core.registry",
    "DamagedGuard": "vlmguard_plugin.guards.core.saved",
    "load_anchors": "vlmguard_plugin.anchors",
    "calibrate": "vlmguard_plugin.calibration.calibrate",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> _Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
