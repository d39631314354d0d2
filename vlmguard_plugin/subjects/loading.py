"""Load a checkpoint as a subject, on the user's machine as it is."""

from __future__ import annotations

import os
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from queue import Empty, Queue
from textwrap import shorten
from threading import Thread
from typing import Any, Iterator

import torch

from vlmguard_plugin import environment
from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject

BATCH_SIZE = 8
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

HUB_SECONDS = 10
"""How long the hub may take to say whether it has a checkpoint."""
CPUS_WITHOUT_BFLOAT16 = ("DEFAULT", "NO AVX", "AVX2")
"""Where torch computes bfloat16 several times more slowly than float32."""


def load_subject(
    checkpoint: str | Path, *, device: str | None = None, dtype: str | None = None, batch_size: int | None = None
) -> HuggingFaceSubject:
    """A subject from a local folder or a hub name. No code of the checkpoint's is run, and no pickle is loaded.

    device: "cpu", "cuda", "cuda:1", "mps", or "auto" to spread over all GPUs; by default $VLMGUARD_DEVICE, else
        this process's own GPU, else the CPU.
    dtype: "float32", "bfloat16" or "float16"; by default $VLMGUARD_DTYPE, else bfloat16 or float16 on a GPU
        (what it supports), and on the CPU the checkpoint's own, but float32 in float16's place and where the CPU
        has no instructions for bfloat16.
    batch_size: queries per pass; by default $VLMGUARD_BATCH_SIZE, else 8.

    Raises NotHere for a hub name where the hub can't be reached and its cache does not hold the checkpoint.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    device = checked_device(device or environment.DEVICE.value() or default_device())
    name = dtype or environment.DTYPE.value()
    if name and name not in DTYPES:
        raise ValueError(f"dtype is {name!r}; choose one of {', '.join(DTYPES)} (argument dtype or $VLMGUARD_DTYPE)")
    if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
        raise ValueError(f"batch_size is {batch_size!r}; give a whole number of at least 1")
    size = batch_size or environment.BATCH_SIZE.whole() or BATCH_SIZE
    if not Path(checkpoint).is_dir() and (Path(checkpoint).is_absolute() or str(checkpoint).startswith(".")):
        raise FileNotFoundError(
            f"there is no checkpoint folder {checkpoint}; give a save_pretrained folder or a hub name"
        )
    place = place_of(checkpoint)
    with nothing_run(checkpoint):
        processor = AutoProcessor.from_pretrained(place, trust_remote_code=False)
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
        model = AutoModelForImageTextToText.from_pretrained(
            place,
            dtype=DTYPES[name] if name else default_dtype(device, getattr(config, "dtype", None)),
            device_map="auto" if device == "auto" else {"": device},
            trust_remote_code=False,
            use_safetensors=True,
        )
    return HuggingFaceSubject(model, processor, batch_size=int(size))


class NotHere(OSError):
    """A checkpoint that is neither on this machine nor to be had."""


def why_hub_is_silent(name: str, seconds: float = HUB_SECONDS) -> str | None:
    """Why the hub can't be asked for a checkpoint, in some words; None where it answers, whatever it says.

    seconds: that it may take, all in all: looking its address up, connecting and reading have no bound in common, and a
    network that drops packets, or a proxy that lets an answer drip, takes minutes. Asked once: transformers itself
    would ask for every file of a checkpoint six times, two minutes and more in all.
    """
    from huggingface_hub import HfApi

    api, said = HfApi(), Queue[str | None]()
    Thread(target=lambda: said.put(what_is_wrong(api, name, seconds)), daemon=True).start()
    try:
        return said.get(timeout=seconds)
    except Empty:
        return f"no whole answer within {seconds:g} seconds"


def what_is_wrong(api: Any, name: str, seconds: float) -> str | None:
    """The same, however long it takes. api: the hub's. seconds: for each of its steps."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api.model_info(name, timeout=seconds)
    except JSONDecodeError:  # a page to log in at, for instance
        return "what answers in its place is no hub"
    except (HfHubHTTPError, ValueError) as error:
        status = getattr(getattr(error, "response", None), "status_code", 0)
        return f"it answers with the status {status}" if status == 429 or status >= 500 else None
    except Exception as error:  # noqa: BLE001 - the libraries that it asks with, by its version, have errors of their own
        return shorten(f"{type(error).__name__}: {error}", 100)
    return None


def place_of(checkpoint: str | Path) -> str | Path:
    """What to load a checkpoint from: itself, or its folder in the hub's cache where the hub is silent.

    NotHere where the cache does not hold it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    silent = None if Path(checkpoint).is_dir() else why_hub_is_silent(str(checkpoint))
    if silent is None:
        return checkpoint
    try:
        return snapshot_download(str(checkpoint), local_files_only=True)
    except LocalEntryNotFoundError as error:
        raise NotHere(
            f"{checkpoint} is not in the hub's cache, and the hub can't be reached ({silent}); give a save_pretrained "
            "folder in its place"
        ) from error


OWN_SUBJECT = ", or load the model yourself and put it into a HuggingFaceSubject"


@contextmanager
def nothing_run(checkpoint: str | Path, instead: str = OWN_SUBJECT) -> Iterator[None]:
    """One line in place of transformers' advice where a checkpoint brings Python code of its own, or pickles.

    instead: what else there is to do with such code.
    """
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ValueError(
            f"{checkpoint} brings Python code of its own, which is not run; give a checkpoint of an architecture that "
            f"transformers has{instead}"
        ) from error
    except OSError as error:
        if "model.safetensors" not in str(error):
            raise
        raise OSError(
            f"{checkpoint} has no weights in model.safetensors, and pickles are not loaded; load it with transformers "
            "and save it again with save_pretrained"
        ) from error


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
