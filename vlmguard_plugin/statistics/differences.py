"""How two rates on the same items differ: interval, exact test, correction, and what the number of answers can show.

Differences are -1 to 1, intervals 95%; base requests are clusters, as in `rates`. Needs scipy and statsmodels.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Mapping, Sequence

import numpy as np
from scipy import optimize, signal, stats

from vlmguard_plugin.statistics.levels import ALPHA, POWER, RESAMPLES
from vlmguard_plugin.statistics.measures import Event, Part
from vlmguard_plugin.statistics.rates import (
    Clusters,
    Events,
    Floats,
    Totals,
    bootstrap,
    degrees_of_freedom,
    effective_n,
    robust_variance,
    totals,
    wilson,
)

RARE_TERMS = 1e-12
"""Chances smaller than this are left out of a power."""


@dataclass(frozen=True)
class PairedDifference:
    """One model's rate minus the base's, on the n answers that both have an outcome for.

    rate, base_rate: of these only. only_model: answers where the event happened under the model alone (whose score is
    higher there); only_base: under the base alone. low, high: Newcombe's interval for pairs, robust to shared base
    requests; where answers count otherwise than 1 or 0, Student's t over base requests.
    bootstrap_low, bootstrap_high: percentiles of a paired bootstrap over base requests.
    p_mcnemar: exact McNemar test, two-sided. p: the same where no base request is shared, else of the sign-flip test
    over base requests, made safe against lopsided changes (`lopsided_p`); Student's t where low and high are.
    p_sign_flip: of the exact sign-flip test alone, where base requests are shared. p_holm: p after Holm's correction over all comparisons of the board that
    measure the same; None before. clusters: base requests among the n.
    smallest: the least difference that this n could have called significant at all; detectable: the true difference
    that it finds with a chance of POWER; both None where there is none.
    unmatched_model, unmatched_base: answers to items that the other has not got. undecided: common answers that are
    unknown under either.
    """

    n: int
    rate: float
    base_rate: float
    only_model: int
    only_base: int
    difference: float
    low: float
    high: float
    p: float
    p_mcnemar: float = 1.0
    p_holm: float | None = None
    bootstrap_low: float = 0.0
    bootstrap_high: float = 0.0
    clusters: int = 0
    smallest: float | None = None
    detectable: float | None = None
    unmatched_model: int = 0
    unmatched_base: int = 0
    undecided: int = 0
    p_sign_flip: float | None = None
    by_scores: bool = False

    @property
    def p_corrected(self) -> float:
        """p_holm, or p where nothing was corrected."""
        return self.p if self.p_holm is None else self.p_holm

    @property
    def significant(self) -> bool:
        """Corrected p below 0.05."""
        return self.p_corrected < ALPHA

    @property
    def test(self) -> str:
        """What p is of: "mcnemar", "sign_flip" where base requests are shared, "t" of scores that are no 1 or 0."""
        return "t" if self.by_scores else "mcnemar" if self.clusters == self.n else "sign_flip"

    @property
    def lopsided(self) -> bool:
        """Whether the sign-flip test alone would have called significant what lopsided changes may have made."""
        return self.p_sign_flip is not None and self.p_sign_flip < ALPHA <= self.p


def paired_difference(model: Events, base: Events, clusters: Clusters | None = None) -> PairedDifference | None:
    """The difference of two rates on the same items; None where they share no item with a known outcome."""
    shared = [key for key in model if key in base]
    known = [key for key in shared if model[key] is not None and base[key] is not None]
    if not known:
        return None
    n = len(known)
    model_values, base_values = [model[key] for key in known], [base[key] for key in known]
    own, of_base = (totals(dict(zip(known, values)), clusters) for values in (model_values, base_values))
    common = {
        "n": n,
        "unmatched_model": len(model) - len(shared),
        "unmatched_base": len(base) - len(shared),
        "undecided": len(shared) - n,
        "clusters": len(own.sizes),
    }
    only_model, only_base = discordant(model_values, base_values)
    p_mcnemar = sign_flip(np.repeat([1.0], only_model + only_base), only_model - only_base)
    rates = [float(one.sums.sum() / one.sizes.sum()) if one.sizes.sum() else 0.0 for one in (own, of_base)]
    if not (own.binary and of_base.binary):
        return scored_difference(own, of_base, rates, only_model, only_base, p_mcnemar, common)
    both = int(own.sums.sum()) - only_model
    changes, sizes = own.sums - of_base.sums, own.sizes
    low, high = (
        newcombe(both, only_model, only_base, n - both - only_model - only_base)
        if own.single
        else clustered_newcombe(own.sums, of_base.sums, sizes)
    )
    bootstrap_low, bootstrap_high = bootstrap(changes, sizes)
    smallest = smallest_difference(n, len(sizes))
    detectable = detectable_difference(n, (only_model + only_base) / n, design_effect(changes, sizes))
    flipped = None if own.single else sign_flip(np.abs(changes[changes != 0]), float(changes.sum()))
    return PairedDifference(
        rate=rates[0],
        base_rate=rates[1],
        only_model=only_model,
        only_base=only_base,
        difference=(only_model - only_base) / n,
        low=low,
        high=high,
        p=p_mcnemar if flipped is None else max(flipped, lopsided_p(changes, sizes)),
        p_mcnemar=p_mcnemar,
        p_sign_flip=flipped,
        bootstrap_low=bootstrap_low,
        bootstrap_high=bootstrap_high,
        smallest=smallest,
        detectable=None if smallest is None or detectable is None else max(detectable, smallest),
        **common,
    )


def discordant(model: Sequence[Event | None], base: Sequence[Event | None]) -> tuple[int, int]:
    """How many answers count for more under the model, and how many under the base."""
    pairs = [
        (one.part - one.whole, other.part - other.whole) if isinstance(one, Part) and isinstance(other, Part) else pair
        for pair in zip(model, base)
        for one, other in [pair]
    ]
    return sum(one > other for one, other in pairs), sum(one < other for one, other in pairs)


def scored_difference(
    own: Totals,
    of_base: Totals,
    rates: Sequence[float],
    only_model: int,
    only_base: int,
    p_mcnemar: float,
    common: Mapping[str, int],
) -> PairedDifference:
    """The difference of two rates whose answers count otherwise than 1 or 0: scores between, or F1.

    Student's t of what each base request adds to the difference (both ratios linearised), with `robust_variance` and
    `degrees_of_freedom`. No difference is called detectable: that would need the spread of scores under a guard that is
    not there.
    """
    difference = rates[0] - rates[1]
    whole = [max(float(one.sizes.sum()), 1e-12) for one in (own, of_base)]
    parts = [(one.sums - rate * one.sizes) / total for one, rate, total in zip((own, of_base), rates, whole)]
    residuals = parts[0] - parts[1]
    weights = (own.sizes / whole[0] + of_base.sizes / whole[1]) / 2
    count = len(residuals)
    error = math.sqrt(robust_variance(residuals, weights)) if count > 1 else math.inf
    freedom = degrees_of_freedom(weights)
    reach = float(stats.t.ppf(1 - ALPHA / 2, freedom)) * error if count > 1 else 2.0
    certain = 1.0 if difference == 0 else 0.0
    p = float(2 * stats.t.sf(abs(difference) / error, freedom)) if error > 0 else certain
    low, high = paired_bootstrap(own, of_base)
    return PairedDifference(
        rate=rates[0],
        base_rate=rates[1],
        only_model=only_model,
        only_base=only_base,
        difference=difference,
        low=max(difference - reach, -1.0),
        high=min(difference + reach, 1.0),
        p=p if count > 1 else 1.0,
        p_mcnemar=p_mcnemar,
        bootstrap_low=low,
        bootstrap_high=high,
        by_scores=True,
        **common,
    )


def paired_bootstrap(own: Totals, of_base: Totals) -> tuple[float, float]:
    """95% percentile interval of the difference of two ratios of sums, base requests drawn together (fixed seed)."""
    columns = np.stack([own.sums, own.sizes, of_base.sums, of_base.sizes])
    kinds, counts = np.unique(columns, axis=1, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(columns.shape[1], counts / counts.sum(), size=RESAMPLES)
    above, below, base_above, base_below = (drawn @ kinds.T).T
    there = (below > 0) & (base_below > 0)
    differences = above[there] / below[there] - base_above[there] / base_below[there]
    if not len(differences):
        return -1.0, 1.0
    low, high = np.quantile(differences, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def lopsided_p(changes: Floats, sizes: Floats) -> float:
    """Least p that changes by base request deserve, whatever their shape; the sign-flip test takes it for symmetric.

    changes, sizes: (clusters,), as in `bootstrap`. The larger of two: Student's t with Johnson's correction for skew
    (N. J. Johnson, Journal of the American Statistical Association 73 (1978) 536-544), and, where all changes go one
    way, the chance that so many base requests have missed the rare large change that would balance them.
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
        skewed = float(2 * stats.t.sf(abs(t + skew * t**2 / 3 + skew / 6), freedom))
    one_way = (1 + abs(mean)) ** -(freedom + 1) if (changes >= 0).all() or (changes <= 0).all() else 0.0
    return max(skewed, float(one_way))


