"""The one way to print a figure: rates, intervals, differences, p values, costs; the same in every output.

Rates are printed in percent and differences in percentage points, both with one decimal; the minus sign is the
hyphen, which every terminal, file encoding and spreadsheet knows. Functions that take a rate as a number want 0 to 1.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Sequence

from vlmguard_plugin.statistics.levels import ALPHA, POWER
from vlmguard_plugin.statistics.rates import wilson

if TYPE_CHECKING:
    from vlmguard_plugin.leaderboard.board import LengthChange
    from vlmguard_plugin.runs.answers import HostFigure
    from vlmguard_plugin.runs.check_costs import CheckCostsOf
    from vlmguard_plugin.runs.gate_counts import GateCounts
    from vlmguard_plugin.statistics.differences import PairedDifference
    from vlmguard_plugin.statistics.rates import Rate

MANNERS_IN_WORDS = {"other_language": "another language", "hedging": "hedging", "on_task": "on task"}
"""By name, what is told of answers beside their labels (`leaderboard.side_effects`)."""
NONE = "-"
"""What stands in a cell that has no figure."""
LEAST_P = 0.001
"""A smaller p is printed as smaller than this."""
POWER_IN_WORDS = f"{POWER * 5:.0f} times in 5"
JUDGED_BY_RULES = "Judged by rules that read no content: an answered request is not yet a harmful answer."


def percent(rate: float | None) -> str:
    """A rate (0 to 1) in percent with one decimal, without the sign: "62.0"; NONE for none."""
    return NONE if rate is None else f"{100 * rate:.1f}"


def points(difference: float) -> str:
    """A difference of rates (-1 to 1) in points with one decimal and its sign: "-2.5"."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}"  # + 0.0: no minus before a nought


def interval(low: float | None, high: float | None, signed: bool = False) -> str:
    """The interval of a rate in percent, "[52.2, 70.9]"; signed: of a difference in points, "[-1.0, +6.1]"."""
    if low is None or high is None:
        return ""
    return f"[{points(low)}, {points(high)}]" if signed else f"[{percent(low)}, {percent(high)}]"


def rate_text(rate: Rate) -> str:
    """A rate with its interval: "62.0% [52.2, 70.9]"; "withheld" where too many answers are unknown or unread."""
    if rate.withheld:
        return f"withheld: {rate.unparsed} of {rate.n} answers can't be read" if rate.unparsed else "withheld"
    return f"{percent(rate.value)}% {interval(rate.low, rate.high)}" if rate.n else "none judged"


def check_lines(costs: CheckCostsOf | None) -> tuple[str, ...]:
    """What a guard model beside the subject has cost in all; nothing without one."""
    if costs is None:
        return ()
    amounts = [f"{costs['calls'] or 0:,.0f} checks by its guard model", f"{costs['seconds'] or 0:.3g} s in them"]
    amounts += [] if costs["tokens"] is None else [f"{costs['tokens']:,.0f} tokens of its own"]
    return tuple(amounts)


def gate_lines(counts: GateCounts | None, answers: int) -> tuple[str, ...]:
    """How often a gate fired: "gate fired: 66.7% [48.8, 80.8] of 30 harmful", and the same of other kinds of requests.

    With Wilson's 95% intervals; empty for no counts. answers: all there are; said where not so many were counted.
    """
    if not counts:
        return ()
    lines = [
        f"gate fired: {percent(fired / decided)}% {interval(*wilson(fired, decided))} of {decided:,} {kind}"
        for kind, (fired, decided) in counts.items()
    ]
    counted = sum(decided for _, decided in counts.values())
    return (*lines, *([f"gate counted on {counted:,} of {answers:,} answers"] if counted != answers else []))


def gate_cells(counts: GateCounts | None, answers: int) -> tuple[str, ...]:
    """`gate_lines` in lines of a narrow column: "gate, of 30 harmful:", "66.7% [48.8, 80.8]"."""
    if not counts:
        return ()
    lines = [
        line
        for kind, (fired, decided) in counts.items()
        for line in (
            f"gate, of {decided:,} {kind}:",
            f"{percent(fired / decided)}% {interval(*wilson(fired, decided))}",
        )
    ]
    counted = sum(decided for _, decided in counts.values())
    return (*lines, *([f"{counted:,} of {answers:,} counted"] if counted != answers else []))


def difference_text(difference: PairedDifference, unit: str = "") -> str:
    """A difference with its interval: "-2.5 [-10.4, +5.1]"; with a unit "-2.5 points [-10.4, +5.1]"."""
    size = points(difference.difference)
    return f"{size}{unit and ' ' + unit} {interval(difference.low, difference.high, signed=True)}"


def p_number(p: float) -> str:
    """A p value under a heading that says so, with two digits: "0.012", "< 0.001"."""
    if p < LEAST_P:
        return f"< {LEAST_P}"
    rounded = f"{p:.2g}"
    # so that a reader sees on which side of the level it lies
    return rounded if (float(rounded) < ALPHA) == (p < ALPHA) else f"{p:.4g}"


def p_text(p: float) -> str:
    """A p value with its name: "p = 0.012", "p < 0.001"."""
    return f"p {p_number(p)}" if p < LEAST_P else f"p = {p_number(p)}"


def paired_test(difference: PairedDifference) -> str:
    """The paired test in a sentence: its name, p, the correction and the number of pairs."""
    over = f"over {plural(difference.clusters, 'base request')}"
    name = {"mcnemar": "exact McNemar test", "sign_flip": f"sign-flip test {over}", "t": f"t test {over}"}[
        difference.test
    ]
    if difference.lopsided:
        name = f"test against lopsided changes {over}"
    corrected = " after Holm's correction" if difference.p_holm is not None else ""
    return f"{name} on {plural(difference.n, 'pair')} of answers, {p_text(difference.p_corrected)}{corrected}"


def length_text(change: LengthChange) -> str:
    """For example "x0.92 [0.85, 0.99]"."""
    ends = "" if change.low is None or change.high is None else f" [{change.low:.2f}, {change.high:.2f}]"
    return f"x{change.ratio:.2f}{ends}"


def not_scored_text(figure: HostFigure) -> str:
    """A set without a rate, in a sentence: why, and what the host itself says of it."""
    own = ", ".join(f"{name} {value:.6g}" for name, value in figure.metrics.items())
    said = f"the host's own figures ({figure.file.name}): {own}" if own else "the host left no figure of its own"
    return f"{figure.model} on {figure.dataset}: {figure.reason}; {said}"


def number(value: float) -> str:
    """Three digits, or all before the decimal point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def plural(count: int, what: str) -> str:
    """For example "1 item", "2 items"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def setting_text(value: Any) -> str:
    """A setting as text: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def shortened(text: str, length: int) -> str:
    """Text of at most that many characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def judged_by(judge: str) -> str:
    """Who judged the safety sets, in a sentence. judge: printable already."""
    return JUDGED_BY_RULES if judge == "rules" else f"Safety sets judged by {judge}."
