"""Tests of differences that hold whatever the changes by base request look like: lopsided ones, scores, ratios.

Needs scipy.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from vlmguard_plugin.statistics.levels import ALPHA, RESAMPLES
from vlmguard_plugin.statistics.rates import Floats, Totals, degrees_of_freedom, robust_variance


class Compared(NamedTuple):
    """A difference of two rates, its 95% interval, its two-sided p, and a bootstrap's interval."""

    difference: float
    low: float
    high: float
    p: float
    bootstrap_low: float
    bootstrap_high: float


def ratio(found: Totals) -> float:
    """The rate; 0 where nothing stands below the line."""
    below = float(found.sizes.sum())
    return float(found.sums.sum()) / below if below else 0.0


def compared(own: Totals, of_base: Totals) -> Compared:
    """The difference of two rates whose answers count otherwise than 1 or 0: scores between, or F1.

    Student's t of what each base request adds to the difference (both ratios linearised), with `robust_variance` and
    `degrees_of_freedom`. With one base request alone nothing is known of it.
    """
    difference = ratio(own) - ratio(of_base)
    whole = [max(float(one.sizes.sum()), 1e-12) for one in (own, of_base)]
    added = [(one.sums - ratio(one) * one.sizes) / total for one, total in zip((own, of_base), whole)]
    weights = (own.sizes / whole[0] + of_base.sizes / whole[1]) / 2
    if len(weights) == 1 or not weights.any():
        return Compared(difference, -1.0, 1.0, 1.0, -1.0, 1.0)
    error, freedom = math.sqrt(robust_variance(added[0] - added[1], weights)), degrees_of_freedom(weights)
    reach = float(stats.t.ppf(1 - ALPHA / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(difference) / error, freedom)) if error > 0 else float(difference == 0)
    return Compared(
        difference, max(difference - reach, -1.0), min(difference + reach, 1.0), p, *paired_bootstrap(own, of_base)
    )


def paired_bootstrap(own: Totals, of_base: Totals) -> tuple[float, float]:
    """95% percentile interval of the difference of two ratios of sums, base requests drawn together (fixed seed)."""
    columns = np.stack([own.sums, own.sizes, of_base.sums, of_base.sizes])
    kinds, counts = np.unique(columns, axis=1, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(columns.shape[1], counts / counts.sum(), size=RESAMPLES)
    above, below, base_above, base_below = (drawn @ kinds.T).T
    there = (below > 0) & (base_below > 0)
    if not there.any():
        return -1.0, 1.0
    differences = above[there] / below[there] - base_above[there] / base_below[there]
    low, high = np.quantile(differences, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def lopsided_p(changes: Floats, sizes: Floats) -> float:
    """Least p that changes by base request deserve, whatever their shape; the sign-flip test takes it for symmetric.

    changes, sizes: (clusters,), as in `rates.bootstrap`. The larger of two: Student's t with Hall's correction for skew
    (P. Hall, Journal of the Royal Statistical Society B 54 (1992) 221-228), and, where all changes go one way, the
    chance that so many base requests have missed the rare large change that would balance them. Of unequal base
    requests, those that go the other way count for none where together they weigh less than an average answer's.
    """
    n, count = float(sizes.sum()), len(sizes)
    mean = float(changes.sum()) / n
    if count == 1 or mean == 0:
        return 1.0
    residuals = changes - mean * sizes
    variance, freedom = robust_variance(residuals, sizes), degrees_of_freedom(sizes)
    skewed = 0.0
    if variance > 0:
        t = mean / math.sqrt(variance)
        skew = float((residuals**3).sum()) / n**3 / variance**1.5
        corrected = t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6  # grows with t, whatever the skew
        skewed = float(2 * stats.t.sf(abs(corrected), freedom))
    other_way = float(sizes[changes * mean < 0].sum())
    one_way = (1 + abs(mean)) ** -(freedom + 1) if other_way < float((sizes**2).sum()) / n else 0.0
    return max(skewed, float(one_way))
