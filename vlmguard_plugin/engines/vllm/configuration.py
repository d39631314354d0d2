"""vLLM's options under a guard: what can't be right with it is switched off, in a line each, or refused."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any, cast

from vlmguard_plugin.engines.vllm.asked import KEY, Asked
from vlmguard_plugin.engines.vllm.checkpoint import CheckpointFacts
from vlmguard_plugin.engines.vllm.edited_requests import WHOLE_PROMPT
from vlmguard_plugin.engines.vllm.operator import NAME
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.registry import load_guard
from vlmguard_plugin.steering.edit import Edits, as_edits
from vlmguard_plugin.subjects.base import Subject

REFUSED = {
    "enable_lora": "adapters change the weights that the guard was fitted on",
    "enable_dbo": "halves of a batch run side by side, and a guard edits one pass after the other",
    "ubatch_size": "parts of a batch run side by side, and a guard edits one pass after the other",
    "kv_transfer_config": "what another engine has computed of a prompt holds that engine's edits, or none",
    "kv_offloading_size": "a kept beginning may hold the edits of another request's answer",
    "kv_sharing_fast_prefill": "late layers do not see whole prompts",
}
"""Options that can't be on under a guard, and why."""


def as_guarded(arguments: Any, asked: Asked) -> None:
    """Change vLLM's engine arguments to what a guard, or a subject, needs.

    ValueError where the guard is none, belongs to another model, or does not edit hidden states alone.
    """
    for option, why in REFUSED.items():
        if getattr(arguments, option, False):
            raise ValueError(f"{option}: {why}; leave it out, or the guard")
    positions = set(WHOLE_PROMPT)
    if asked.guard is not None:
        guard = served_guard(asked)
        facts = CheckpointFacts(arguments.model)
        guard.check_fits(cast(Subject, facts))
        positions = {edits.positions for edits in edits_of(guard, facts.num_layers)}
    arguments.additional_config = {**(arguments.additional_config or {}), KEY: asked.as_config()}
    switch_off(
        arguments,
        "enable_prefix_caching",
        "a cached beginning may hold the edits of another request's answer",
        asked.guard is not None,
    )
    if positions & set(WHOLE_PROMPT):
        switch_off(arguments, "enable_chunked_prefill", "the guard edits prompts as wholes", asked.guard is not None)
    os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "0"  # the batch is read as the V1 runner keeps it
    if not arguments.enforce_eager:
        leave_compiled(arguments.compilation_config)


def switch_off(arguments: Any, option: str, why: str, say: bool) -> None:
    """Switch an option off, and say so where the user has asked for it, or may think it on."""
    if say and getattr(arguments, option) is not False:
        print(f"vlmguard: {option} is off, for {why}", file=sys.stderr)
    setattr(arguments, option, False)


def leave_compiled(compilation: Any) -> None:
    """Have the operator run between compiled pieces, and no graph span a whole pass."""
    from vllm.config import CompilationConfig, CUDAGraphMode
    from vllm.platforms import current_platform

    compilation.splitting_ops = [*(compilation.splitting_ops or CompilationConfig._attention_ops), NAME]
    if current_platform.is_cuda_alike():
        compilation.cudagraph_mode = CUDAGraphMode.PIECEWISE


def served_guard(asked: Asked) -> Guard:
    """The guard of the folder, under the settings; ValueError for one that does not only edit hidden states."""
    guard = load_guard(cast(str, asked.guard))
    guard = guard.with_settings(**asked.settings) if asked.settings else guard
    check_served(guard)
    return guard


def check_served(guard: Guard) -> None:
    """ValueError for a guard that does more than edit hidden states."""
    for part in guard.parts:
        rewrites = type(part).rewrite is not Guard.rewrite or part.contrast is not None
        if part.acts and (part.looks_at_answers or rewrites):
            raise ValueError(
                f"guard {part.name!r} rewords requests or looks at answers, which an engine does not see as "
                f"such; put it in front: vlmguard serve MODEL --guard {guard.name} --engine vllm"
            )


def edits_of(guard: Guard, num_layers: int) -> tuple[Edits, ...]:
    """A guard's edits for requests that are not known yet; ValueError for one that has to know them."""
    try:
        return as_edits(guard.edits(cast(Subject, SimpleNamespace(num_layers=num_layers)), None))
    except ValueError as error:
        raise ValueError(
            f"guard {guard.name!r} can't be put on an engine of vLLM's own ({error}); put it in front: "
            f"vlmguard serve MODEL --guard {guard.name} --engine vllm"
        ) from error