def sign_flip(sizes: Floats, total: float) -> float:
    """Exact two-sided p of a sum of changes whose signs are as good as tossed coins if nothing has changed.

    sizes: (changed base requests,), each one's change without its sign, in whole answers. total: the signed sum that
    was seen. With changes of one answer each this is the exact McNemar test; with more of them a base request's
    answers stay together, so that what they share is not taken for evidence (Fisher's randomisation test, by base
    request).
    """
    chances = np.ones(1)
    for size, count in sorted(Counter(sizes.tolist()).items()):
        spread = np.zeros(int(size) * count * 2 + 1)
        spread[:: 2 * int(size)] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chances = signal.convolve(chances, spread)  # the sum of independent parts
    middle = len(chances) // 2
    far = np.abs(np.arange(len(chances)) - middle) >= abs(total)
    return float(min(max(chances[far].sum(), 0.0), 1.0))


def newcombe(both: int, only_first: int, only_second: int, neither: int) -> tuple[float, float]:
    """95% interval of first rate minus second rate on paired items, by the numbers of items in the four cells.

    Method 10 of R. G. Newcombe, Statistics in Medicine 17 (1998) 2635-2650: the two Wilson intervals,
    squared and added, less what the pairing correlates (phi with its continuity correction).
    """
    n = both + only_first + only_second + neither
    first, second = both + only_first, both + only_second
    margins = first * (only_second + neither) * second * (only_first + neither)
    product: float = both * neither - only_first * only_second
    if product > 0:
        product = max(product - n / 2, 0)
    phi = product / math.sqrt(margins) if margins else 0.0
    return combined(first / n, second / n, wilson(first, n), wilson(second, n), phi)


