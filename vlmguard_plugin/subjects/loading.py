"""Load a checkpoint as a subject, on the user's machine as it is."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import torch

from vlmguard_plugin import environment
from vlmguard_plugin.subjects.devices import checked_device, default_device, default_dtype
from vlmguard_plugin.subjects.hub import why_hub_is_silent
from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject

BATCH_SIZE = 8
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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
