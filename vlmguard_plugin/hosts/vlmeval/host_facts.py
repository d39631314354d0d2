"""What is known of VLMEvalKit and of the models of its own."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vlmguard_plugin import environment
from vlmguard_plugin.guards.core.registry import load_guard
from vlmguard_plugin.hosts.guarded import guard_facts, versions
from vlmguard_plugin.hosts.vlmeval.engines import engine_of
from vlmguard_plugin.runs.facts import RunFacts, digest_of, folder_name
from vlmguard_plugin.runs.vlmevalkit_command import commit_of, is_clone
from vlmguard_plugin.subjects.host_parts import torch_models

HOST = "vlmevalkit"
CHECKPOINT_NAMES = ("model_path", "model_pth", "pretrained")  # attributes of the host's classes
GENERATION_NAMES = ("generate_kwargs", "gen_kwargs", "kwargs")


def host_version() -> str:
    """Of VLMEvalKit: the commit of a git clone, else as installed; empty where neither is known."""
    import vlmeval

    folder = Path(str(vlmeval.__file__)).parent.parent
    if is_clone(folder):
        commit = commit_of(folder)
        return f"git {commit}" if commit else str(getattr(vlmeval, "__version__", ""))
    for package in ("ms-vlmeval", "vlmeval"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""


def facts_of_host_model(model: Any, name: str) -> RunFacts:
    """What can be known of a model of the host's own: its checkpoint (else its class), and how it generates."""
    checkpoint = next(
        (value for key in CHECKPOINT_NAMES if isinstance(value := getattr(model, key, None), str)), type(model).__name__
    )
    settings = next((value for key in GENERATION_NAMES if isinstance(value := getattr(model, key, None), dict)), {})
    is_folder = os.path.isabs(checkpoint) or os.path.isdir(checkpoint)
    roots = torch_models(model)
    parameter = next(roots[0].parameters(), None) if roots else None
    engine, folder = engine_of(model), environment.VLLM_GUARD.value()
    guard = load_guard(folder) if folder and engine == environment.VLLM else None  # which is on every engine of vLLM's
    return RunFacts(
        host=HOST,
        host_version=host_version(),
        model=name,
        checkpoint=folder_name(checkpoint) if is_folder else checkpoint,
        arguments=digest_of(os.path.abspath(checkpoint)) if is_folder else "",
        generation={key: value for key, value in settings.items() if isinstance(value, (int, float, bool, type(None)))},
        device="" if parameter is None else parameter.device.type,
        dtype="" if parameter is None else str(parameter.dtype).removeprefix("torch."),
        batch_size=1,
        engine=engine,
        versions=versions(),
        **guard_facts(guard),
    )
