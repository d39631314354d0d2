"""torch and the model hub: asked at once and waited for while the rest of an environment is looked at."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import Future, TimeoutError as NotInTime
from typing import Iterator

from vlmguard_plugin import environment
from vlmguard_plugin.hosts.finding import Finding, installed
from vlmguard_plugin.reading import parsed_json

HUB_SECONDS = 3
SECONDS = 6
"""How long torch and the hub are waited for."""
DEVICES = "vlmguard_plugin.subjects.devices"
"""The module that asks torch; it is run, not imported."""


def ask_torch() -> subprocess.Popen[str]:
    """What torch can use, asked in a process of its own: its import takes longer than everything else together."""
    command = [sys.executable, "-m", DEVICES, environment.DEVICE.value() or environment.JUDGE_DEVICE.value() or ""]
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def torch_and_devices(asked: subprocess.Popen[str], until: float) -> Iterator[Finding]:
    """asked: see `ask_torch`. until: how long it is waited for, as time.monotonic() has it."""
    what = f"torch {installed('torch')}, transformers {installed('transformers')}"
    try:
        said, errors = asked.communicate(timeout=max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        yield Finding(
            "note",
            f"{what}; which GPUs torch can use it did not say in {SECONDS} seconds, the machine is busy",
            "ask again: what has been read once comes faster",
        )
        return
    if asked.returncode != 0:
        line = (errors.strip().splitlines() or [f"exit status {asked.returncode}"])[-1]
        yield Finding("bad", f"torch can't be imported: {line}", "install it anew, for your GPU's driver")
        return
    there = parsed_json(said.splitlines()[-1])
    if there["wrong"]:
        yield Finding("bad", *there["wrong"].split("; ", 1))
    if there["cards"]:
        bfloat16 = "bfloat16" if there["bfloat16"] else "no bfloat16, float16 in its place"
        names = ", ".join(sorted(set(there["cards"])))
        yield Finding("good", f"{what}; {len(there['cards'])} GPU ({names}), {bfloat16}")
    elif there["apple"]:
        yield Finding("good", f"{what}; an Apple GPU")
    else:
        yield Finding(
            "note", f"{what}; no GPU that torch can use, models run on the CPU", "install a torch for your GPU's driver"
        )


def ask_hub(said: Future[str | None]) -> None:
    """Why the hub is silent, once it is known, or what its library raises."""
    try:
        from vlmguard_plugin.subjects.hub import why_hub_is_silent

        said.set_result(why_hub_is_silent("llava-hf/llava-1.5-7b-hf", HUB_SECONDS))
    except Exception as error:  # noqa: BLE001 - as in `tried`
        said.set_exception(error)


def hub(said: Future[str | None], until: float) -> Iterator[Finding]:
    """said: why the hub is silent. until: as for `torch_and_devices`."""
    try:
        silent = said.result(timeout=max(0.1, until - time.monotonic()))
    except NotInTime:
        silent = f"no whole answer within {SECONDS} seconds"
    if silent is None:
        yield Finding("good", "the model hub answers")
    else:
        yield Finding(
            "note",
            f"the model hub can't be reached ({silent})",
            "name checkpoints by folder, such as $VLMGUARD_LLAVA; `vlmguard demo` needs no hub",
        )
