"""Directions in hidden states that are more than rounding noise: of a singular value decomposition, and of means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlmguard_plugin.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

NOISE = {"bfloat16": 2e-2, "float16": 3e-3, "float32": 1e-5}
"""Rounding noise of hidden states as a share of their length, by the model's precision (our convention).

States of one prompt, computed in batches of other sizes, differ by about a tenth of this in float32.
"""


def check_rank(rank: int, states: int, width: int) -> None:
    """ValueError where this many directions can't come out of `states` hidden states of this width."""
    if rank > min(states, width):
        raise ValueError(
            f"rank is {rank} but {states} anchor differences of width {width} give at most {min(states, width)}"
        )


def noise_of(states: Tensor) -> Tensor:
    """Length of the rounding noise in hidden states [N, L, d] as they were recorded, by layer: float64 [L].

    The precision that they were computed in is the coarsest one that holds them exactly.
    """
    sample = states[:8]
    precision = next(
        (name for name in ("bfloat16", "float16") if torch.equal(sample.to(getattr(torch, name)).float(), sample)),
        "float32",
    )
    noise: Tensor = NOISE[precision] * states.double().norm(dim=-1).mean(dim=0)
    return noise


def leading_directions(rows: Tensor, rank: int, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The first right singular vectors of rows [L, N, d], float64, as far as they are more than noise.

    noise: [L], length of the rounding noise in a row. Directions beyond the numerical rank are zero: they are noise,
    and change with the batch size. The numerical rank counts the singular values above what the largest one of N rows
    of noise is: noise * (1 + sqrt(N / d)).

    Returns directions [L, rank, d], all singular values [L, min(N, d)] and the numerical rank, int64 [L].
    """
    _, singular_values, vectors = torch.linalg.svd(rows, full_matrices=False)
    least = noise * (1 + (rows.shape[1] / rows.shape[2]) ** 0.5)
    numerical_rank = (singular_values > least.unsqueeze(1)).sum(dim=1)
    kept = torch.arange(rank).unsqueeze(0) < numerical_rank.unsqueeze(1)
    return vectors[:, :rank] * kept.unsqueeze(-1), singular_values, numerical_rank


def mean_difference(these: Tensor, those: Tensor, noise: Tensor) -> Tensor:
    """Mean of states [N, L, d] less the mean of others [M, L, d], by layer: [L, d]; zero where it is but noise.

    noise: [L], length of the rounding noise in a state.
    """
    difference = these.mean(dim=0) - those.mean(dim=0)
    least = noise * (1 / len(these) + 1 / len(those)) ** 0.5
    kept: Tensor = difference * (difference.double().norm(dim=-1) > least).unsqueeze(-1)
    return kept
