"""A dose along a direction that a gate lets through, and that ends at a point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlmguard_plugin.guards.core.discriminant import Gate
from vlmguard_plugin.guards.core.representation import AddDecision
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.steering.edit import Prompts

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class BoundedDose(AddDecision):
    """Along a direction, in rows whose gate fires: alpha times its length, but not past a point on it.

    direction: [d]. farthest: where the dose ends along its unit vector, [], or inf. as_text: see Gate.fires.
    """

    direction: Tensor
    farthest: Tensor
    alpha: float
    gate: Gate
    as_text: Tensor | None

    def decide(self, last: Tensor, prompts: Prompts) -> Tensor:
        """What is added at each edited position of a row: [rows, d]; zero in rows where the gate does not fire."""
        unit = torch.nn.functional.normalize(self.direction, dim=0)
        dose: Tensor = torch.minimum(self.alpha * self.direction.norm(), (self.farthest - last @ unit).clamp_min(0))
        return (dose * self.gate.fires(prompts, self.as_text)).unsqueeze(1) * unit
