"""vLLM's options that this package hands on; read before anything heavy is imported."""

from __future__ import annotations

from typing import Any, Mapping

OPTIONS: dict[str, type] = {
    "tensor_parallel_size": int,
    "pipeline_parallel_size": int,
    "gpu_memory_utilization": float,
    "kv_cache_memory_bytes": int,
    "max_model_len": int,
    "max_num_seqs": int,
    "num_gpu_blocks_override": int,
    "enforce_eager": bool,
}
"""Each by name, with its kind."""
FLAGS = {"true": True, "false": False}


def checked_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options as vLLM takes them; ValueError for one that is not known, or of another kind.

    Hosts hand numbers over as numbers or as their digits.
    """
    checked: dict[str, Any] = {}
    for name, value in given.items():
        if name not in OPTIONS:
            raise ValueError(f"{name}: not one of vLLM's options that are handed on ({', '.join(OPTIONS)})")
        checked[name] = of_kind(name, value, OPTIONS[name])
    return checked


def of_kind(name: str, value: Any, kind: type) -> Any:
    """The value as a flag, a whole number above 0 or a share above 0 and up to 1; ValueError for anything else."""
    if kind is bool:
        known = FLAGS.get(str(value).lower())
        if known is None:
            raise ValueError(f"{name} is {value!r}; give true or false")
        return known
    try:
        number = kind(str(value))
    except ValueError:
        number = 0
    if isinstance(value, bool) or not number > 0 or (kind is float and number > 1):
        raise ValueError(
            f"{name} is {value!r}; give a {'whole number above 0' if kind is int else 'number above 0 and up to 1'}"
        )
    return number
