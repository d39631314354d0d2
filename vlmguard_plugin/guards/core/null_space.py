"""Least squares in the null space of benign states, as NullSteer fits its map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlmguard_plugin.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

RIDGE = 1e-2
"""Weight of the map's size in its least squares, of the mean square of the projected harmful states."""


def without(states: Tensor, rows: Tensor) -> Tensor:
    """states [L, N, d] less their components along orthonormal rows [L, k, d]."""
    return states - states @ rows.transpose(1, 2) @ rows


def ridge_probe(projected: Tensor, targets: Tensor, share: float = 1.0) -> Tensor:
    """u [L, d], a combination of the states [L, N, d], with u . x near their targets [L, N]: ridge least squares.

    share: of the usual ridge, RIDGE times the states' mean square.
    """
    gram = projected @ projected.transpose(1, 2)
    ridge = (RIDGE * share * gram.diagonal(dim1=1, dim2=2).mean(dim=1)).clamp_min(1e-30)  # of no states no probe
    gram = gram + ridge[:, None, None] * torch.eye(gram.shape[-1], dtype=gram.dtype)
    return torch.einsum("lnd,ln->ld", projected, torch.linalg.solve(gram, targets))


def suppressed(projected: Tensor, refusal: Tensor, weight: float) -> dict[str, Tensor]:
    """The harmful direction v [L, d] and the probe w [L, d] of what is added along it; see NullSteer.

    projected: the harmful states in the null space, [L, N, d]. refusal: r [L, d]. weight: of the third term.
    """
    along: Tensor = torch.linalg.svd(projected, full_matrices=False).Vh[:, 0]
    component = torch.einsum("lnd,ld->ln", projected, along)
    wanted = (refusal * along).sum(dim=-1, keepdim=True)
    targets = (wanted - weight * component) / (1 + weight)
    return {"harmful_direction": along, "suppression_probe": ridge_probe(projected, targets, 1 / (1 + weight))}
