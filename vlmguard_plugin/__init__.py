"""Inference-time safety guards for vision-language models.

The public names are imported when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module as _import_module

TYPE_CHECKING = False  # of typing, which would be imported at every start of Python
if TYPE_CHECKING:
    from typing import Any

    from vlmguard_plugin.anchors import load_anchors as load_anchors, load_object_pairs as load_object_pairs
    from vlmguard_plugin.calibration.calibrate import calibrate as calibrate
    from vlmguard_plugin.guards.core.base import Guard as Guard
    from vlmguard_plugin.guards.core.conditions import (
        AnchorQueries as AnchorQueries,
        ConditionSettings as ConditionSettings,
        anchor_queries as anchor_queries,
    )
    from vlmguard_plugin.guards.core.errors import GuardNotFitted as GuardNotFitted, WrongModel as WrongModel
    from vlmguard_plugin.guards.core.places import NotShared as NotShared
    from vlmguard_plugin.guards.core.preset import Preset as Preset
    from vlmguard_plugin.guards.core.prompt import PromptGuard as PromptGuard
    from vlmguard_plugin.guards.core.recording import (
        record_anchor_shifts as record_anchor_shifts,
        record_anchors as record_anchors,
    )
    from vlmguard_plugin.guards.core.registry import (
        build_guard as build_guard,
        list_guards as list_guards,
        load_guard as load_guard,
    )
    from vlmguard_plugin.guards.core.representation import (
        AddDecision as AddDecision,
        AddVectors as AddVectors,
        ImageSettings as ImageSettings,
        RepresentationGuard as RepresentationGuard,
        RepresentationSettings as RepresentationSettings,
        band as band,
    )
    from vlmguard_plugin.guards.core.saved import DamagedGuard as DamagedGuard
    from vlmguard_plugin.guards.core.settings import GuardSettings as GuardSettings
    from vlmguard_plugin.query import BlankImage as BlankImage, Query as Query, Turn as Turn
    from vlmguard_plugin.steering.edit import Edits as Edits, LayerEdit as LayerEdit, Prompts as Prompts
    from vlmguard_plugin.subjects.base import (
        AnswersCutShort as AnswersCutShort,
        Likelihood as Likelihood,
        Scorer as Scorer,
        Subject as Subject,
    )
    from vlmguard_plugin.subjects.host_object import HostSubject as HostSubject
    from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject as HuggingFaceSubject

__version__ = "0.1.0"

_PUBLIC = {
    "load_anchors": "vlmguard_plugin.anchors",
    "load_object_pairs": "vlmguard_plugin.anchors",
    "calibrate": "vlmguard_plugin.calibration.calibrate",
    "Guard": "vlmguard_plugin.guards.core.base",
    "GuardNotFitted": "vlmguard_plugin.guards.core.errors",
    "GuardSettings": "vlmguard_plugin.guards.core.settings",
    "NotShared": "vlmguard_plugin.guards.core.places",
    "WrongModel": "vlmguard_plugin.guards.core.errors",
    "Preset": "vlmguard_plugin.guards.core.preset",
    "AnchorQueries": "vlmguard_plugin.guards.core.conditions",
    "ConditionSettings": "vlmguard_plugin.guards.core.conditions",
    "anchor_queries": "vlmguard_plugin.guards.core.conditions",
    "PromptGuard": "vlmguard_plugin.guards.core.prompt",
    "build_guard": "vlmguard_plugin.guards.core.registry",
    "list_guards": "vlmguard_plugin.guards.core.registry",
    "load_guard": "vlmguard_plugin.guards.core.registry",
    "AddDecision": "vlmguard_plugin.guards.core.representation",
    "AddVectors": "vlmguard_plugin.guards.core.representation",
    "ImageSettings": "vlmguard_plugin.guards.core.representation",
    "RepresentationGuard": "vlmguard_plugin.guards.core.representation",
    "RepresentationSettings": "vlmguard_plugin.guards.core.representation",
    "band": "vlmguard_plugin.guards.core.representation",
    "record_anchor_shifts": "vlmguard_plugin.guards.core.recording",
    "record_anchors": "vlmguard_plugin.guards.core.recording",
    "DamagedGuard": "vlmguard_plugin.guards.core.saved",
    "BlankImage": "vlmguard_plugin.query",
    "Query": "vlmguard_plugin.query",
    "Turn": "vlmguard_plugin.query",
    "Edits": "vlmguard_plugin.steering.edit",
    "LayerEdit": "vlmguard_plugin.steering.edit",
    "Prompts": "vlmguard_plugin.steering.edit",
    "AnswersCutShort": "vlmguard_plugin.subjects.base",
    "Likelihood": "vlmguard_plugin.subjects.base",
    "Scorer": "vlmguard_plugin.subjects.base",
    "Subject": "vlmguard_plugin.subjects.base",
    "HostSubject": "vlmguard_plugin.subjects.host_object",
    "HuggingFaceSubject": "vlmguard_plugin.subjects.huggingface",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
