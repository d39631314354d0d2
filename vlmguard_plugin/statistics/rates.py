"""Rates with their intervals, and paired differences. Needs scipy and statsmodels.

Rates are 0 to 1, differences -1 to 1, intervals 95%. Unknown answers are never counted as safe, right or wrong:
they leave the rate and stand beside it.

Answers are not independent where they share a base request (a request rephrased, beside several kinds of picture, in
several jailbreak templates, asked again with another seed). Everything here takes the base request of each answer as
its cluster: an answer's key maps to its cluster, by default to itself.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Hashable, Mapping, Sequence

import numpy as np
from scipy import optimize, signal, stats

ALPHA = 0.05
POWER = 0.8
"""Chance of finding a difference of the size called detectable (our convention, the usual one)."""
MAX_UNKNOWN = 0.1
"""Share of unknown answers above which a rate says too little about the set to be shown (our convention)."""
RESAMPLES = 9999

Events = Mapping[Hashable, "bool | None"]
"""By answer, whether the event happened; None is unknown."""
Clusters = Mapping[Hashable, Hashable]
"""By answer, its base request; an answer that is not there is a base request of its own."""


@dataclass(frozen=True)
class Rate:
    """k of n judged answers; unknown further answers could not be judged.

    low, high: Wilson's interval, robust to answers that share a base request (None where n = 0, or the rate is
    withheld). withheld: too many were unknown. clusters: base requests among the n. effective: the number of
    independent answers that would tell as much (n where no base request is shared).
    """

    k: int
    n: int
    unknown: int
    low: float | None
    high: float | None
    withheld: bool = False
    clusters: int = 0
    effective: float = 0.0

    @property
    def value(self) -> float | None:
        """k / n, or None where nothing was judged or the rate is withheld."""
        return self.k / self.n if self.n and not self.withheld else None

    @property
    def unknown_rate(self) -> float | None:
        """Share of all answers that could not be judged, or None where there are none."""
        total = self.n + self.unknown
        return self.unknown / total if total else None


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


def wilson(k: float, n: float) -> tuple[float, float]:
    """Wilson's 95% interval of k out of n; k and n need not be whole (an effective number of answers)."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(k, n, method="wilson")
    return float(low), float(high)


def rate(events: Events, max_unknown: float = 1.0, clusters: Clusters | None = None) -> Rate:
    """The rate of an event; withheld where more than max_unknown (0 to 1) of the answers are unknown."""
    known = {key: happened for key, happened in events.items() if happened is not None}
    k, n = sum(known.values()), len(known)
    withheld = len(events) - n > max_unknown * len(events)
    sums, sizes = totals(known, clusters)
    effective = effective_n(sums, sizes) if n else 0.0
    low, high = wilson(k / n * effective, effective) if n and not withheld else (None, None)
    return Rate(k, n, len(events) - n, low, high, withheld, len(sizes), effective)


def totals(values: Mapping[Hashable, float], clusters: Clusters | None) -> tuple[np.ndarray, np.ndarray]:
    """By cluster, the sum of its values and their number."""
    sums: Counter = Counter()
    sizes: Counter = Counter()
    for key, value in values.items():
        cluster = clusters.get(key, key) if clusters else key
        sums[cluster] += value
        sizes[cluster] += 1
    return np.array([sums[one] for one in sizes], dtype=float), np.array(list(sizes.values()), dtype=float)


def effective_n(sums: np.ndarray, sizes: np.ndarray) -> float:
    """The number of independent answers that tell as much about a rate as these clusters do.

    n over the design effect, which is the variance between clusters (linearised ratio estimator with its
    small-sample factor) over the binomial one, never below 1 nor above that of clusters whose answers are all
    alike; then times (z/t)^2, as the variance of few clusters is itself uncertain (E. L. Korn and B. I. Graubard,
    Survey Methodology 24 (1998) 193-201). Where all answers agree nothing can be learned about how alike a
    cluster's answers are: they are taken to be all alike (our convention).
    """
    n, count = float(sizes.sum()), len(sizes)
    if count == n:
        return n
    alike = float((sizes**2).sum()) / n
    share = float(sums.sum()) / n
    if count == 1:
        return 1.0
    if share in (0.0, 1.0):
        return n / alike
    between = count / (count - 1) * float(((sums - share * sizes) ** 2).sum()) / n**2
    design = min(max(between / (share * (1 - share) / n), 1.0), alike)
    few = (stats.norm.ppf(1 - ALPHA / 2) / stats.t.ppf(1 - ALPHA / 2, count - 1)) ** 2
    return n / design * few


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
    changes, sizes = totals({key: int(model[key]) - int(base[key]) for key in known}, clusters)
    mine, _ = totals({key: int(model[key]) for key in known}, clusters)
    other, _ = totals({key: int(base[key]) for key in known}, clusters)
    single = len(sizes) == n
    p_mcnemar = sign_flip(np.repeat([1.0], only_model + only_base), only_model - only_base)
    low, high = newcombe(both, only_model, only_base, neither) if single else clustered_newcombe(mine, other, sizes)
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


