"""A linear discriminant of two classes of hidden states, with thresholds from states that it was not fitted on."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self

FOLDS = 5
LEAST_PAIRS = 3
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Discriminant:
    """weights: [R, d] for R layers. offsets: [R]. A score is the mean over layers of `weights . state - offset`."""

    weights: Tensor
    offsets: Tensor

    def scores(self, states: Tensor) -> Tensor:
        """Scores [...] of states [..., R, d]; above 0 is nearer to the first class."""
        weights, offsets = self.weights.to(states), self.offsets.to(states)
        along: Tensor = (states * weights).sum(dim=-1) - offsets
        return along.mean(dim=-1)


@dataclass(frozen=True)
class Gate:
    """Fires where the discriminant's score of the states after the layers `reads` exceeds the threshold.

    scores: [C, 2N], those that the threshold is chosen by; see `fit_gate`.
    """

    reads: tuple[int, ...]
    discriminant: Discriminant
    scores: Tensor
    threshold: float

    @classmethod
    def of(cls, fitted: Mapping[str, Tensor], reads: tuple[int, ...], rate: float) -> Self:
        """With the threshold of `threshold_for` at this share (0 to 1) of the second class, but 0 where that is lower.

        fitted: what `fit_gate` gives. Below 0 a state is nearer to the second class; where the classes lie far apart,
        the share alone would lead there, and what is of neither class would fire.
        """
        discriminant, scores = Discriminant(fitted["weights"], fitted["offsets"]), fitted["scores"]
        return cls(reads, discriminant, scores, max(0.0, threshold_for(scores, rate)))

    def rates(self, conditions: Sequence[str]) -> dict[str, Any]:
        """The threshold, and what it does to the scores by condition.

        harmful_fired and harmless_fired: shares above it. harmless_at_most: upper end of Clopper and Pearson's
        one-sided 95% interval of the latter; where the threshold is one of the scores, or 0, it holds for requests
        exchangeable with the anchors, whatever the scores' distribution, as far as the gate in use scores them as those
        did that gave the scores, each fitted on four fifths of the pairs. area_under_curve: without a threshold.
        """
        from scipy.stats import beta

        by_condition = {}
        for condition, (harmful, harmless) in zip(conditions, zip(*self.scores.chunk(2, dim=1))):
            fired, wrongly = (int((side > self.threshold).sum()) for side in (harmful, harmless))
            count = len(harmless)
            by_condition[condition] = {
                "harmful_fired": fired / count,
                "harmless_fired": wrongly / count,
                "harmless_at_most": float(beta.ppf(CONFIDENCE, wrongly + 1, count - wrongly)) if wrongly < count else 1,
                "area_under_curve": area_under_curve(harmful, harmless),
            }
        return {"threshold": self.threshold, "out_of_fold": by_condition}

    def fires(self, last: Mapping[int, Tensor]) -> Tensor:
        """bool [rows], from the last prompt tokens' states [rows, d] by layer."""
        return self.discriminant.scores(torch.stack([last[layer] for layer in self.reads], dim=1)) > self.threshold

    def margins(self, states: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """As `RepresentationGuard.gate_margins`."""
        reads = list(self.reads)
        scores = {name: self.discriminant.scores(own[:, reads]) - self.threshold for name, own in states.items()}
        return {f"layers {', '.join(map(str, reads))}": scores}


def check_pairs(anchors: Anchors) -> None:
    """ValueError for anchors that a gate can't be fitted on.

    These are fewer pairs than LEAST_PAIRS, and a request that stands in several of them: what is said of the states
    that a gate was not fitted on would be said of some that it was, and the bound counts each request as another one.
    Letter case, spaces and forms of one character (Unicode's NFKC) make no other request.
    """
    count = len(anchors.pairs)
    if count < LEAST_PAIRS:
        raise ValueError(
            f"a gate can't be fitted on {count} anchor pairs; give at least {LEAST_PAIRS}, and 100 are usual"
        )
    requests = anchors.harmful + anchors.harmless
    said = [" ".join(unicodedata.normalize("NFKC", request).casefold().split()) for request in requests]
    (same, times), *_ = Counter(said).most_common(1)
    if times > 1:
        forms = [request[:60] for request, own in zip(requests, said) if own == same]
        other = next((f" (also as {form!r})" for form in forms if form != forms[0]), "")
        raise ValueError(
            f"a gate can't be fitted on anchors that hold {forms[0]!r} {times} times{other}, since its threshold "
            "is taken from requests that it was not fitted on; give each request once"
        )


def fit_gate(states: Tensor, shrinkage: float) -> dict[str, Tensor]:
    """Of states [C, 2N, R, d] under C conditions, N of the first class before N of the second, pair by pair.

    Returns a discriminant's weights [R, d] and offsets [R], and as scores [C, 2N] each state's by one that was fitted
    without its pair (FOLDS folds of neighbouring numbers apart, fewer for fewer pairs); float32. The anchors are ones
    that `check_pairs` lets pass.
    """
    pairs = states.shape[1] // 2
    scores = torch.empty(states.shape[:2])
    folds = min(FOLDS, pairs)
    fold = (torch.arange(pairs) % folds).repeat(2)
    for number in range(folds):
        held = fold == number
        scores[:, held] = _discriminant(states[:, ~held], shrinkage).scores(states[:, held].double()).float()
    whole = _discriminant(states, shrinkage)
    return {"weights": whole.weights, "offsets": whole.offsets, "scores": scores}


def _discriminant(states: Tensor, shrinkage: float) -> Discriminant:
    """The pooled within-class covariance S is shrunk to `(1 - shrinkage) S + shrinkage tr(S)/d I`.

    Each layer's weights are scaled so that the within-class deviation along them is 1; its offset is half-way between
    the classes' means. ValueError where no state differs from another of its class.
    """
    weights, offsets = [], []
    for layer in range(states.shape[2]):
        classes = [of_class.flatten(0, 1) for of_class in states[:, :, layer].double().chunk(2, dim=1)]
        means = [of_class.mean(dim=0) for of_class in classes]
        centred = torch.cat([of_class - mean for of_class, mean in zip(classes, means)])
        covariance = centred.T @ centred / (len(centred) - 2)
        if not bool(covariance.any()):
            raise ValueError(
                "a gate can't be fitted: the harmful anchors all give the model the same hidden states, and so do the "
                "harmless ones; give requests that differ"
            )
        width = len(covariance)
        shrunk = (1 - shrinkage) * covariance + shrinkage * covariance.trace() / width * torch.eye(width).to(covariance)
        weight = torch.linalg.solve(shrunk, means[0] - means[1])
        weight = weight / (weight @ covariance @ weight).sqrt().clamp_min(torch.finfo(weight.dtype).tiny)
        weights.append(weight)
        offsets.append(weight @ (means[0] + means[1]) / 2)
    return Discriminant(torch.stack(weights).float(), torch.stack(offsets).float())


def threshold_for(scores: Tensor, rate: float) -> float:
    """The lowest threshold that at most this share (0 to 1) of the second class exceeds, in every condition.

    scores: [C, 2N], the second class's behind.
    """
    second = scores.chunk(2, dim=1)[1]
    allowed = math.floor(rate * second.shape[1] + 1e-9)
    return float(second.sort(dim=1, descending=True).values[:, allowed].max())


def area_under_curve(harmful: Tensor, harmless: Tensor) -> float:
    """Probability that a score of the first class [N] exceeds one of the second [M], a tie counted half."""
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(harmful.numpy(), harmless.numpy()).statistic) / (len(harmful) * len(harmless))
