"""Rates and differences as plain values, and the tables that are made of these alone."""

from __future__ import annotations

from typing import Any

from vlmguard_plugin.leaderboard.board import Conditions, SideEffects
from vlmguard_plugin.statistics.differences import PairedDifference
from vlmguard_plugin.statistics.rates import Rate


def rate_json(rate: Rate) -> dict[str, Any]:
    """A rate."""
    return {
        "value": rate.value,
        "low": rate.low,
        "high": rate.high,
        "k": rate.k,
        "n": rate.n,
        "unknown": rate.unknown,
        "unknown_rate": rate.unknown_rate,
        "withheld": rate.withheld,
        "unparsed": rate.unparsed,
        "clusters": rate.clusters,
        "effective_n": rate.effective,
    }


def difference_json(difference: PairedDifference) -> dict[str, Any]:
    """A paired difference from the base."""
    facts = {name: value for name, value in vars(difference).items() if name != "by_scores"}
    return facts | {"test": difference.test, "significant": difference.significant, "lopsided": difference.lopsided}


def conditions_json(conditions: Conditions) -> dict[str, Any]:
    """A request set in several conditions."""
    return {
        "name": conditions.name,
        "reference": conditions.reference,
        "rows": [
            {
                "model": row.model,
                "dataset": row.dataset,
                "condition": row.condition,
                "rates": {name: rate_json(rate) for name, rate in row.rates.items()},
                "differences": {name: difference_json(difference) for name, difference in row.differences.items()},
            }
            for row in conditions.rows
        ],
    }


def side_effects_json(effects: SideEffects) -> dict[str, Any]:
    """What else a guard changes."""
    differences = {name: difference_json(difference) for name, difference in effects.differences.items()}
    return vars(effects) | {"length": vars(effects.length), "differences": differences}
