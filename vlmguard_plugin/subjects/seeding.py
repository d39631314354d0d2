"""torch's random numbers from a seed for a while."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

import torch


@contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """While open, what is sampled on the device begins with this seed; all as before for None.

    seed: 0 to 2**63 - 1. Numbers drawn afterwards are those that would have been drawn without it.
    """
    if seed is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
