"""Rates with their 95% Wilson intervals, as numbers and as text.

statsmodels, which the intervals need, is imported at first use.
"""

from __future__ import annotations

from vlmguard_plugin.leaderboard.outputs.wording import interval, percent


def wilson_interval(k: int, n: int) -> tuple[float, float]:
    """The 95% interval of k of n, 0 to 1; ModuleNotFoundError says what is not installed."""
    from vlmguard_plugin.statistics.rates import wilson

    try:
        return wilson(k, n)
    except ModuleNotFoundError as error:
        message = f"intervals need {error.name}, which is not installed; pip install statsmodels"
        raise ModuleNotFoundError(message, name=error.name) from error


def rate_text(value: float, low: float, high: float) -> str:
    """A rate and its interval (0 to 1) in percent, under a heading that says so: "62.0 [52.2, 70.9]"."""
    return f"{percent(value)} {interval(low, high)}"
