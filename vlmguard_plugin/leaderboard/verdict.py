"""What a leaderboard found, in words: which guards lower attack success, at what loss, which do harm, what is open."""

from __future__ import annotations

from dataclasses import dataclass

from vlmguard_plugin.leaderboard.board import MEASURES, Board, Overall
from vlmguard_plugin.statistics.rates import PairedDifference, Rate

WORSE = {"attack_success": 1, "over_refusal": 1, "degeneration": 1, "accuracy": -1}
"""The sign of a difference that is a change for the worse."""
TOGETHER = "all data sets together"
MANY = 4
"""More data sets than this are counted, not named, where nothing changed."""
LOSSES = ("over_refusal", "degeneration", "accuracy")
"""What a guard may cost beside time."""


@dataclass(frozen=True)
class Compared:
    """One measure of a guarded model on one data set, beside its base."""

    measure: str
    dataset: str
    rate: Rate
    base: Rate
    difference: PairedDifference

    @property
    def what(self) -> str:
        return f"{MEASURES[self.measure]} on {self.dataset}"

    @property
    def worse(self) -> bool:
        """Significantly worse than the base."""
        return self.difference.significant and self.difference.difference * WORSE[self.measure] > 0

    @property
    def better(self) -> bool:
        """Significantly better than the base."""
        return self.difference.significant and self.difference.difference * WORSE[self.measure] < 0


@dataclass(frozen=True)
class Verdict:
    """What is known of one guarded model. compared: all its comparisons by data set, and those over all data sets
    together that are significant. alone: measures without an item in common with
    the base. withheld: rates of which too much is unknown. notes: differing items, runs that are not whole."""

    model: str
    base: str
    compared: tuple[Compared, ...]
    alone: tuple[str, ...]
    withheld: tuple[str, ...]
    notes: tuple[str, ...]
    overall: Overall
    base_overall: Overall

    @property
    def lowers(self) -> list[Compared]:
        """Where attack success fell significantly."""
        return [one for one in self.compared if one.measure == "attack_success" and one.better]

    @property
    def harms(self) -> list[Compared]:
        """What got significantly worse."""
        return [one for one in self.compared if one.worse]


def verdicts(board: Board) -> list[Verdict]:
    """One verdict a guarded model, in the board's order."""
    overall = {one.model: one for one in board.overall}
    found = []
    for model in board.models:
        base = board.bases.get(model)
        if base is None:
            continue
        compared, alone, withheld, notes = [], [], [], []
        for block in board.blocks:
            mine, other = block.entry(model), block.entry(base)
            if mine is None or other is None:
                continue
            for name in MEASURES:
                if name not in mine.rates:
                    continue
                difference = mine.differences.get(name)
                what = f"{MEASURES[name]} on {block.dataset}"
                if mine.rates[name].withheld or (name in other.rates and other.rates[name].withheld):
                    withheld.append(what)
                elif difference is None:
                    alone.append(what)
                else:
                    compared.append(Compared(name, block.dataset, mine.rates[name], other.rates[name], difference))
            apart = max((one.unmatched_model + one.unmatched_base for one in mine.differences.values()), default=0)
            if apart:
                notes.append(
                    f"{block.dataset} is compared on the items that both were asked; {apart} answers stand alone"
                )
            notes += [
                f"{run.model} on {block.dataset}: {problem}"
                for run in (mine.run, other.run)
                for problem in run.problems
            ]
        mine, other = overall[model], overall[base]
        if mine.datasets > 1:
            together = [
                Compared(name, TOGETHER, mine.rates[name], other.rates[name], mine.differences[name])
                for name in MEASURES
                if name in mine.differences and mine.differences[name].significant
            ]
            compared += together
        found.append(
            Verdict(
                model, base, tuple(compared), tuple(alone), tuple(withheld), tuple(dict.fromkeys(notes)),
                mine, other,
            )
        )  # fmt: skip
    return found


def finding(board: Board) -> str:
    """The verdict: a headline, then for each guarded model what changed, at what loss, and what can't be said.

    One line each; a line that begins with "Warning" tells of something that got significantly worse. Significant is
    a p below 0.05 after Holm's correction over all guards and data sets that measure the same.
    """
    if not board.models:
        return "No answers yet: no run has left predictions."
    if not board.bases:
        return f"No guarded model to compare: {', '.join(board.models)} stand(s) alone."
    found = verdicts(board)
    return "\n".join([*headline(found), *(line for one in found for line in lines_for(one))])


