"""Inference engines of VLMEvalKit's model classes: guards reach hidden states in transformers and in vLLM."""

from __future__ import annotations

import inspect
import sys
from importlib.util import find_spec
from typing import Any, Callable, Mapping

from vlmguard_plugin.engines.vllm.options import OPTIONS, checked_options
from vlmguard_plugin.environment import DTYPE_NAMES, TRANSFORMERS, VLLM
from vlmguard_plugin.naming import NO_GUARD, guarded_name
from vlmguard_plugin.subjects.host_parts import held

USE_VLLM = "use_vllm"
ENGINES = {USE_VLLM: "vLLM", "use_lmdeploy": "LMDeploy"}
"""Arguments of the host's classes that choose an engine."""
MADE_OF_VLLM = "from vllm import LLM"
"""What stands in the source of a class that makes an engine of vLLM's."""


def wants_vllm(model: str, builder: Callable[..., Any], given: Mapping[str, Any], use_vllm: bool | None) -> bool:
    """Whether a model is to run on vLLM: as the user's arguments for its class say, else the host, else its own entry.

    model: name in `supported_VLM`. builder: what stands there. given: the user's own arguments for the class.
    use_vllm: what the host says of the model; None for nothing. An entry's vLLM that is not installed here is none;
    `without_engine` says so. ValueError where a user wants vLLM of a class that knows none, or transformers of one that
    knows vLLM alone.
    """
    if runs_on_vllm_alone(class_of(builder)):
        if given.get(USE_VLLM) is False:
            raise ValueError(
                f"{model} runs on vLLM alone ({class_of(builder).__name__} knows no other way); leave use_vllm out, or "
                "give its checkpoint to GuardedVLM"
            )
        return True
    preset = bool(preset_of(builder).get(USE_VLLM))
    asked = given.get(USE_VLLM, use_vllm)
    if asked is None:
        return preset and (find_spec("vllm") is not None or not reads(class_of(builder), USE_VLLM))
    if asked and not preset and not reads(class_of(builder), USE_VLLM):
        raise ValueError(
            f"{model} can't run on vLLM in VLMEvalKit ({class_of(builder).__name__} knows no use_vllm); leave it out, "
            "or give its checkpoint to GuardedVLM with engine=vllm"
        )
    return bool(asked)


def class_arguments(
    model: str, builder: Callable[..., Any], given: Mapping[str, Any], on_vllm: bool, needs_states: bool
) -> dict[str, Any]:
    """The arguments for a model's class, with engines that guards can't reach switched off.

    given: the user's own, which go before. on_vllm: as `wants_vllm` says. needs_states: whether the guard reads or
    edits hidden states. One line on stderr where an engine of the entry's is switched off. ValueError where the class
    knows no other way than that engine, and the guard needs the states.
    """
    if not on_vllm:
        return without_engine(model, builder, given, needs_states)
    if preset_of(builder).get(USE_VLLM) or runs_on_vllm_alone(class_of(builder)):
        return dict(given)
    return {**given, USE_VLLM: True}


def without_engine(
    model: str, builder: Callable[..., Any], given: Mapping[str, Any], needs_states: bool
) -> dict[str, Any]:
    """The same where the model is to run on transformers."""
    arguments = dict(given)
    for argument, engine in ENGINES.items():
        if not preset_of(builder).get(argument) or given.get(argument):
            continue
        kind = class_of(builder)
        if reads(kind, argument):
            arguments[argument] = False
            print(
                f"vlmguard: {model} is set up for {engine} in VLMEvalKit; guarded it runs on transformers here. Where "
                f"the unguarded {model} runs on {engine}, compare with {guarded_name(model, NO_GUARD)}",
                file=sys.stderr,
            )
        elif needs_states:
            raise ValueError(
                f"{model} runs on {engine} alone ({kind.__name__} knows no other way), whose hidden states are out "
                "of reach as VLMEvalKit starts it; give its checkpoint to GuardedVLM with engine=vllm, or use a guard "
                "that acts on prompts or answers"
            )
    return arguments


def engine_options(settings: Mapping[str, Any], on_vllm: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """A guarded model's settings in two: options of vLLM's (and dtype), and those of its guard.

    ValueError for an option that is not known or of another kind, or of a model that does not run on vLLM.
    """
    names = [name for name in settings if name in (*OPTIONS, "dtype")]
    if names and not on_vllm:
        raise ValueError(
            f"{', '.join(names)}: belongs to vLLM; add use_vllm=true where the class knows it, or leave this out"
        )
    options = checked_options({name: settings[name] for name in names if name != "dtype"})
    if "dtype" in names:
        if settings["dtype"] not in DTYPE_NAMES:
            raise ValueError(f"dtype is {settings['dtype']!r}; choose one of {', '.join(DTYPE_NAMES)}")
        options["dtype"] = settings["dtype"]
    return options, {name: value for name, value in settings.items() if name not in names}


def class_of(builder: Any) -> Any:
    """The class of an entry of the host's table."""
    return getattr(builder, "func", builder)


def preset_of(builder: Any) -> Mapping[str, Any]:
    """The arguments that an entry gives its class."""
    preset: Mapping[str, Any] = getattr(builder, "keywords", {})
    return preset


def reads(kind: Any, argument: str) -> bool:
    """Whether a class does anything with an argument; one that it swallows unread switches nothing off."""
    kinds = [each for each in getattr(kind, "__mro__", (kind,)) if each is not object]
    return any(argument in inspect.getsource(each) for each in kinds)


def runs_on_vllm_alone(kind: Any) -> bool:
    """Whether a class makes an engine of vLLM's whatever it is told."""
    return reads(kind, MADE_OF_VLLM) and not reads(kind, USE_VLLM)


def engine_of(model: Any) -> str:
    """What a model object of the host's runs on, in lower case: as it says, or by the engine that it holds.

    "" for an API; "transformers" where there is neither.
    """
    if getattr(model, "is_api", False):
        return ""
    said = [name for argument, name in ENGINES.items() if getattr(model, argument, False)]
    if said:
        return said[0].lower()
    return VLLM if any(is_of_vllm(each) for each in held(model, object)) else TRANSFORMERS


def is_of_vllm(held_by_model: Any) -> bool:
    """Whether an object is an engine of vLLM's."""
    kind = type(held_by_model)
    return hasattr(kind, "generate") and any(each.__module__.partition(".")[0] == VLLM for each in kind.__mro__)
