"""How two rates on the same items differ: interval, exact test, correction, and what the number of answers can show.

Differences are -1 to 1, intervals 95%; base requests are clusters, as in `rates`. Needs scipy and statsmodels.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Sequence

import numpy as np
from scipy import optimize, signal, stats

from vlmguard_plugin.statistics.levels import ALPHA, POWER
from vlmguard_plugin.statistics.rates import Clusters, Events, Floats, effective_n, totals, wilson

RESAMPLES = 9999
"""Draws of a bootstrap or of a sign-flip test (our convention)."""


@dataclass(frozen=True)
class PairedDifference:
    """One model's rate minus the base's, on the n answers that both have an outcome for.

    rate, base_rate: of these only. only_model: answers where the event happened under the model alone; only_base:
    under the base alone. low, high: Newcombe's interval for pairs, robust to shared base requests.
    bootstrap_low, bootstrap_high: percentiles of a paired bootstrap over base requests.
    p_mcnemar: exact McNemar test, two-sided. p: the same where no base request is shared, else the exact sign-flip
    test over base requests (`sign_flip`). p_holm: p after Holm's correction over all comparisons of the board that
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
        """What p is of: "mcnemar", or "sign_flip" where base requests are shared."""
        return "mcnemar" if self.clusters == self.n else "sign_flip"


def paired_difference(model: Events, base: Events, clusters: Clusters | None = None) -> PairedDifference | None:
    """The difference of two rates on the same items; None where they share no item with a known outcome."""
    shared = [key for key in model if key in base]
    known = [key for key in shared if model[key] is not None and base[key] is not None]
    if not known:
        return None
    table = Counter((bool(model[key]), bool(base[key])) for key in known)
    both, only_model, only_base, neither = (
        table[cell] for cell in ((True, True), (True, False), (False, True), (False, False))
    )
    n = len(known)
    model_events, base_events = ({key: int(bool(events[key])) for key in known} for events in (model, base))
    changes, sizes = totals({key: model_events[key] - base_events[key] for key in known}, clusters)
    model_sums, _ = totals(model_events, clusters)
    base_sums, _ = totals(base_events, clusters)
    single = len(sizes) == n
    p_mcnemar = sign_flip(np.repeat([1.0], only_model + only_base), only_model - only_base)
    low, high = (
        newcombe(both, only_model, only_base, neither) if single else clustered_newcombe(model_sums, base_sums, sizes)
    )
    bootstrap_low, bootstrap_high = bootstrap(changes, sizes)
    smallest = smallest_difference(n, len(sizes))
    detectable = detectable_difference(n, (only_model + only_base) / n, design_effect(changes, sizes))
    return PairedDifference(
        n=n,
        rate=(both + only_model) / n,
        base_rate=(both + only_base) / n,
        only_model=only_model,
        only_base=only_base,
        difference=(only_model - only_base) / n,
        low=low,
        high=high,
        p=p_mcnemar if single else sign_flip(np.abs(changes[changes != 0]), float(changes.sum())),
        p_mcnemar=p_mcnemar,
        bootstrap_low=bootstrap_low,
        bootstrap_high=bootstrap_high,
        clusters=len(sizes),
        smallest=smallest,
        detectable=None if smallest is None or detectable is None else max(detectable, smallest),
        unmatched_model=len(model) - len(shared),
        unmatched_base=len(base) - len(shared),
        undecided=len(shared) - n,
    )


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


def bootstrap(changes: Floats, sizes: Floats) -> tuple[float, float]:
    """95% percentile interval of the mean change, base requests drawn with replacement (fixed seed).

    changes, sizes: (clusters,), by base request the sum of its answers' changes, and their number. Base requests with
    the same change and size are alike, so that how many of each kind are drawn is one multinomial draw: exact, and
    fast for any number of answers.
    """
    kinds, counts = np.unique(np.stack([changes, sizes]), axis=1, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(sizes), counts / counts.sum(), size=RESAMPLES)
    means = (drawn @ kinds[0]) / (drawn @ kinds[1])
    low, high = np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def design_effect(changes: Floats, sizes: Floats) -> float:
    """How much more a mean change varies than if answers that share a base request were independent; at least 1.

    changes, sizes: (clusters,), as in `bootstrap`. The variance between clusters (linearised ratio estimator) over
    that of as many independent answers, as in `rates.effective_n`; where all agree, clusters count as alike (our
    convention).
    """
    n, count = float(sizes.sum()), len(sizes)
    if count == n or count == 1:
        return n / count
    mean = float(changes.sum()) / n
    between = count / (count - 1) * float(((changes - mean * sizes) ** 2).sum()) / n**2
    alone = max(float(np.abs(changes).sum()) / n - mean**2, 0.0) / n  # never above the true one: changes may cancel
    return max(between / alone, 1.0) if alone > 0 else float((sizes**2).sum()) / n


def smallest_difference(n: int, clusters: int) -> float | None:
    """The least difference that the exact test can call significant at n answers; None where no difference can be."""
    needed = math.ceil(math.log(ALPHA / 2) / math.log(0.5) + 1e-12)  # changes, all in one direction
    return needed / n if clusters >= needed else None


def detectable_difference(n: int, discordant: float, design: float = 1.0) -> float | None:
    """The true difference that McNemar's test at 0.05 finds with a chance of POWER at n answers; None where none is.

    discordant: share of answers that changed in either direction, as observed; a difference needs at least as
    many. design: the design effect of shared base requests. R. J. Connor, Biometrics 43 (1987) 207-211.
    """
    z_alpha, z_power = float(stats.norm.ppf(1 - ALPHA / 2)), float(stats.norm.ppf(POWER))

    def short_by(difference: float) -> float:
        changed = max(discordant, difference)
        return (
            difference * math.sqrt(n / design)
            - z_alpha * math.sqrt(changed)
            - z_power * math.sqrt(changed - difference**2)
        )

    return float(optimize.brentq(short_by, 1e-12, 1.0)) if short_by(1.0) >= 0 else None


def holm(p_values: Sequence[float]) -> list[float]:
    """p values after Holm's step-down correction for their number, in the same order.

    S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, p_values[index] * (len(p_values) - rank))
        corrected[index] = min(1.0, highest)
    return corrected