def headline(found: list[Verdict]) -> list[str]:
    """Which guards help, which do harm, and of which nothing can be said."""
    free = [one.model for one in found if one.lowers and not one.harms]
    dear = [one.model for one in found if one.lowers and one.harms]
    harm = [one.model for one in found if one.harms and not one.lowers]
    unclear = [one.model for one in found if not one.lowers and not one.harms]
    parts = [
        ("Lower attack success significantly, and nothing got significantly worse", free),
        ("Lower attack success significantly, but at a significant loss", dear),
        ("Do harm and lower attack success nowhere significantly", harm),
        ("No significant change that counts", unclear),
    ]
    return [f"{words}: {', '.join(models)}." for words, models in parts if models]


def lines_for(one: Verdict) -> list[str]:
    """The sentences on one guarded model, and its warning if it needs one."""
    changed = [change(each) for each in one.compared if each.difference.significant]
    same: dict[str, list[str]] = {}  # data sets without a significant difference, by measure
    for each in one.compared:
        if not each.difference.significant:
            same.setdefault(MEASURES[each.measure], []).append(each.dataset)
    clauses = list(changed)
    if same:
        listed = "; ".join(f"{measure} on {named(datasets)}" for measure, datasets in same.items())
        clauses.append(f"no significant difference in {listed}")
    if one.alone:
        clauses.append(f"not comparable, as no item was judged for both: {', '.join(one.alone)}")
    if one.withheld:
        clauses.append(f"withheld, as too many answers are unknown: {', '.join(one.withheld)}")
    if not clauses:
        return [f"With {one.model} there is no data set in common with {one.base}, so nothing can be compared."]
    lines = [f"With {one.model}, compared with {one.base}: {'; '.join(clauses)}.", *loss(one), *undecided(one)]
    if one.notes:
        lines.append(f"Mind of {one.model}: {'; '.join(one.notes)}.")
    if one.harms:
        lines.append(
            f"Warning: {one.model} is significantly worse than {one.base} in {', '.join(each.what for each in one.harms)}."
        )
    return lines


def loss(one: Verdict) -> list[str]:
    """What a guard that lowers attack success costs, over all data sets, significant or not."""
    if not one.lowers:
        return []
    known = [
        f"{MEASURES[name]} {points(one.overall.differences[name])}"
        for name in LOSSES
        if name in one.overall.differences
    ]
    unknown = [MEASURES[name] for name in LOSSES if name not in one.overall.differences]
    if unknown:
        known.append(f"nothing is known of {' and '.join(unknown)}, as no common answers measure it")
    if one.overall.seconds and one.base_overall.seconds:
        known.append(f"{one.overall.seconds / one.base_overall.seconds:.2g} times the seconds per answer")
    return [f"The price of {one.model} over all data sets: {'; '.join(known)}."]


def undecided(one: Verdict) -> list[str]:
    """What this n can't say: how large a difference may be that was not found, by measure."""
    sizes: dict[str, list[float | None]] = {}
    for each in one.compared:
        if not each.difference.significant:
            sizes.setdefault(MEASURES[each.measure], []).append(each.difference.detectable)
    if not sizes:
        return []
    parts = []
    for measure, found in sizes.items():
        known = [100 * size for size in found if size is not None]
        told = (
            f"{min(known):.0f} to {max(known):.0f} points"
            if known and f"{min(known):.0f}" != f"{max(known):.0f}"
            else f"{known[0]:.0f} points"
            if known
            else ""
        )
        blind = (
            f"any difference on {len(found) - len(known)} of {len(found)} data sets" if len(known) < len(found) else ""
        )
        parts.append(f"{measure}: {' and '.join(filter(None, (told and f'differences below {told}', blind)))}")
    return [
        f"What this n can't say of {one.model} (a difference of that size is found 4 times in 5): {'; '.join(parts)}."
    ]


def named(datasets: list[str]) -> str:
    """Data sets by name, or their number where there are many."""
    return ", ".join(datasets) if len(datasets) <= MANY else f"{len(datasets)} data sets"


def change(one: Compared) -> str:
    """A significant difference in words."""
    verb = "rose" if one.difference.difference > 0 else "fell"
    return f"{one.what} {verb} from {shown(one.base)} to {shown(one.rate)} ({tested(one.difference)})"


def tested(difference: PairedDifference) -> str:
    """The paired test in words."""
    test = (
        "exact McNemar"
        if difference.clusters == difference.n
        else f"sign-flip test over {difference.clusters} base requests"
    )
    p = difference.p_corrected
    corrected = " after Holm" if difference.p_holm is not None else ""
    return f"{test} p {'< 0.0001' if p < 0.0001 else f'= {p:.2g}'}{corrected}, n = {difference.n} pairs"


def points(difference: PairedDifference) -> str:
    """A difference with its interval, in points: "+2.5 points [-1.0, +6.1]"."""
    return f"{100 * difference.difference:+.1f} points [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"


def shown(one: Rate) -> str:
    """A rate with its interval, in whole percent, for example "62% [52, 71]"."""
    return f"{100 * one.value:.0f}% [{100 * one.low:.0f}, {100 * one.high:.0f}]"
