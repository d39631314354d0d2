"""The cells of the leaderboard's tables, as lines of plain text."""

from __future__ import annotations

import textwrap
from typing import Sequence, Union

from vlmguard_plugin.leaderboard.board import Entry, InCondition, Origin, Overall
from vlmguard_plugin.leaderboard.outputs.wording import (
    NONE,
    difference_text,
    p_text,
    percent,
    plural,
    rate_text,
)
from vlmguard_plugin.runs.facts import RunFacts
from vlmguard_plugin.statistics.differences import PairedDifference
from vlmguard_plugin.statistics.measures import MEASURES
from vlmguard_plugin.statistics.rates import Rate

MARK = 70

Lines = tuple[str, ...]
Measured = Union[Entry, Overall, InCondition]


def header(names: Sequence[str]) -> Lines:
    """The columns of a table of measures."""
    return ("model", *(MEASURES[name] for name in names))


def cost_lines(cost: Origin | Overall, base: Origin | Overall | None) -> Lines:
    """Seconds and tokens an answer, and how many times the base's; nothing where nobody measured."""
    costs = [
        (cost.seconds, base and base.seconds, "{:.3g} s"),
        (cost.tokens, base and base.tokens, "{:.1f} tokens"),
    ]
    return tuple(
        words.format(amount) + (f" (x{amount / base_amount:.2f})" if base_amount else "")
        for amount, base_amount, words in costs
        if amount is not None
    )


def marks(entry: Entry) -> Lines:
    """What a reader of an entry's figures has to know."""
    problems = [f"! {textwrap.shorten(problem, MARK, placeholder=' …')}" for problem in entry.origin.problems]
    missing = f"! was not asked {plural(entry.missing, 'item')} that others were"
    return (*problems, *([missing] if entry.missing else []))


def origin_lines(origin: Origin) -> Lines:
    """Host, judge, repetitions, and what the facts of the run say."""
    files = len(origin.files)
    times = f"{files} repetitions" if files > 1 else ""
    seeds = dict.fromkeys(str(facts.seed) for facts in origin.facts if facts.seed is not None)
    first = [f"{origin.host} {origin.host_version}".strip(), times, f"seeds {', '.join(seeds)}" if seeds else ""]
    ways = dict.fromkeys(line for facts in origin.facts for line in guard_lines(facts))
    judge = [f"judged by {origin.judge}"] if origin.judge else []
    judge += [f"scored by {origin.scoring}"] if origin.scoring else []
    return (", ".join(filter(None, first)), *judge, *(ways or ("no facts of the run were written down",)))


def guard_lines(facts: RunFacts) -> Lines:
    """Checkpoint and guard with settings and fingerprints."""
    settings = ", ".join(f"{name}={value}" for name, value in facts.settings.items())
    guard = f"{facts.guard}({settings}) {facts.guard_fingerprint or ''}".strip() if facts.guard else "no guard"
    checkpoint = f"{facts.checkpoint} {facts.fingerprint}".strip()
    return (checkpoint, guard) if checkpoint else (guard,)


def measure_lines(entry: Measured, name: str, base: Measured | None, guarded: bool) -> Lines:
    """A rate, its n and its difference from the base. guarded: it has a base, whether or not that was run here."""
    if name not in entry.rates:
        return (NONE,)
    rate = entry.rates[name]
    unknown = f", unknown {percent(rate.unknown_rate)}%" if rate.unknown else ""
    effective = f", n eff. {rate.effective:.1f}" if rate.clusters < rate.n else ""
    lines = [rate_text(rate), f"n {rate.n}{effective}{unknown}"]
    if effective:
        lines.append(f"of {plural(rate.clusters, 'request')}")
    if isinstance(entry, Entry):
        if name == "accuracy" and entry.counts.get("unparsed"):
            lines.append(f"unparsed {entry.counts['unparsed']}")
        if name in entry.seeds:
            rates = ", ".join(map(percent, entry.seeds[name]))
            lines.append(f"mean over {len(entry.seeds[name])} seeds: {rates}")
    if name in entry.differences:
        lines += difference_lines(entry.differences[name])
    elif guarded:
        lines.append(why_not_compared(rate, base.rates.get(name) if base else None))
    return tuple(lines)


def why_not_compared(rate: Rate, base: Rate | None) -> str:
    """Why there is no difference from the base."""
    if base is None:
        return "its base has none"
    return "not compared" if rate.withheld or base.withheld else "no item in common"


def difference_lines(difference: PairedDifference) -> list[str]:
    """For example "-42.0 [-53.1, -28.9]", "p < 0.001 Holm", "+3/-45 of 100", "detectable 12.3": points and interval;
    test; discordant pairs; the detectable difference; and what is not in common."""
    test = p_text(difference.p_corrected) + (" Holm" if difference.p_holm is not None else "")
    lines = [
        difference_text(difference),
        test,
        f"+{difference.only_model}/-{difference.only_base} of {difference.n}",
    ]
    if difference.lopsided and difference.p_sign_flip is not None:
        lines.append(f"lopsided changes: sign-flip alone {p_text(difference.p_sign_flip)}, not to be trusted")
    if difference.test != "t":
        found = "none" if difference.detectable is None else percent(difference.detectable)
        lines.append(f"detectable {found}")
    if difference.unmatched_model or difference.unmatched_base:
        common = f"on {plural(difference.n + difference.undecided, 'item')} in common"
        lines.append(f"{common}; {difference.unmatched_model} only here, {difference.unmatched_base} only there")
    return lines
