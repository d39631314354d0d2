"""The leaderboard as data: for each data set, each model's rates and what sets it apart from its unguarded base.

`build` makes a board; the modules of `outputs` render one. A board knows neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable

from vlmguard_plugin.runs.answers import HostFigure, Predictions, Skipped, Unfinished
from vlmguard_plugin.runs.check_costs import CheckCostsOf
from vlmguard_plugin.runs.facts import RunFacts
from vlmguard_plugin.runs.gate_counts import GateCounts
from vlmguard_plugin.statistics.differences import PairedDifference
from vlmguard_plugin.statistics.levels import MAX_UNKNOWN
from vlmguard_plugin.statistics.measures import MEASURES
from vlmguard_plugin.statistics.rates import Rate


@dataclass(frozen=True)
class Origin:
    """Where one model's answers to one data set come from: how they were got.

    host, host_version: through which framework. folders: output folders, one a repetition (a seed each, say).
    files: of predictions. facts: of each repetition; empty where nobody wrote them. judge: name and version.
    answers: all there are. seconds, tokens: per answer, mean over all sessions that were measured; None where none
    was. problems: what a reader of the figures has to know. scoring: how a utility set's answers were scored.
    gates: how often the guard's gate fired, over all sessions; None where it has none, or nobody counted. checks: what
    a guard model beside the subject cost, over all sessions; None without one.
    """

    model: str
    dataset: str
    host: str
    host_version: str
    folders: tuple[Path, ...]
    files: tuple[Path, ...]
    facts: tuple[RunFacts, ...]
    judge: str
    answers: int
    seconds: float | None
    tokens: float | None
    problems: tuple[str, ...]
    scoring: str = ""
    gates: GateCounts | None = None
    checks: CheckCostsOf | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing is known against it."""
        return not self.problems


@dataclass(frozen=True)
class Entry:
    """One model on one data set, or a part of it. counts: answers by label. rates, differences (from the base): by
    measure. by_category: rates by measure and category, where there are several categories. seeds: by measure, the
    rate (0 to 1) in each repetition, where there are several. missing: items that another model was asked here and
    this one was not."""

    model: str
    counts: dict[str, int]
    rates: dict[str, Rate]
    differences: dict[str, PairedDifference]
    origin: Origin
    by_category: dict[str, dict[str, Rate]] = field(default_factory=dict)
    seeds: dict[str, tuple[float, ...]] = field(default_factory=dict)
    missing: int = 0


@dataclass(frozen=True)
class Block:
    """One data set, or one picture condition or group of categories of it. kind: "safety", "mcq", "open", "task".

    whole: the data set it belongs to.
    """

    dataset: str
    kind: str
    entries: tuple[Entry, ...]
    whole: str = ""

    def entry(self, model: str) -> Entry | None:
        """A model's entry, or None where it was not run on this data set."""
        return next((entry for entry in self.entries if entry.model == model), None)


@dataclass(frozen=True)
class Overall:
    """One model over all data sets, each answer counting once. datasets: how many. seconds, tokens: per answer.

    unread: data sets that its accuracy leaves out, since too many answers there could not be read. gates: as of an
    Origin, over all data sets, and so is checks. answers: all there are.
    """

    model: str
    datasets: int
    rates: dict[str, Rate]
    differences: dict[str, PairedDifference]
    seconds: float | None
    tokens: float | None
    unread: tuple[str, ...] = ()
    gates: GateCounts | None = None
    answers: int = 0
    checks: CheckCostsOf | None = None


@dataclass(frozen=True)
class InCondition:
    """One model on a request set in one condition. dataset: its name there. differences: by measure, from the same
    model in the reference condition, on the same requests; empty for the reference itself."""

    model: str
    dataset: str
    condition: str
    rates: dict[str, Rate]
    differences: dict[str, PairedDifference]


@dataclass(frozen=True)
class Conditions:
    """A request set in several conditions. name: the set's. reference: the condition that others are compared with."""

    name: str
    reference: str
    rows: tuple[InCondition, ...]


@dataclass(frozen=True)
class LengthChange:
    """How much longer answers are than the base's: the geometric mean of the ratios, with Student's t interval.

    ratio: 1 is as long. low, high: None with one base request alone. n: base requests, each counting once. p_holm: p
    after Holm's correction over the guarded models; None before.
    """

    ratio: float
    low: float | None
    high: float | None
    p: float
    n: int
    p_holm: float | None = None


@dataclass(frozen=True)
class SideEffects:
    """What else a guard changes in answers to harmless requests that neither model refused.

    answers: in common with the base. differences: by manner ("other_language", "hedging", "on_task"), from the base.
    """

    model: str
    base: str
    answers: int
    length: LengthChange
    differences: dict[str, PairedDifference]


@dataclass(frozen=True)
class Board:
    """Models on data sets. bases: the unguarded model of each guarded one. skipped: files that were left out.

    overall: by model, over all data sets. unfinished: runs without predictions. judge: who judged the safety sets.
    max_unknown: share of unknown answers above which a rate is withheld. predictions: what all of it was counted in,
    answers included. not_scored: sets without a rate, with the host's own figures; they are in no other figure.
    across: request sets in several conditions, text against image against attack. side_effects: of guarded models.
    """

    folders: tuple[Path, ...]
    models: tuple[str, ...]
    bases: dict[str, str]
    blocks: tuple[Block, ...]
    skipped: tuple[Skipped, ...]
    judge: str = "rules"
    max_unknown: float = MAX_UNKNOWN
    overall: tuple[Overall, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()
    predictions: tuple[Predictions, ...] = ()
    not_scored: tuple[HostFigure, ...] = ()
    across: tuple[Conditions, ...] = ()
    side_effects: tuple[SideEffects, ...] = ()

    def origins(self) -> list[Origin]:
        """Where all answers come from, by model and data set; each once, also where a data set has several blocks."""
        return list({id(entry.origin): entry.origin for block in self.blocks for entry in block.entries}.values())


def measures_of(entries: Iterable[Entry | Overall | InCondition]) -> list[str]:
    """The measures that any of several entries has a rate of, in the usual order."""
    measured = {name for entry in entries for name in entry.rates}
    return [name for name in MEASURES if name in measured]
