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

from vlmguard_plugin.statistics.levels import ALPHA, MAX_UNPARSED, RESAMPLES
from vlmguard_plugin.statistics.measures import Event, Part

Events = Mapping[Any, "Event | None"]
"""By answer, whether the event happened, how far (0 to 1), or its Part in a rate of sums; None is unknown."""
Clusters = Mapping[Any, Hashable]
"""By answer, its base request; an answer that is not there is a base request of its own."""
Floats = NDArray[np.float64]


LEAST_DESIGN = 0.05
"""Scores between 0 and 1 vary less than a coin; answers are never worth more than 20 coins each (our convention)."""


@dataclass(frozen=True)
class Rate:
    """k of n judged answers; unknown further answers could not be judged.

    k: a sum of scores where answers are partly right; of F1 the rightly said yes. low, high: Wilson's interval, robust
    to answers that share a base request; of F1 a bootstrap's over base requests (None where n = 0, or the rate is
    withheld). withheld: too many were unknown, or unparsed. clusters: base requests among the n. effective: the number
    of independent answers that would tell as much (n where no base request is shared). unparsed: of the n, answers
    that named nothing, where that is why the rate is withheld. figure: the rate where it is not k / n (F1).
    """

    k: float
    n: int
    unknown: int
    low: float | None
    high: float | None
    withheld: bool = False
    clusters: int = 0
    effective: float = 0.0
    unparsed: int = 0
    figure: float | None = None

    @property
    def value(self) -> float | None:
        """The rate, 0 to 1; None where nothing was judged or it is withheld."""
        if self.withheld or not self.n:
            return None
        return self.k / self.n if self.figure is None else self.figure

    @property
    def unknown_rate(self) -> float | None:
        """Share of all answers that could not be judged, or None where there are none."""
        total = self.n + self.unknown
        return self.unknown / total if total else None

    def to_dict(self) -> dict[str, Any]:
        """All fields and the value, as plain values."""
        return {**asdict(self), "value": self.value}


@dataclass(frozen=True)
class Totals:
    """By base request: the sum of what its answers add above and below the line. binary: all answers count 1 or 0.

    sums, sizes: (clusters,). worth: (answers,), what each adds above the line, less what it adds below it.
    """

    sums: Floats
    sizes: Floats
    binary: bool
    worth: Floats

    @property
    def single(self) -> bool:
        """Whether no base request is shared."""
        return len(self.sizes) == len(self.worth)


def wilson(k: float, n: float) -> tuple[float, float]:
    """Wilson's 95% interval of k out of n, 0 to 1; k and n need not be whole (an effective number of answers).

    E. B. Wilson, Journal of the American Statistical Association 22 (1927) 209-212.
    """
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(k, n, method="wilson")
    return float(low), float(high)


def rate(events: Events, max_unknown: float = 1.0, clusters: Clusters | None = None, unparsed: int = 0) -> Rate:
    """The rate of an event; withheld where more than max_unknown (0 to 1) of the answers are unknown.

    unparsed: how many of the known answers nobody could read; above a share of MAX_UNPARSED the rate is withheld too.
    """
    known = {key: event for key, event in events.items() if event is not None}
    n = len(known)
    unreadable = too_unparsed(unparsed, n)
    withheld = too_unknown(events, max_unknown) or unreadable
    shown_unparsed = unparsed if unreadable else 0
    if not n:
        return Rate(0, 0, len(events), None, None, withheld)
    found = totals(known, clusters)
    effective = effective_n(found.sums, found.sizes, found.binary)
    above, below = float(found.sums.sum()), float(found.sizes.sum())
    counts = len(found.sizes), effective, shown_unparsed
    if isinstance(next(iter(known.values())), Part):
        hits = sum(event.part == 2 for event in known.values() if isinstance(event, Part))
        low, high = bootstrap(found.sums, found.sizes) if below and not withheld else (None, None)
        return Rate(hits, n, len(events) - n, low, high, withheld, *counts, above / below if below else 0.0)
    low, high = wilson(above / n * effective, effective) if not withheld else (None, None)
    return Rate(int(above) if above.is_integer() else above, n, len(events) - n, low, high, withheld, *counts)


def too_unknown(events: Events, max_unknown: float) -> bool:
    """Whether more than max_unknown (0 to 1) of the answers are unknown, so that their rate is withheld."""
    return list(events.values()).count(None) > max_unknown * len(events)


def too_unparsed(unparsed: int, n: int) -> bool:
    """Whether so many of n answers could not be read that their accuracy says more of the reading than of the model."""
    return unparsed > MAX_UNPARSED * n


