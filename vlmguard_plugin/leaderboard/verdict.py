"""What is known of each guarded model: where it differs from its base, for better or worse, and what can't be compared.

`outputs.sentences` puts it into words.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlmguard_plugin.leaderboard.board import Board, Entry, Overall
from vlmguard_plugin.statistics.differences import PairedDifference
from vlmguard_plugin.statistics.measures import MEASURES, change_for_the_worse
from vlmguard_plugin.statistics.rates import Rate

TOGETHER = "all data sets together"


@dataclass(frozen=True)
class MeasuredChange:
    """One measure of a guarded model on one data set, beside its base."""

    measure: str
    dataset: str
    rate: Rate
    base: Rate
    difference: PairedDifference

    @property
    def what(self) -> str:
        """Measure and data set in words."""
        return f"{MEASURES[self.measure]} on {self.dataset}"

    @property
    def worse(self) -> bool:
        """Significantly worse than the base."""
        return self.difference.significant and change_for_the_worse(self.measure, self.difference.difference)

    @property
    def better(self) -> bool:
        """Significantly better than the base."""
        return self.difference.significant and change_for_the_worse(self.measure, -self.difference.difference)


@dataclass(frozen=True)
class Problem:
    """What a reader of a run's figures has to know. model: whose run, a guarded one's or its base's."""

    model: str
    dataset: str
    words: str


@dataclass(frozen=True)
class Verdict:
    """What is known of one guarded model.

    changes: all its comparisons by data set, and those over all data sets together that are significant.
    no_common_items: measures and data sets without an item that was judged for both. withheld: those of whose answers
    too many are unknown. left_out: by data set, answers to items that the other of the two was not asked. problems:
    of its runs and its base's.
    """

    model: str
    base: str
    changes: tuple[MeasuredChange, ...]
    no_common_items: tuple[str, ...]
    withheld: tuple[str, ...]
    left_out: dict[str, int]
    problems: tuple[Problem, ...]
    overall: Overall
    base_overall: Overall

    @property
    def lowers(self) -> list[MeasuredChange]:
        """Where attack success fell significantly."""
        return [change for change in self.changes if change.measure == "attack_success" and change.better]

    @property
    def harms(self) -> list[MeasuredChange]:
        """What got significantly worse."""
        return [change for change in self.changes if change.worse]


def verdicts(board: Board) -> list[Verdict]:
    """One verdict a guarded model, in the board's order."""
    return [verdict_on(model, board.bases[model], board) for model in board.models if model in board.bases]


def verdict_on(model: str, base: str, board: Board) -> Verdict:
    """What the board says of a guarded model beside its base."""
    changes: list[MeasuredChange] = []
    no_common_items: list[str] = []
    withheld: list[str] = []
    left_out: dict[str, int] = {}
    problems: list[Problem] = []
    for block in board.blocks:
        entry, base_entry = block.entry(model), block.entry(base)
        if entry is None or base_entry is None:
            continue
        for name in (name for name in MEASURES if name in entry.rates):
            what = f"{MEASURES[name]} on {block.dataset}"
            base_rate = base_entry.rates.get(name)
            if entry.rates[name].withheld or (base_rate is not None and base_rate.withheld):
                withheld.append(what)
            elif name not in entry.differences or base_rate is None:
                no_common_items.append(what)
            else:
                change = MeasuredChange(name, block.dataset, entry.rates[name], base_rate, entry.differences[name])
                changes.append(change)
        alone = answers_left_out(entry)
        if alone:
            left_out[block.dataset] = alone
        problems += [
            Problem(origin.model, block.dataset, words)
            for origin in (entry.origin, base_entry.origin)
            for words in origin.problems
        ]
    by_model = {overall.model: overall for overall in board.overall}
    overall, base_overall = by_model[model], by_model[base]
    if overall.datasets > 1:
        changes += [
            MeasuredChange(name, TOGETHER, overall.rates[name], base_overall.rates[name], overall.differences[name])
            for name in MEASURES
            if name in overall.differences and overall.differences[name].significant
        ]
    return Verdict(
        model=model,
        base=base,
        changes=tuple(changes),
        no_common_items=tuple(no_common_items),
        withheld=tuple(withheld),
        left_out=left_out,
        problems=tuple(dict.fromkeys(problems)),
        overall=overall,
        base_overall=base_overall,
    )


def answers_left_out(entry: Entry) -> int:
    """Answers of a model and its base to items that the other was not asked, in the measure that has most of them."""
    return max(
        (difference.unmatched_model + difference.unmatched_base for difference in entry.differences.values()), default=0
    )
