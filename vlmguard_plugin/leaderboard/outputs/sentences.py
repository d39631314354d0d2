"""What a board found, in words: which guards lower attack success, at what cost, which do harm, what stays open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Sequence

from vlmguard_plugin.leaderboard.board import Board
from vlmguard_plugin.leaderboard.outputs.wording import (
    POWER_IN_WORDS,
    difference_text,
    listed,
    paired_test,
    percent,
    plural,
    rate_text,
)
from vlmguard_plugin.leaderboard.verdict import MeasuredChange, Verdict, verdicts
from vlmguard_plugin.statistics.measures import MEASURES

MANY = 4
"""More data sets than this are counted, not named, where nothing changed."""
COSTS = ("over_refusal", "degeneration", "accuracy", "f1")
"""What a guard may cost beside time."""

OUTCOMES = {
    (True, False): "Attack success is significantly lower, and nothing is significantly worse",
    (True, True): "Attack success is significantly lower, but something else is significantly worse",
    (False, True): "Attack success is not significantly lower anywhere, and something is significantly worse",
    (False, False): "Attack success is not significantly lower anywhere, and nothing is significantly worse",
}
"""By whether a guarded model lowers attack success, and whether it does harm, significantly."""
NOT_COMPARED = "Nothing could be compared with the unguarded model"


@dataclass(frozen=True)
class Finding:
    """headline: which guards help and which do harm, or why nothing can be said. by_model: the paragraphs on each
    guarded model; the last of a model may be its warning."""

    headline: tuple[str, ...]
    by_model: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """All of it, a paragraph a line."""
        return [*self.headline, *self.by_model]


def finding(board: Board) -> str:
    """The finding as text: the headline, then for each guarded model what changed, at what cost, and what stays open.

    One line each; a line that begins with "Warning" tells of something that got significantly worse. Significant is
    a p below 0.05 after Holm's correction over all guards and data sets that measure the same.
    """
    return "\n".join(finding_of(board).lines)


def finding_of(board: Board) -> Finding:
    """The finding, headline and models apart."""
    if not board.models:
        return Finding(("No answers yet: no run has left predictions.",))
    if not board.bases:
        return Finding(
            (
                "No guarded model is here together with its unguarded base, so there is nothing to compare. "
                f"The models here: {', '.join(board.models)}.",
            )
        )
    on_models = verdicts(board)
    return Finding(tuple(headline(on_models)), tuple(line for group in alike(on_models) for line in lines_on(*group)))


def alike(on_models: Sequence[Verdict]) -> list[list[Verdict]]:
    """Verdicts in groups: models of which nothing was found, and of which the very same is to be said, share one."""
    groups: dict[object, list[Verdict]] = {}
    for verdict in on_models:
        plain = outcome(verdict) == OUTCOMES[False, False] and not caution_line(verdict)
        unnamed = replace(verdict, model="")
        key = (verdict.base, *lines_on(unnamed)) if plain else (verdict.model,)
        groups.setdefault(key, []).append(verdict)
    return list(groups.values())


def headline(on_models: Sequence[Verdict]) -> list[str]:
    """Which guarded models help, which do harm, and of which neither can be said: a sentence each."""
    groups: dict[str, list[str]] = {}
    for verdict in on_models:
        groups.setdefault(outcome(verdict), []).append(verdict.model)
    return [f"{words}: {', '.join(groups[words])}." for words in (*OUTCOMES.values(), NOT_COMPARED) if words in groups]


def outcome(verdict: Verdict) -> str:
    """What the headline says of a guarded model."""
    return OUTCOMES[bool(verdict.lowers), bool(verdict.harms)] if verdict.changes else NOT_COMPARED


def lines_on(verdict: Verdict, *others: Verdict) -> list[str]:
    """The paragraphs on one guarded model, and its warning if it needs one. others: of which the same is to be said."""
    if others:
        verdict = replace(verdict, model=listed([verdict.model, *(other.model for other in others)]))
    if not (verdict.changes or verdict.no_common_items or verdict.withheld):
        return [f"{verdict.model} and {verdict.base} have no data set in common, so they can't be compared."]
    lines = [comparison_line(verdict), *cost_line(verdict), *open_line(verdict), *caution_line(verdict)]
    if verdict.harms:
        worse = ", ".join(change.what for change in verdict.harms)
        lines.append(f"Warning: {verdict.model} is significantly worse than {verdict.base} in {worse}.")
    return lines


def comparison_line(verdict: Verdict) -> str:
    """What changed significantly, what did not, and what could not be compared."""
    changed: list[str] = []
    unchanged: dict[str, list[str]] = {}  # data sets without a significant difference, by measure
    for change in verdict.changes:
        if change.difference.significant:
            changed.append(change_text(change))
        else:
            unchanged.setdefault(MEASURES[change.measure], []).append(change.dataset)
    where = "; ".join(f"{measure} on {named_or_counted(datasets)}" for measure, datasets in unchanged.items())
    sentences = {
        "": "; ".join(changed),
        "no significant difference was found in ": where,
        "not comparable, because no item was judged for both models: ": ", ".join(verdict.no_common_items),
        "withheld, because too many answers could not be judged or read: ": ", ".join(verdict.withheld),
    }
    first, *others = [f"{words}{what}." for words, what in sentences.items() if what]
    return " ".join(
        [f"{verdict.model} compared with {verdict.base}: {first}", *(line[0].upper() + line[1:] for line in others)]
    )


def change_text(change: MeasuredChange) -> str:
    """A significant difference in words."""
    verb = "rose" if change.difference.difference > 0 else "fell"
    rates = f"from {rate_text(change.base)} to {rate_text(change.rate)}"
    return f"{change.what} {verb} {rates} ({paired_test(change.difference)})"


def named_or_counted(datasets: Sequence[str]) -> str:
    """Data sets by name, or their number where there are many."""
    return listed(datasets) if len(datasets) <= MANY else plural(len(datasets), "data set")


def cost_line(verdict: Verdict) -> list[str]:
    """What a guard that lowers attack success costs, over all data sets, significant or not."""
    if not verdict.lowers:
        return []
    differences = verdict.overall.differences
    costs = [
        f"{MEASURES[name]} {difference_text(differences[name], 'points')}" for name in COSTS if name in differences
    ]
    seconds, base_seconds = verdict.overall.seconds, verdict.base_overall.seconds
    if seconds and base_seconds:
        costs.append(f"{seconds / base_seconds:.2f} times the seconds an answer")
    sentences = []
    if costs:
        sentences.append(f"What {verdict.model} costs over all data sets: {'; '.join(costs)}.")
    unknown = [MEASURES[name] for name in COSTS[:3] if name not in differences]
    if unknown:
        sentences.append(
            f"What {verdict.model} costs in {listed(unknown)} is not known: no answers of both models measure it."
        )
    return [" ".join(sentences)]


def open_line(verdict: Verdict) -> list[str]:
    """How large a difference may be that was not found, by measure, with this many answers."""
    sizes: dict[str, list[float | None]] = {}
    for change in verdict.changes:
        if not change.difference.significant and change.difference.test != "t":
            sizes.setdefault(MEASURES[change.measure], []).append(change.difference.detectable)
    if not sizes:
        return []
    found = {measure: of_sets for measure, of_sets in sizes.items() if any(size is not None for size in of_sets)}
    lost = [measure for measure in sizes if measure not in found]
    sentences = [f"{verdict.model} may have effects that are too small to show with this many answers."]
    if found:
        parts = "; ".join(f"{measure} {detectable_text(of_sets)}" for measure, of_sets in found.items())
        sentences.append(f"A true difference is found {POWER_IN_WORDS} from this size on: {parts}.")
    if lost:
        sentences.append(f"In {listed(lost)} there are too few answers to find any difference, however large.")
    return [" ".join(sentences)]


def detectable_text(sizes: Sequence[float | None]) -> str:
    """The differences (0 to 1) that can be found on several data sets, on one at least; None is one on which none can
    be."""
    known = sorted(size for size in sizes if size is not None)
    ends = list(dict.fromkeys(percent(size) for size in (known[0], known[-1])))
    blind = len(sizes) - len(known)
    except_on = f", but at no size on {blind} of {len(sizes)} data sets (too few answers)" if blind else ""
    return f"{' to '.join(ends)} points{except_on}"


def caution_line(verdict: Verdict) -> list[str]:
    """What else a reader of its figures has to know."""
    sentences = [
        f"On {dataset}, only the items that both {verdict.model} and {verdict.base} were asked are compared; "
        f"{plural(count, 'answer')} to other items {'is' if count == 1 else 'are'} left out."
        for dataset, count in verdict.left_out.items()
    ]
    sentences += [f"Note on the run of {each.model} on {each.dataset}: {each.words}." for each in verdict.problems]
    return [" ".join(sentences)] if sentences else []
