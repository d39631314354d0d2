"""Which devices torch can use here, and what they compute well.

    python -m vlmguard_plugin.subjects.devices [DEVICE]

prints what `Devices` holds as JSON: for those who can't wait for torch's import, or have it fail, in their own process.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass

import torch

CPUS_WITHOUT_BFLOAT16 = ("DEFAULT", "NO AVX", "AVX2")
"""Where torch computes bfloat16 several times more slowly than float32."""


def checked_device(device: str) -> str:
    """The device, if this machine has it; ValueError says which there are."""
    there = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    there += ["mps"] if torch.backends.mps.is_available() else []
    there += ["cuda", "auto"] if torch.cuda.is_available() else ["auto"]
    if device not in there:
        raise ValueError(f"device is {device!r}, which is not here; choose one of {', '.join(there)}")
    return device


def default_device() -> str:
    """This process's own GPU under torchrun or accelerate, else the first; Apple's, else the CPU."""
    if torch.cuda.is_available():
        return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def default_dtype(device: str, checkpoint_dtype: torch.dtype | None) -> torch.dtype:
    """What the device computes well: see load_subject."""
    if device == "cpu":
        slow = torch.backends.cpu.get_cpu_capability() in CPUS_WITHOUT_BFLOAT16
        return torch.bfloat16 if checkpoint_dtype == torch.bfloat16 and not slow else torch.float32
    if device == "mps":
        return torch.float16
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


@dataclass(frozen=True)
class Devices:
    """torch: its version. cards: names of the GPUs that it can use through CUDA. bfloat16: whether they compute it.
    apple: whether there is an Apple GPU. wrong: why a device that was asked about is not here; "" where it is.
    """

    torch: str
    cards: tuple[str, ...]
    bfloat16: bool
    apple: bool
    wrong: str = ""


def devices(wanted: str = "") -> Devices:
    """What torch can use here. wanted: a device to look for, as $VLMGUARD_DEVICE names it."""
    wrong = ""
    try:
        checked_device(wanted or "cpu")
    except ValueError as error:
        wrong = str(error)
    cards = tuple(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
    bfloat16 = bool(cards) and torch.cuda.is_bf16_supported()
    return Devices(str(torch.__version__), cards, bfloat16, torch.backends.mps.is_available(), wrong)


if __name__ == "__main__":
    print(json.dumps(asdict(devices(*sys.argv[1:2]))))
