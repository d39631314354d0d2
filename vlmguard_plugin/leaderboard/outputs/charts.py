"""Where everything stands in the page's charts: the scatter of safety against utility, and curves over one setting.

Only numbers are worked out here; templates/charts.html draws them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence

from vlmguard_plugin.leaderboard.board import Board
from vlmguard_plugin.leaderboard.outputs.escaping import printable
from vlmguard_plugin.leaderboard.outputs.wording import percent, rate_text, setting_text, shortened
from vlmguard_plugin.runs.facts import RunFacts
from vlmguard_plugin.statistics.measures import MEASURES
from vlmguard_plugin.statistics.rates import Rate

Span = tuple[float, float, float]
"""Value, low end and high end, or where these stand on an axis."""
Point = tuple[float, float, float, str]
"""A span on an axis, and the value in words."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
RatesByModel = Mapping[str, Mapping[str, Rate]]
"""Rates by model and measure."""
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
    points: list[Point | None]


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
    places = rates_by_place(board)
    if len(places) == 2:
        places = places[:1]

    def axes(measure: str, what: str, turned: bool, start: float, end: float) -> list[Axis]:
        measured = []
        for place, by_model in places:
            rates = [known_rate(by_model, model, measure) for model in models]
            if any(rate is not None for rate in rates):
                measured.append(axis(f"{what}, {place}", rates, turned, start, end))
        return measured

    safety = axes("attack_success", "100 - attack success", True, HIGH - BOTTOM, TOP)
    utility = axes("accuracy", "accuracy", False, LEFT, WIDE - RIGHT)
    utility += axes("over_refusal", "100 - over-refusal", True, LEFT, WIDE - RIGHT)
    if not safety or not utility:
        return None
    names = [shortened(model, 26) for model in models]
    return Scatter(models, safety, utility, [[labels(names, x.points, y.points) for x in utility] for y in safety])


def rates_by_place(board: Board) -> list[tuple[str, RatesByModel]]:
    """The rates of all data sets together, then of each block, by model and measure."""
    return [
        ("all data sets", {overall.model: overall.rates for overall in board.overall}),
        *((block.dataset, {entry.model: entry.rates for entry in block.entries}) for block in board.blocks),
    ]


def known_rate(by_model: RatesByModel, model: str, measure: str) -> Rate | None:
    """A model's rate, None where there is none or it is withheld."""
    rate = by_model.get(model, {}).get(measure)
    return rate if rate is not None and rate.value is not None else None


def axis(name: str, rates: Sequence[Rate | None], turned: bool, start: float, end: float) -> Axis:
    """The rates, in percent (100 less them if turned), on a line from start to end."""
    spans = [None if rate is None else in_percent(rate, turned) for rate in rates]
    marked, scale = scale_over([span for span in spans if span is not None], start, end)
    points = [
        None if span is None else (*scaled(span, scale), "{:.1f}% [{:.1f}, {:.1f}]".format(*span)) for span in spans
    ]
    return Axis(printable(name), [(scale(tick), f"{tick:g}") for tick in marked], points)


def scale_over(spans: Sequence[Span], start: float, end: float) -> tuple[list[float], Callable[[float], float]]:
    """Ticks that take in all spans, and where on a line from start (the first tick) to end a value stands."""
    marked = ticks(max(min(low for _, low, _ in spans) - 1, 0), min(max(high for _, _, high in spans) + 1, 100))

    def scale(value: float) -> float:
        return round(start + (value - marked[0]) / (marked[-1] - marked[0]) * (end - start), 1)

    return marked, scale


def scaled(span: Span, scale: Callable[[float], float]) -> Span:
    """Where a span stands."""
    value, low, high = span
    return scale(value), scale(low), scale(high)


def in_percent(rate: Rate, turned: bool = False) -> Span:
    """Value, low and high of a rate that is known; of 100 less the rate if turned."""
    value, low, high = (100 * (number or 0.0) for number in (rate.value, rate.low, rate.high))
    return (100 - value, 100 - high, 100 - low) if turned else (value, low, high)


def ticks(low: float, high: float) -> list[float]:
    """Five or so round values that span low to high."""
    span = max(high - low, 1e-9)
    rough = span / 5
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(count * step, 10) for count in range(first, max(last, first + 1) + 1)]


