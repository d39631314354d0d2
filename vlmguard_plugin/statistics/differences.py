"""How two rates on the same items differ: interval, exact test, correction, and what the number of answers can show.

Differences are -1 to 1, intervals 95%; base requests are clusters, as in `rates`. Needs scipy and statsmodels.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Sequence

import numpy as np
from scipy import stats

from vlmguard_plugin.statistics.by_base_request import compared, lopsided_p, ratio
from vlmguard_plugin.statistics.levels import ALPHA
from vlmguard_plugin.statistics.power import detectable_difference, smallest_difference
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


@dataclass(frozen=True)
class PairedDifference:
    """One model's rate minus the base's, on the n answers that both have an outcome for.

    rate, base_rate: of these only. only_model: answers where the event happened under the model alone (whose score is
    higher there); only_base: under the base alone. low, high: Newcombe's interval for pairs, robust to shared base
    requests; where answers count otherwise than 1 or 0, Student's t over base requests.
    bootstrap_low, bootstrap_high: percentiles of a paired bootstrap over base requests.
    p_mcnemar: exact McNemar test, two-sided. p: the same where no base request is shared, else of the sign-flip test
    over base requests, made safe against lopsided changes (`lopsided_p`); Student's t where low and high are.
    p_sign_flip: of the exact sign-flip test alone, where base requests are shared. p_holm: p after Holm's correction
    over all comparisons of the board that measure the same; None before. clusters: base requests among the n. smallest:
    the least difference that this n could have called significant at all; detectable: the true difference that it finds
    with a chance of POWER; both None where there is none. unmatched_model, unmatched_base: answers to items that the
    other has not got. undecided: common answers that are unknown under either.
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
    own, of_base = (totals({key: events[key] for key in known}, clusters) for events in (model, base))
    only_model, only_base = discordant(own, of_base)
    p_mcnemar = sign_flip(np.repeat([1.0], only_model + only_base), only_model - only_base)
    found = PairedDifference(
        n=n,
        rate=ratio(own),
        base_rate=ratio(of_base),
        only_model=only_model,
        only_base=only_base,
        difference=(only_model - only_base) / n,
        low=-1.0,
        high=1.0,
        p=p_mcnemar,
        p_mcnemar=p_mcnemar,
        unmatched_model=len(model) - len(shared),
        unmatched_base=len(base) - len(shared),
        undecided=len(shared) - n,
        clusters=len(own.sizes),
    )
    if not (own.binary and of_base.binary):
        return replace(found, **compared(own, of_base)._asdict(), by_scores=True)
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
    return replace(
        found,
        low=low,
        high=high,
        p=p_mcnemar if flipped is None else max(flipped, lopsided_p(changes, sizes)),
        p_sign_flip=flipped,
        bootstrap_low=bootstrap_low,
        bootstrap_high=bootstrap_high,
        smallest=smallest,
        detectable=None if smallest is None or detectable is None else max(detectable, smallest),
    )


def discordant(own: Totals, of_base: Totals) -> tuple[int, int]:
    """How many answers count for more under the model, and how many under the base. Both of the same answers."""
    more = np.sign(own.worth - of_base.worth)
    return int((more > 0).sum()), int((more < 0).sum())


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
        chances = sum_of_both(chances, spread) if len(chances) > 1 else spread
    middle = len(chances) // 2
    far = np.abs(np.arange(len(chances)) - middle) >= abs(total)
    return float(min(max(chances[far].sum(), 0.0), 1.0))


def sum_of_both(chances: Floats, others: Floats) -> Floats:
    """The chances of the sum of two independent numbers, by those of each."""
    from scipy import signal  # loaded only where base requests are shared

    both: Floats = signal.convolve(chances, others)
    return both


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

    Our convention: Newcombe's rule, of which only the intervals and the correlation are made robust. His continuity
    correction becomes one for few base requests, which agree by chance (two of them always do, or not at all): of a
    correlation above 0 the share (f - 1) / (f + 1) counts, f = n^2 / sum(m^2) of base requests of m answers.
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
    if phi > 0:
        freedom = degrees_of_freedom(sizes)
        phi *= freedom / (freedom + 2)
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

    changes, sizes: (clusters,), as in `bootstrap`. The variance between clusters (`robust_variance`) over that of as
    many independent answers, as in `rates.effective_n`; where all agree, clusters count as alike (our convention).
    """
    n, count = float(sizes.sum()), len(sizes)
    if count == n or count == 1:
        return n / count
    mean = float(changes.sum()) / n
    between = robust_variance(changes - mean * sizes, sizes)
    alone = max(float(np.abs(changes).sum()) / n - mean**2, 0.0) / n  # never above the true one: changes may cancel
    return max(between / alone, 1.0) if alone > 0 else float((sizes**2).sum()) / n


def holm(p_values: Sequence[float]) -> list[float]:
    """p values after Holm's step-down correction for their number, in the same order.

    S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, p_values[index] * (len(p_values) - rank))
        corrected[index] = min(1.0, highest)
    return corrected
