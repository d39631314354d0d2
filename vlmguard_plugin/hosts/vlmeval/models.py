"""Our two classes for VLMEvalKit, imported when the first model is built: they load torch."""

from __future__ import annotations

from typing import Any

from vlmguard_plugin.environment import VLLM


def guarded_vlm(use_vllm: bool = False, **arguments: Any) -> Any:
    """A GuardedVLM. use_vllm: what the host tells models of some names, as its --use-vllm or their own entry says."""
    from vlmguard_plugin.hosts.vlmeval.model import GuardedVLM

    if use_vllm:
        arguments = {"engine": VLLM, **arguments}
    return GuardedVLM(**arguments)


def guarded_host(**arguments: Any) -> Any:
    """A GuardedHost."""
    from vlmguard_plugin.hosts.vlmeval.wrapped import GuardedHost

    return GuardedHost(**arguments)
