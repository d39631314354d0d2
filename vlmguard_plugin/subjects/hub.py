"""Whether the model hub answers, asked once and in bounded time."""

from __future__ import annotations

from json import JSONDecodeError
from queue import Empty, Queue
from textwrap import shorten
from threading import Thread
from typing import Any

HUB_SECONDS = 10
"""How long the hub may take to say whether it has a checkpoint."""
WORD_OF_A_HUB = "X-Error-Code"
"""The header in which a hub says why a model is not to be had; what only has no such page says 404 without it."""


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
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", 0)
        if status == 404 and WORD_OF_A_HUB not in getattr(response, "headers", ()):
            return "it answers with the status 404, without a hub's word on the model"
        return f"it answers with the status {status}" if status == 429 or status >= 500 else None
    except Exception as error:  # noqa: BLE001 - the libraries that it asks with, by its version, have errors of their own
        return shorten(f"{type(error).__name__}: {error}", 100)
    return None
