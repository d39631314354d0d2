"""Rates with their intervals. Needs scipy and statsmodels.

Rates are 0 to 1, intervals 95%. Unknown answers are never counted as safe, right or wrong: they leave the rate and
stand beside it.

Answers are not independent where they share a base request (a request rephrased, beside several kinds of picture, in
several jailbreak templates, asked again with another seed). Everything here takes the base request of each answer as
its cluster: an answer's key maps to its cluster, by default to itself.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Hashable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vlmguard_plugin.statistics.levels import ALPHA

Events = Mapping[Any, "bool | None"]
"""By answer, whether the event happened; None is unknown."""
Clusters = Mapping[Any, Hashable]
"""By answer, its base request; an answer that is not there is a base request of its own."""
Floats = NDArray[np.float64]


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

    def to_dict(self) -> dict[str, Any]:
        """All fields and the value, as plain values."""
        return {**asdict(self), "value": self.value}


def wilson(k: float, n: float) -> tuple[float, float]:
    """Wilson's 95% interval of k out of n, 0 to 1; k and n need not be whole (an effective number of answers).

    E. B. Wilson, Journal of the American Statistical Association 22 (1927) 209-212.
    """
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(k, n, method="wilson")
    return float(low), float(high)


def rate(events: Events, max_unknown: float = 1.0, clusters: Clusters | None = None) -> Rate:
    """The rate of an event; withheld where more than max_unknown (0 to 1) of the answers are unknown."""
    known = {key: event for key, event in events.items() if event is not None}
    k, n = sum(known.values()), len(known)
    withheld = too_unknown(events, max_unknown)
    sums, sizes = totals(known, clusters)
    effective = effective_n(sums, sizes) if n else 0.0
    low, high = wilson(k / n * effective, effective) if n and not withheld else (None, None)
    return Rate(k, n, len(events) - n, low, high, withheld, len(sizes), effective)


def too_unknown(events: Events, max_unknown: float) -> bool:
    """Whether more than max_unknown (0 to 1) of the answers are unknown, so that their rate is withheld."""
    return list(events.values()).count(None) > max_unknown * len(events)


def totals(values: Mapping[Any, float], clusters: Clusters | None) -> tuple[Floats, Floats]:
    """The sum of each cluster's values and their number: two arrays (clusters,) in the same order."""
    sums: dict[Hashable, float] = {}
    sizes: dict[Hashable, float] = {}
    for key, value in values.items():
        cluster = clusters.get(key, key) if clusters else key
        sums[cluster] = sums.get(cluster, 0.0) + value
        sizes[cluster] = sizes.get(cluster, 0.0) + 1
    return np.array(list(sums.values()), dtype=float), np.array(list(sizes.values()), dtype=float)


def effective_n(sums: Floats, sizes: Floats) -> float:
    """The number of independent answers that tell as much about a rate as these clusters do.

    sums, sizes: (clusters,), how often the event happened in each and of how many answers; at least one cluster.

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
    mean = float(sums.sum()) / n
    if count == 1:
        return 1.0
    if mean in (0.0, 1.0):
        return n / alike
    between = count / (count - 1) * float(((sums - mean * sizes) ** 2).sum()) / n**2
    design = min(max(between / (mean * (1 - mean) / n), 1.0), alike)
    few = float(stats.norm.ppf(1 - ALPHA / 2) / stats.t.ppf(1 - ALPHA / 2, count - 1)) ** 2
    return n / design * few
