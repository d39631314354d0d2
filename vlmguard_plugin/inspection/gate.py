"""How well harmful and harmless requests part by layer and condition, and what a guard's gate makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.conditions import CONDITIONS, OBJECT, check_conditions, record_conditions
from vlmguard_plugin.guards.core.discriminant import LEAST_PAIRS, area_under_curve, check_pairs, fit_gate, threshold_for
from vlmguard_plugin.guards.core.representation import RepresentationGuard
from vlmguard_plugin.inspection.rates import wilson_interval
from vlmguard_plugin.inspection.shift import model_facts, some_pairs
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor

SHRINKAGE = 0.5
"""Of a probe's within-class covariance, as in conditional_refusal."""


def measure_gate(
    subject: Subject,
    anchors: Anchors,
    guard: Guard | None = None,
    conditions: str | Sequence[str] = CONDITIONS,
    rate: float = 0.01,
    seed: int = 0,
    pairs: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Last-prompt-token states of the anchors under conditions, told apart by plain probes and by a guard's gate.

    guard: fitted on this model; its gates are put to the states of the unguarded model. conditions and seed: as
        `anchor_queries`; text is always among them. rate: share of harmless anchors (0 to 0.5) that may fire under
        every condition at a probe's threshold. pairs: number of anchor pairs, spread evenly, None for all; at least 3.

    Returns JSON: model, anchors, conditions, rate, fitted_on_these (whether the guard's fit saw these anchors or a
    part of them, one of two sets or calibration's half, so that its figures are no held-out ones), and two lists whose
    entries have name, threshold and by_condition:
        probes: one a decoder layer, a discriminant of all conditions together; its scores are out of fold, by pair.
        gates: the guard's, by what they read; threshold is 0, since what is scored is the margin beyond the gate's own.
    by_condition: {condition: {"area_under_curve": 0 to 1, "harmful_fired": rate, "harmless_fired": rate}}, a rate
    having k, n, rate, low and high (95% Wilson interval).

    Raises ValueError for conditions, rates or numbers of pairs that can't be, and for a guard without a gate;
    GuardNotFitted and WrongModel as the guard does.
    """
    names = check_conditions(conditions)
    names = names if "text" in names else ("text", *names)
    if OBJECT in names:
        raise ValueError(f"conditions is {','.join(names)!r}; leave {OBJECT} out, which has pairs of its own")
    if not 0 <= rate <= 0.5:
        raise ValueError(f"rate is {rate!r}; give the share of harmless anchors that may fire, 0 to 0.5")
    if guard is not None:
        guard.check_fits(subject)
    gated = gated_parts(guard)
    check_pairs(anchors)
    chosen = some_pairs(anchors, pairs, LEAST_PAIRS)
    wilson_interval(1, 2)  # without statsmodels, fail before the measurement
    states = dict(record_conditions(subject, chosen, names, seed, "inspect", progress))
    together = torch.stack([states[name] for name in names])
    return {
        "model": model_facts(subject),
        "anchors": {"pairs": len(chosen.pairs), "sha256": chosen.sha256},
        "conditions": list(names),
        "rate": rate,
        "fitted_on_these": guard is not None and (seen_by(guard, anchors) or seen_by(guard, chosen)),
        "probes": [probe(layer, together[:, :, layer : layer + 1], names, rate) for layer in range(subject.num_layers)],
        "gates": [
            entry(f"{part.name}: {name}", 0.0, margins)
            for part in gated
            for name, margins in part.gate_margins(states).items()
        ],
    }


def seen_by(guard: Guard, anchors: Anchors) -> bool:
    """Whether a guard was fitted on neighbouring pairs of these anchors, or on calibration's half of such."""
    count, sha256 = guard.facts["anchors"]["pairs"], guard.facts["anchors"]["sha256"]
    for size in (count, 2 * count, 2 * count + 1):
        for first in range(len(anchors.pairs) - size + 1):
            run = Anchors(anchors.pairs[first : first + size])
            if (run if size == count else run.split(count)[0]).sha256 == sha256:
                return True
    return False


def gated_parts(guard: Guard | None) -> list[RepresentationGuard]:
    """The guards of a composition that have a gate; ValueError where a guard is given and none has."""
    if guard is None:
        return []
    parts = [part for part in guard.parts if isinstance(part, RepresentationGuard) and part.has_gate]
    if not parts:
        raise ValueError(f"guard {guard.name!r} has no gate to be looked at; give one that decides when to act")
    return parts


def probe(layer: int, states: Tensor, conditions: Sequence[str], rate: float) -> dict[str, Any]:
    """An entry for one decoder layer's states [C, 2N, 1, d]."""
    scores = fit_gate(states, SHRINKAGE)["scores"]
    return entry(f"layer {layer}", threshold_for(scores, rate), dict(zip(conditions, scores)))


def entry(name: str, threshold: float, scores: Mapping[str, Tensor]) -> dict[str, Any]:
    """One gate or probe. scores: [2N] by condition, the harmful anchors' first."""
    by_condition = {}
    for condition, of_condition in scores.items():
        harmful, harmless = of_condition.chunk(2)
        by_condition[condition] = {
            "area_under_curve": area_under_curve(harmful, harmless),
            "harmful_fired": fired(harmful, threshold),
            "harmless_fired": fired(harmless, threshold),
        }
    return {"name": name, "threshold": threshold, "by_condition": by_condition}


def fired(scores: Tensor, threshold: float) -> dict[str, Any]:
    """How many of these scores lie above a threshold, as a rate with its interval."""
    k, n = int((scores > threshold).sum()), len(scores)
    low, high = wilson_interval(k, n)
    return {"k": k, "n": n, "rate": k / n, "low": low, "high": high}
