"""Inference engines of VLMEvalKit's model classes: a guard needs the hidden states, so it needs transformers."""

from __future__ import annotations

import inspect
import sys
from typing import Any, Callable, Mapping

from vlmguard_plugin.naming import NO_GUARD, guarded_name

ENGINES = {"use_vllm": "vLLM", "use_lmdeploy": "LMDeploy"}
"""Arguments of the host's classes that choose an engine."""
TRANSFORMERS = "transformers"


def without_engine(
    model: str, builder: Callable[..., Any], given: Mapping[str, Any], needs_states: bool
) -> dict[str, Any]:
    """The arguments for a model's class, with an engine that the host's own entry asks for switched off.

    model: name in `supported_VLM`. builder: what stands there. given: the user's own arguments, which go before.
    needs_states: whether the guard reads or edits hidden states. One line on stderr where an engine is switched off.
    ValueError where the class knows no other way than the engine, and the guard needs the states.
    """
    arguments = dict(given)
    preset = getattr(builder, "keywords", {})
    for argument, engine in ENGINES.items():
        if not preset.get(argument) or argument in given:
            continue
        kind = getattr(builder, "func", builder)
        if reads(kind, argument):
            arguments[argument] = False
            print(
                f"vlmguard: {model} is set up for {engine} in VLMEvalKit; guarded it runs on transformers. The "
                f"unguarded {model} runs on {engine}, so compare with {guarded_name(model, NO_GUARD)}",
                file=sys.stderr,
            )
        elif needs_states:
            raise ValueError(
                f"{model} runs on {engine} alone ({kind.__name__} knows no other way), whose hidden states are out "
                "of reach as VLMEvalKit starts it; give its checkpoint to GuardedVLM with engine=vllm, or use a guard "
                "that acts on prompts or answers"
            )
    return arguments


def reads(kind: Any, argument: str) -> bool:
    """Whether a class does anything with an argument; one that it swallows unread switches nothing off."""
    kinds = [each for each in getattr(kind, "__mro__", (kind,)) if each is not object]
    return any(argument in inspect.getsource(each) for each in kinds)


def engine_of(model: Any) -> str:
    """What a model object of the host's runs on, in lower case, as far as it says so; "transformers" where it doesn't.

    "" for an API.
    """
    if getattr(model, "is_api", False):
        return ""
    engines = [name for argument, name in ENGINES.items() if getattr(model, argument, False)]
    return engines[0].lower() if engines else TRANSFORMERS