def totals(values: Mapping[Any, Event | None], clusters: Clusters | None) -> Totals:
    """What each base request's answers add up to."""
    owners: list[Hashable] = list(map(clusters.get, values, values)) if clusters else list(values)
    places = {owner: place for place, owner in enumerate(dict.fromkeys(owners))}
    ids = np.fromiter(map(places.__getitem__, owners), dtype=np.int64, count=len(values))
    if isinstance(next(iter(values.values()), None), Part):
        parts = np.array([value if isinstance(value, Part) else (value, 1.0) for value in values.values()], dtype=float)
        above, below, binary = parts[:, 0], parts[:, 1], False
    else:
        above = np.fromiter(values.values(), dtype=float, count=len(values))
        below = np.ones(len(above))
        binary = bool(np.isin(above, (0.0, 1.0)).all())
    sums, sizes = (np.bincount(ids, each, minlength=len(places)) for each in (above, below))
    return Totals(sums.astype(float), sizes.astype(float), binary, above - below)


def robust_variance(residuals: Floats, sizes: Floats) -> float:
    """The variance of a ratio of sums between base requests, each residual over what its own weight takes from it.

    residuals, sizes: (clusters,), several of them: sums less the ratio times sizes. R. M. Bell and D. F. McCaffrey,
    Survey Methodology 28 (2002) 169-181 (CR2). With base requests of one size it is the usual factor c / (c - 1).
    """
    total = float(sizes.sum())
    return float((residuals**2 / np.maximum(1 - sizes / total, 1e-9)).sum()) / total**2


def degrees_of_freedom(sizes: Floats) -> float:
    """Of a variance between base requests: how many of one size would tell as much, less 1; at least 1."""
    return max(float(sizes.sum()) ** 2 / float((sizes**2).sum()) - 1, 1.0)


def effective_n(sums: Floats, sizes: Floats, binary: bool = True) -> float:
    """The number of independent answers that tell as much about a rate as these base requests do.

    sums, sizes: (clusters,), what each adds above and below the line; at least one. binary: answers count 1 or 0.

    n over the design effect, which is the variance between base requests (`robust_variance`) over the binomial one, at
    least 1 where answers count 1 or 0; times (z/t)^2, as the variance of few base requests is itself uncertain (E. L.
    Korn and B. I. Graubard, Survey Methodology 24 (1998) 193-201), with `degrees_of_freedom`. Of very unequal base
    requests the few large ones may happen to agree with the mean, so that answers that count 1 or 0 are worth no more
    than what they have in common says (`shared_design`); and never less than base requests whose answers are all alike.
    Where all answers agree nothing can be learned about how alike a base request's answers are: they are taken to be
    all alike (our convention).
    """
    n, count = float(sizes.sum()), len(sizes)
    if count == n and binary:
        return n
    if count == 1 or not n:
        return 1.0
    alike = float((sizes**2).sum()) / n
    mean = float(sums.sum()) / n
    if mean in (0.0, 1.0):
        return n / alike
    design = robust_variance(sums - mean * sizes, sizes) / (mean * (1 - mean) / n)
    design = min(max(design, 1.0 if binary or not design else LEAST_DESIGN), alike)
    worth = n / design * uncertain(degrees_of_freedom(sizes))
    if binary:
        worth = min(worth, n / shared_design(sums, sizes) * uncertain(2 * degrees_of_freedom(sizes)))
    return max(worth, n / alike * uncertain(degrees_of_freedom(sizes)))


def uncertain(freedom: float) -> float:
    """What is left of an effective number whose variance has so many degrees of freedom: (z/t)^2."""
    z, t = stats.norm.ppf(1 - ALPHA / 2), stats.t.ppf(1 - ALPHA / 2, freedom)
    return float(z / t) ** 2


def shared_design(sums: Floats, sizes: Floats) -> float:
    """The design effect of answers that agree within base requests as much as these do, at least 1.

    sums, sizes: (clusters,), answers that count 1 or 0, neither all. From the correlation within base requests, by what
    they differ from their own mean (analysis of variance; L. Kish, Survey Sampling, 1965). With base requests of one
    size it is (c - 1) / c of the one by `robust_variance`.
    """
    n, spare = float(sizes.sum()), float((sizes - 1).sum())
    mean = float(sums.sum()) / n
    within = float((sums * (sizes - sums) / sizes).sum()) / spare if spare else 0.0
    correlation = 1 - within / (mean * (1 - mean))
    return max(1 + correlation * (float((sizes**2).sum()) / n - 1), 1.0)


def bootstrap(sums: Floats, sizes: Floats) -> tuple[float, float]:
    """95% percentile interval of a ratio of sums, base requests drawn with replacement (fixed seed).

    sums, sizes: (clusters,), by base request what its answers add above and below the line. Base requests with the
    same two are alike, so that how many of each kind are drawn is one multinomial draw: exact, and fast for any number
    of answers.
    """
    kinds, counts = np.unique(np.stack([sums, sizes]), axis=1, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(sizes), counts / counts.sum(), size=RESAMPLES)
    below = drawn @ kinds[1]
    low, high = np.quantile((drawn @ kinds[0])[below > 0] / below[below > 0], [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)
