"""Many processes of one run: what lm-evaluation-harness asks a model for so that they work together."""

from __future__ import annotations

import atexit
import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed
from lm_eval.api.model import LM

WAIT = timedelta(days=7)
"""How long a process waits for the slowest one."""


def leave() -> None:
    """End the groups before Python ends: with their threads still running a process may abort, and its launcher then
    ends the others, the one that writes the results too."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class ManyProcesses(LM):
    """Joins the other processes of torchrun or accelerate. What they exchange is small and lies on the CPU."""

    def join(self) -> None:
        """Meet the others; to be called before the model is loaded."""
        self._world_size, self._group = int(os.environ.get("WORLD_SIZE", 1)), None
        if self._world_size == 1:
            return
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo", timeout=WAIT)
        atexit.register(leave)
        self._group = torch.distributed.new_group(backend="gloo", timeout=WAIT)
        self._rank, self._world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()

    def from_all(self, value: Any) -> list[Any]:
        """Every process's value, by rank."""
        values = [None] * self.world_size
        torch.distributed.all_gather_object(values, value, group=self._group)
        return values

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.world_size == 1:
            return tensor
        return torch.cat([part.reshape(-1) for part in self.from_all(tensor.cpu())])

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        if self.world_size == 1:
            return [obj]
        values = self.from_all(obj)
        return values if self.rank == dst else None
