"""Judges by name.

judge = build_judge("rules")                          # no model
judge = build_judge("llama_guard_3", path="DIR")      # a local model
judge = build_judge("gpt-4o-mini", base_url="https://.../v1", key="...")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vlmguard_plugin.judges import endpoint
from vlmguard_plugin.judges.base import Judge, JudgeError
from vlmguard_plugin.judges.rules import RulesJudge

if TYPE_CHECKING:
    from vlmguard_plugin.judges.local import LocalJudge

LOCAL = ("llama_guard_7b", "llama_guard_3", "llama_guard_4", "harmbench", "wildguard", "strongreject")
"""Names of the judges that are local transformers models."""


def build_judge(
    name: str,
    path: str | None = None,
    base_url: str | None = None,
    key: str | None = None,
    batch_size: int | None = None,
    timeout: float | None = None,
    retry: int | None = None,
    prompt_file: str | Path | None = None,
) -> Judge:
    """A judge by name; what is None takes the judge's own default.

    name: "rules", one of LOCAL (a transformers model; path: its folder or hub name, default: the authors' on the
    hub), or the model's name at an OpenAI-compatible endpoint (needs base_url or $OPENAI_API_BASE, or a key).
    batch_size: answers that a local model reads at a time, or requests to an endpoint at a time. timeout: seconds
    without a sign of the endpoint. retry: further tries there. prompt_file: a local judge's own prompt in place of
    ours, where it takes one.
    Raises JudgeError for settings that the judge can't be built with, ImportError where its packages are missing.
    """
    if name == "rules":
        return RulesJudge()
    if name in LOCAL:
        local = local_judges()[name]
        if batch_size is None:
            return local(path, prompt_file=prompt_file)
        return local(path, batch_size, prompt_file=prompt_file)
    if path:
        raise JudgeError(f"judge {name!r} is no local judge, yet a path is given; local are {', '.join(LOCAL)}")
    return endpoint.EndpointJudge(
        name,
        base_url,
        key,
        timeout=endpoint.TIMEOUT if timeout is None else timeout,
        retry=endpoint.RETRY if retry is None else retry,
        workers=endpoint.WORKERS if batch_size is None else batch_size,
    )


def local_judges() -> dict[str, type[LocalJudge]]:
    """The classes of LOCAL by name. Imported only when they are asked for: transformers takes seconds to load."""
    from vlmguard_plugin.judges.harmbench import HarmBench
    from vlmguard_plugin.judges.llama_guard import LlamaGuard3, LlamaGuard4, LlamaGuard7b
    from vlmguard_plugin.judges.strongreject import StrongReject
    from vlmguard_plugin.judges.wildguard import WildGuard

    return {judge.name: judge for judge in (LlamaGuard7b, LlamaGuard3, LlamaGuard4, HarmBench, WildGuard, StrongReject)}