def labels(names: Sequence[str], xs: Sequence[Point | None], ys: Sequence[Point | None]) -> list[int]:
    """For each point the place of its label that covers fewest whiskers, -1 where all cover a point or a label."""
    spots = [(x[0], y[0]) if x and y else None for x, y in zip(xs, ys)]
    taken: list[Box] = [(x - 8, y - 8, x + 8, y + 8) for x, y in filter(None, spots)]
    both = [(x, y) for x, y in zip(xs, ys) if x and y]
    whiskers: list[Box] = [(x[1], y[0] - 1, x[2], y[0] + 1) for x, y in both]
    whiskers += [(x[0] - 1, y[2], x[0] + 1, y[1]) for x, y in both]
    chosen = []
    for name, spot in zip(names, spots):
        free: list[tuple[int, int, Box]] = []
        for place, offset in enumerate(PLACES if spot else ()):
            box = label_box(spot or (0, 0), offset, name)
            inside = box[0] > LEFT and box[2] < WIDE and box[1] > 0 and box[3] < HIGH - BOTTOM
            if inside and not covered(box, taken):
                free.append((covered(box, whiskers), place, box))
        if free:
            _, best, box = min(free)
            taken.append(box)
        chosen.append(best if free else -1)
    return chosen


def covered(box: Box, boxes: Sequence[Box]) -> int:
    """How many of the boxes a box overlaps."""
    left, top, right, bottom = box
    return sum(left < edge[2] and edge[0] < right and top < edge[3] and edge[1] < bottom for edge in boxes)


def label_box(spot: tuple[float, float], place: tuple[int, int, str], name: str) -> Box:
    """About the room that a label takes. spot: of the point. place: one of PLACES."""
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
    groups: dict[tuple[str, str], dict[str, tuple[Any, str]]] = {}
    common: dict[tuple[str, str], tuple[RunFacts, dict[str, Any]]] = {}
    for model in board.models:
        facts = [origin.facts[-1] for origin in board.origins() if origin.model == model and origin.facts]
        if not facts or not facts[-1].guard or len({canonical(identity(run)) for run in facts}) > 1:
            continue
        settings = dict(facts[-1].settings)
        for name, value in settings.items():
            fixed = {setting: its_value for setting, its_value in settings.items() if setting != name}
            key = (name, canonical({**identity(facts[-1]), "settings": fixed}))
            groups.setdefault(key, {}).setdefault(canonical(value), (value, model))
            common[key] = facts[-1], fixed
    return [
        curve(board, *common[key], key[0], list(values.values())) for key, values in groups.items() if len(values) >= 3
    ]


def identity(facts: RunFacts) -> dict[str, Any]:
    """What must agree along a curve, its settings among it."""
    names = ("host", "checkpoint", "fingerprint", "guard", "settings", "generation")
    return {name: getattr(facts, name) for name in names}


def canonical(value: Any) -> str:
    """The same text for the same plain value."""
    return json.dumps(value, sort_keys=True, default=str)


def curve(board: Board, facts: RunFacts, fixed: dict[str, Any], setting: str, values: list[tuple[Any, str]]) -> Curve:
    """One curve. values: the setting's value and the model, by point. fixed: the other settings.

    Numbers stand where their value is, anything else in order beside each other.
    """
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value, _ in values)
    if numeric:
        values = sorted(values, key=lambda pair: float(pair[0]))
    else:
        values = sorted(values, key=lambda pair: (len(setting_text(pair[0])), setting_text(pair[0])))
    models = [model for _, model in values]
    at = [float(value) for value, _ in values] if numeric else [float(place) for place in range(len(values))]
    width = PANEL_WIDE - PANEL_LEFT - PANEL_RIGHT - 24
    xs = [round(PANEL_LEFT + 12 + (x - at[0]) / (at[-1] - at[0]) * width, 1) for x in at]
    base = next((board.bases[model] for model in models if model in board.bases), "")

    def panels(place: str, by_model: RatesByModel) -> list[Panel]:
        lines = {name: [known_rate(by_model, model, name) for model in models] for name in MEASURES}
        return [
            panel(place, name, rates, known_rate(by_model, base, name), xs, models)
            for name, rates in lines.items()
            if len(rates) - rates.count(None) >= 3
        ]

    together, *apart = rates_by_place(board)
    return Curve(
        guard=facts.guard or "",
        checkpoint=facts.checkpoint or facts.model,
        setting=setting,
        fixed=fixed,
        xs=[(x, setting_text(value)) for x, (value, _) in zip(xs, values)],
        models=models,
        overall=panels(*together),
        panels=[each for place in apart for each in panels(*place)] if len(apart) > 1 else [],
    )


def panel(
    place: str,
    measure: str,
    rates: Sequence[Rate | None],
    base: Rate | None,
    xs: Sequence[float],
    models: Sequence[str],
) -> Panel:
    """One measure's line, in percent. rates: of the models, in order; None where one has none."""
    spans = [in_percent(rate) for rate in [*rates, base] if rate is not None]
    marked, scale = scale_over(spans, PANEL_HIGH - PANEL_BOTTOM, PANEL_TOP)
    return Panel(
        place,
        measure,
        ticks=[(scale(tick), f"{tick:g}") for tick in marked],
        points=[
            (x, *scaled(in_percent(rate), scale), model, rate_text(rate))
            for x, rate, model in zip(xs, rates, models)
            if rate is not None
        ],
        base=None if base is None else (scale(in_percent(base)[0]), f"{percent(base.value)}%"),
    )
