"""Where everything stands in the page's charts: the scatter of safety against utility, and curves over one setting.

Only numbers are worked out here; templates/charts.html draws them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from vlmguard_plugin.leaderboard.board import MEASURES, Board
from vlmguard_plugin.leaderboard.outputs.wording import interval, percent, plain, printable, shortened, written
from vlmguard_plugin.runs.facts import RunFacts
from vlmguard_plugin.statistics.rates import Rate


def ticks(low: float, high: float) -> list[float]:
    """Five or so round values that span low to high."""
    span = max(high - low, 1e-9)
    rough = span / 5
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(count * step, 10) for count in range(first, max(last, first + 1) + 1)]


LEFT, RIGHT, TOP, BOTTOM, WIDE, HIGH = 62, 16, 14, 54, 900, 500
FRAME = {"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM, "wide": WIDE, "high": HIGH}
"""The scatter's margins and size in its own units."""
PLACES = (
    (9, -8, "start"), (9, 20, "start"), (-9, -8, "end"), (-9, 20, "end"),
    (12, 4, "start"), (-12, 4, "end"), (0, -13, "middle"), (0, 23, "middle"),
)  # fmt: skip
"""Where a point's label may stand: x, y from the point, and its anchor."""
LETTER = 7.4
"""Width of one, about."""


@dataclass(frozen=True)
class Axis:
    """One choice for an axis: better is always up or right. ticks: (position, text). points: by model, position of
    value, low and high, and the value in words; None where the model has none."""

    name: str
    ticks: list[tuple[float, str]]
    points: list[tuple[float, float, float, str] | None]


@dataclass(frozen=True)
class Scatter:
    """labels: by choice of safety, choice of utility and model: index into PLACES, -1 for a hidden label."""

    models: list[str]
    safety: list[Axis]
    utility: list[Axis]
    labels: list[list[list[int]]]


def scatter(board: Board) -> Scatter | None:
    """Safety against utility; None where no model has both."""
    models = list(board.models)
    places = [("all data sets", {one.model: one.rates for one in board.overall})]
    places += [(block.dataset, {entry.model: entry.rates for entry in block.entries}) for block in board.blocks]
    if len(places) == 2:
        places = places[:1]

    def axes(measure: str, what: str, turned: bool, start: float, end: float) -> list[Axis]:
        found = []
        for place, rates in places:
            mine = [rates.get(model, {}).get(measure) for model in models]
            if any(rate is not None and rate.value is not None for rate in mine):
                found.append(axis(f"{what}, {place}", mine, turned, start, end))
        return found

    safety = axes("attack_success", "100 − attack success", True, HIGH - BOTTOM, TOP)
    utility = axes("accuracy", "accuracy", False, LEFT, WIDE - RIGHT)
    utility += axes("over_refusal", "100 − over-refusal", True, LEFT, WIDE - RIGHT)
    if not safety or not utility:
        return None
    names = [shortened(model, 26) for model in models]
    return Scatter(models, safety, utility, [[labels(names, x.points, y.points) for x in utility] for y in safety])


def axis(name: str, rates: Sequence[Rate | None], turned: bool, start: float, end: float) -> Axis:
    """The rates, in percent (100 less them if turned), on a line from start to end."""
    values = [None if rate is None or rate.value is None else in_percent(rate, turned) for rate in rates]
    known = [value for value in values if value]
    marked = ticks(max(min(low for _, low, _ in known) - 1, 0), min(max(high for _, _, high in known) + 1, 100))

    def scale(value: float) -> float:
        return round(start + (value - marked[0]) / (marked[-1] - marked[0]) * (end - start), 1)

    points = [
        None if value is None else (*map(scale, value), "{:.1f}% [{:.1f}, {:.1f}]".format(*value)) for value in values
    ]
    return Axis(printable(name), [(scale(tick), f"{tick:g}") for tick in marked], points)


def in_percent(rate: Rate, turned: bool) -> tuple[float, float, float]:
    """Value, low and high; of 100 less the rate if turned."""
    if turned:
        return 100 - 100 * rate.value, 100 - 100 * rate.high, 100 - 100 * rate.low
    return 100 * rate.value, 100 * rate.low, 100 * rate.high


def labels(names: Sequence[str], xs: Sequence, ys: Sequence) -> list[int]:
    """For each point the place of its label that covers fewest whiskers, -1 where all cover a point or a label."""
    spots = [(x[0], y[0]) if x and y else None for x, y in zip(xs, ys)]
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in filter(None, spots)]
    both = [(x, y) for x, y in zip(xs, ys) if x and y]
    whiskers = [(x[1], y[0] - 1, x[2], y[0] + 1) for x, y in both] + [(x[0] - 1, y[2], x[0] + 1, y[1]) for x, y in both]
    found = []
    for name, spot in zip(names, spots):
        free = []
        for place, box in enumerate(label_box(spot, place, name) for place in (PLACES if spot else ())):
            inside = box[0] > LEFT and box[2] < WIDE and box[1] > 0 and box[3] < HIGH - BOTTOM
            if inside and not covered(box, taken):
                free.append((covered(box, whiskers), place, box))
        _, place, box = min(free, default=(0, -1, None))
        taken += [box] if box else []
        found.append(place)
    return found


def covered(box: tuple[float, float, float, float], others: Sequence[tuple[float, float, float, float]]) -> int:
    """How many of the others a box (left, top, right, bottom) overlaps."""
    left, top, right, bottom = box
    return sum(left < one[2] and one[0] < right and top < one[3] and one[1] < bottom for one in others)


