"""What a number of paired answers can show: the least difference, and the one that is found often enough.

Needs scipy.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

from vlmguard_plugin.statistics.levels import ALPHA, POWER
from vlmguard_plugin.statistics.rates import Floats

RARE_TERMS = 1e-12
"""Chances smaller than this are left out of a power."""


def smallest_difference(n: int, clusters: int) -> float | None:
    """The least difference that the exact test can call significant at n answers; None where no difference can be."""
    needed = math.ceil(math.log(ALPHA / 2) / math.log(0.5) + 1e-12)  # changes, all in one direction
    return needed / n if clusters >= needed else None


def detectable_difference(n: int, changed: float, design: float = 1.0) -> float | None:
    """The true difference that McNemar's test at 0.05 finds with a chance of POWER at n answers; None where none is.

    changed: share of answers that changed in either direction, as observed; a difference needs at least as many.
    design: the design effect of shared base requests: n answers are worth n / design. The power is the test's own,
    summed over all outcomes (`power_of`).
    """
    worth = int(n / design)

    def short_by(difference: float) -> float:
        return power_of(worth, max(changed, difference), difference) - POWER

    return float(optimize.brentq(short_by, 0.0, 1.0, xtol=1e-4)) if worth and short_by(1.0) >= 0 else None


def power_of(n: int, changed: float, difference: float) -> float:
    """Chance that the exact McNemar test at 0.05 calls a difference significant at n independent pairs of answers.

    changed: share of answers that differ, 0 to 1, at least the difference. The chance over all numbers of answers that
    may differ, each with the test's own critical number.
    """
    low, high = stats.binom.ppf([RARE_TERMS, 1 - RARE_TERMS], n, changed)
    differing = np.arange(max(int(low), 1), int(high) + 1)
    if not len(differing):
        return 0.0
    most = critical_numbers(1 << int(differing[-1]).bit_length())[differing]
    towards = min((changed + difference) / (2 * changed), 1.0)
    found = stats.binom.cdf(most, differing, 1 - towards) + stats.binom.cdf(most, differing, towards)
    return float((stats.binom.pmf(differing, n, changed) * found).sum())


@lru_cache(maxsize=32)
def critical_numbers(most: int) -> Floats:
    """By number of differing pairs, 0 to `most`: how many one way, at most, McNemar's exact test calls significant.

    -1 where it calls none so.
    """
    differing = np.arange(most + 1)
    numbers = stats.binom.ppf(ALPHA / 2, differing, 0.5)
    found: Floats = np.where(stats.binom.cdf(numbers, differing, 0.5) > ALPHA / 2, numbers - 1, numbers)
    return found