def clustered_newcombe(first: Floats, second: Floats, sizes: Floats) -> tuple[float, float]:
    """The same where base requests are shared: robust Wilson intervals, and the correlation between base requests.

    Our convention: Newcombe's rule, of which only the intervals and the correlation are made robust.
    first, second, sizes: (clusters,), by base request how often the event happened, and of how many answers.
    """
    n = float(sizes.sum())
    first_rate, second_rate = float(first.sum()) / n, float(second.sum()) / n
    intervals = [
        wilson(mean * effective, effective)
        for mean, effective in ((first_rate, effective_n(first, sizes)), (second_rate, effective_n(second, sizes)))
    ]
    residuals = [first - first_rate * sizes, second - second_rate * sizes]
    lengths = math.sqrt(float((residuals[0] ** 2).sum() * (residuals[1] ** 2).sum()))
    phi = float((residuals[0] * residuals[1]).sum()) / lengths if lengths > 1e-12 else 0.0
    return combined(first_rate, second_rate, intervals[0], intervals[1], phi)


def combined(
    first: float, second: float, first_interval: Sequence[float], second_interval: Sequence[float], phi: float
) -> tuple[float, float]:
    """Interval of first minus second: their intervals squared and added, less what correlation phi makes them share.

    first, second and their intervals: 0 to 1. phi: -1 to 1.
    """
    (first_low, first_high), (second_low, second_high) = first_interval, second_interval
    below, above = first - first_low, second_high - second
    down = math.sqrt(max(below**2 - 2 * phi * below * above + above**2, 0))
    below, above = second - second_low, first_high - first
    up = math.sqrt(max(above**2 - 2 * phi * above * below + below**2, 0))
    return max(first - second - down, -1.0), min(first - second + up, 1.0)


def design_effect(changes: Floats, sizes: Floats) -> float:
    """How much more a mean change varies than if answers that share a base request were independent; at least 1.

    changes, sizes: (clusters,), as in `bootstrap`. The variance between clusters (`robust_variance`) over that of as many independent answers, as in `rates.effective_n`; where all agree, clusters count as alike (our
    convention).
    """
    n, count = float(sizes.sum()), len(sizes)
    if count == n or count == 1:
        return n / count
    mean = float(changes.sum()) / n
    between = robust_variance(changes - mean * sizes, sizes)
    alone = max(float(np.abs(changes).sum()) / n - mean**2, 0.0) / n  # never above the true one: changes may cancel
    return max(between / alone, 1.0) if alone > 0 else float((sizes**2).sum()) / n


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
    most = stats.binom.ppf(ALPHA / 2, differing, 0.5)
    most = np.where(stats.binom.cdf(most, differing, 0.5) > ALPHA / 2, most - 1, most)
    towards = min((changed + difference) / (2 * changed), 1.0)
    found = stats.binom.cdf(most, differing, 1 - towards) + stats.binom.cdf(most, differing, towards)
    return float((stats.binom.pmf(differing, n, changed) * found).sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """p values after Holm's step-down correction for their number, in the same order.

    S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, p_values[index] * (len(p_values) - rank))
        corrected[index] = min(1.0, highest)
    return corrected