def label_box(spot: tuple[float, float], place: tuple[int, int, str], name: str) -> tuple[float, float, float, float]:
    """About the room that a label takes: left, top, right, bottom."""
    right, down, anchor = place
    left = spot[0] + right - {"start": 0, "middle": 0.5, "end": 1}[anchor] * LETTER * len(name)
    return left, spot[1] + down - 11, left + LETTER * len(name), spot[1] + down + 4


@dataclass(frozen=True)
class Panel:
    """One measure along a curve. points: x, y, y of low and high, model, words. base: y and words, or None."""

    place: str
    measure: str
    ticks: list[tuple[float, str]]
    points: list[tuple[float, float, float, float, str, str]]
    base: tuple[float, str] | None


@dataclass(frozen=True)
class Curve:
    """Runs that differ in one setting. xs: position and value of each. fixed: the other settings. panels: over all data
    sets, then of each."""

    guard: str
    checkpoint: str
    setting: str
    fixed: dict[str, Any]
    xs: list[tuple[float, str]]
    models: list[str]
    overall: list[Panel]
    panels: list[Panel]


PANEL_LEFT, PANEL_RIGHT, PANEL_TOP, PANEL_BOTTOM, PANEL_WIDE, PANEL_HIGH = 40, 14, 12, 38, 340, 220
SMALL = {"left": PANEL_LEFT, "right": PANEL_RIGHT, "bottom": PANEL_BOTTOM, "wide": PANEL_WIDE, "high": PANEL_HIGH}
"""A curve's margins and size."""


def curves(board: Board) -> list[Curve]:
    """Groups of at least three models whose facts agree in everything but one setting of the guard."""
    groups: dict[tuple, dict[str, tuple[Any, str]]] = {}
    common: dict[tuple, tuple[RunFacts, dict[str, Any]]] = {}
    for model in board.models:
        facts = [run.facts[-1] for run in board.runs() if run.model == model and run.facts]
        if not facts or not facts[-1].guard or len({written(identity(one)) for one in facts}) > 1:
            continue
        settings = dict(facts[-1].settings)
        for name in settings:
            fixed = {other: value for other, value in settings.items() if other != name}
            key = (name, written({**identity(facts[-1]), "settings": fixed}))
            groups.setdefault(key, {}).setdefault(written(settings[name]), (settings[name], model))
            common[key] = facts[-1], fixed
    found = []
    for (name, _), values in (item for item in groups.items() if len(item[1]) >= 3):
        facts, fixed = common[name, _]
        found.append(curve(board, facts, name, fixed, list(values.values())))
    return found


def identity(facts: RunFacts) -> dict[str, Any]:
    """What must agree along a curve, its settings among it."""
    names = ("host", "checkpoint", "fingerprint", "guard", "settings", "generation")
    return {name: getattr(facts, name) for name in names}


def curve(board: Board, facts: RunFacts, setting: str, fixed: dict[str, Any], values: list[tuple[Any, str]]) -> Curve:
    """Numbers stand where their value is, anything else in order beside each other."""
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value, _ in values)
    values = sorted(values, key=lambda pair: pair[0] if numeric else (len(plain(pair[0])), plain(pair[0])))
    models = [model for _, model in values]
    at = [float(value) for value, _ in values] if numeric else [float(place) for place in range(len(values))]
    width = PANEL_WIDE - PANEL_LEFT - PANEL_RIGHT - 24
    xs = [round(PANEL_LEFT + 12 + (x - at[0]) / (at[-1] - at[0]) * width, 1) for x in at]
    base = next((board.bases[model] for model in models if model in board.bases), "")

    def panels(place: str, rates: Mapping[str, Mapping[str, Rate]]) -> list[Panel]:
        lines = {name: [rate_of(rates, model, name) for model in models] for name in MEASURES}
        return [
            panel(place, name, line, rate_of(rates, base, name), xs, models)
            for name, line in lines.items()
            if len(line) - line.count(None) >= 3
        ]

    each = [
        one
        for block in board.blocks
        for one in panels(block.dataset, {entry.model: entry.rates for entry in block.entries})
    ]
    return Curve(
        facts.guard or "",
        facts.checkpoint or facts.model,
        setting,
        fixed,
        [(x, plain(value)) for x, (value, _) in zip(xs, values)],
        models,
        panels("all data sets", {one.model: one.rates for one in board.overall}),
        each if len(board.blocks) > 1 else [],
    )


def rate_of(rates: Mapping[str, Mapping[str, Rate]], model: str, measure: str) -> Rate | None:
    """A model's rate, None where there is none or it is withheld."""
    one = rates.get(model, {}).get(measure)
    return one if one is not None and one.value is not None else None


def panel(
    place: str,
    measure: str,
    rates: Sequence[Rate | None],
    base: Rate | None,
    xs: Sequence[float],
    models: Sequence[str],
) -> Panel:
    """One measure's line, in percent."""
    known = [one for one in [*rates, base] if one is not None]
    marked = ticks(max(100 * min(one.low for one in known) - 1, 0), min(100 * max(one.high for one in known) + 1, 100))
    low, high = marked[0], marked[-1]
    bottom = PANEL_HIGH - PANEL_BOTTOM

    def scale(share: float) -> float:
        return round(bottom - (100 * share - low) / (high - low) * (bottom - PANEL_TOP), 1)

    return Panel(
        place,
        measure,
        [(scale(tick / 100), f"{tick:g}") for tick in marked],
        [
            (
                x,
                *map(scale, (one.value, one.low, one.high)),
                model,
                f"{percent(one.value)}% {interval(one.low, one.high)}",
            )
            for x, one, model in zip(xs, rates, models)
            if one is not None
        ],
        (scale(base.value), f"{percent(base.value)}%") if base is not None else None,
    )