def sign_flip(sizes: np.ndarray, total: float) -> float:
    """Exact two-sided p of a sum of changes whose signs are as good as tossed coins if nothing has changed.

    sizes: each base request's change without its sign, in whole answers. total: the signed sum that was seen.
    With changes of one answer each this is the exact McNemar test; with more of them a base request's answers stay
    together, so that what they share is not taken for evidence (Fisher's randomisation test, by base request).
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
    """95% interval of first rate minus second rate on paired items.

    Method 10 of R. G. Newcombe, Statistics in Medicine 17 (1998) 2635-2650: the two Wilson intervals,
    squared and added, less what the pairing correlates (phi with its continuity correction).
    """
    n = both + only_first + only_second + neither
    first, second = both + only_first, both + only_second
    margins = first * (only_second + neither) * second * (only_first + neither)
    product = both * neither - only_first * only_second
    if product > 0:
        product = max(product - n / 2, 0)
    phi = product / math.sqrt(margins) if margins else 0.0
    return combined(first / n, second / n, wilson(first, n), wilson(second, n), phi)


def clustered_newcombe(first: np.ndarray, second: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """The same where base requests are shared: robust Wilson intervals, and the correlation between base requests.

    first, second: by base request, how often the event happened; sizes: of how many answers.
    """
    n = float(sizes.sum())
    shares = float(first.sum()) / n, float(second.sum()) / n
    intervals = [
        wilson(share * effective, effective)
        for share, effective in zip(shares, (effective_n(first, sizes), effective_n(second, sizes)))
    ]
    residuals = [sums - share * sizes for sums, share in zip((first, second), shares)]
    lengths = math.sqrt(float((residuals[0] ** 2).sum() * (residuals[1] ** 2).sum()))
    phi = float((residuals[0] * residuals[1]).sum()) / lengths if lengths > 1e-12 else 0.0
    return combined(*shares, *intervals, phi)


def combined(
    first: float, second: float, first_interval: Sequence[float], second_interval: Sequence[float], phi: float
) -> tuple[float, float]:
    """Two rates' intervals squared and added, less what correlation phi makes them share."""
    (first_low, first_high), (second_low, second_high) = first_interval, second_interval
    below, above = first - first_low, second_high - second
    down = math.sqrt(max(below**2 - 2 * phi * below * above + above**2, 0))
    below, above = second - second_low, first_high - first
    up = math.sqrt(max(above**2 - 2 * phi * above * below + below**2, 0))
    return max(first - second - down, -1.0), min(first - second + up, 1.0)


def bootstrap(changes: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """95% percentile interval of the mean change, base requests drawn with replacement (fixed seed).

    Base requests with the same change and size are alike, so that how many of each kind are drawn is one
    multinomial draw: exact, and fast for any number of answers.
    """
    kinds, counts = np.unique(np.stack([changes, sizes]), axis=1, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(sizes), counts / counts.sum(), size=RESAMPLES)
    means = (drawn @ kinds[0]) / (drawn @ kinds[1])
    low, high = np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def design_effect(changes: np.ndarray, sizes: np.ndarray) -> float:
    """How much more a mean change varies than if answers that share a base request were independent; at least 1."""
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
    z_alpha, z_power = stats.norm.ppf(1 - ALPHA / 2), stats.norm.ppf(POWER)

    def short_by(difference: float) -> float:
        share = max(discordant, difference)
        return (
            difference * math.sqrt(n / design) - z_alpha * math.sqrt(share) - z_power * math.sqrt(share - difference**2)
        )

    return float(optimize.brentq(short_by, 1e-12, 1.0)) if short_by(1.0) >= 0 else None


def holm(p_values: Sequence[float]) -> list[float]:
    """p values after Holm's step-down correction for their number."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []
