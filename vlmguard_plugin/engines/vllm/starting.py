"""vLLM in this process, where edits are put in place."""

from __future__ import annotations

import os
from typing import Any, Mapping

from vlmguard_plugin.engines.vllm.asked import KEY, Asked, check_spelling
from vlmguard_plugin.engines.vllm.plugin import register

CPU_CACHE = 2 * 1024**3
"""Bytes of vLLM's KV cache on a CPU where nothing says otherwise; its own default is nearly all of the memory."""
OWN_PROCESS = "VLLM_ENABLE_V1_MULTIPROCESSING"


def vllm_here() -> Any:
    """vLLM, whose engines are from now on started in this process.

    ModuleNotFoundError where it is not installed; ValueError where the environment wants engines in processes of their
    own.
    """
    if os.environ.setdefault(OWN_PROCESS, "0") != "0":
        raise ValueError(f"${OWN_PROCESS} is set, but edits are put in place in this process; unset it, or give 0")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    try:
        import vllm
        import vllm.platforms
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"engine=vllm needs {error.name}; pip install 'vlmguard_plugin[vllm]' (docs/vllm.md)", name=error.name
        ) from error
    register()
    return vllm


def options_here(options: Mapping[str, Any]) -> dict[str, Any]:
    """vLLM's options of an engine in this process: a user's, and what holds where these say nothing.

    That is a model which is not compiled, and on a CPU a cache of CPU_CACHE, unless a share of the memory is given.
    """
    from vllm.platforms import current_platform

    own: dict[str, Any] = {"enforce_eager": True}
    if current_platform.device_type == "cpu" and "gpu_memory_utilization" not in options:
        own["kv_cache_memory_bytes"] = CPU_CACHE
    return {**own, **options}


def as_subjects(given: Any) -> dict[str, Any]:
    """vLLM's `additional_config` of a subject's engine, whose guards come with its calls. given: what stands there."""
    check_spelling("additional_config", given or {})
    return {**(given or {}), KEY: Asked(None).as_config()}
