"""The leaderboard as one HTML page: no network, no library; reading needs no script, only sorting and choosing do.

Templates, style and script lie in templates/ and are put into the page. The charts are SVG and CSS drawn in jinja
macros: so little needs no plotting library. Whatever comes from outside (names, categories, paths, answers) is
cleaned of control characters and escaped by jinja; a Content-Security-Policy lets no other script run. Needs jinja2.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any, Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from .board import MEASURES, Block, Board, Entry, Overall, Run, answers_of, participants
from .collect import Item
from .facts import RunFacts
from .published import READ_FROM, published_results
from .rates import PairedDifference, Rate
from .sentence import WORSE, finding

COLOURS, SHAPES = 8, 7
"""Kinds of both in page.css and charts.html; they share no factor, so that 56 models look different."""
ANSWERS, LENGTH = 200, 4000
"""At most this many answers a model and data set, and characters an answer, on a page with answers."""
OPEN_DATASETS = 6
"""With more data sets than this, each stands folded."""
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Control characters, marks that turn the direction of text, and lone surrogates."""


def page(board: Board, answers: bool = False) -> str:
    """The whole page. answers: whether it holds the models' answers, folded; without, it holds none."""
    environment = templates()
    script, style = (Markup(environment.loader.get_source(environment, name)[0]) for name in ("page.js", "page.css"))
    marks = marks_of(board)
    runs = board.runs()
    return environment.get_template("page.html").render(
        board=board,
        verdict=[line for line in finding(board).splitlines() if line.strip()],
        marks=marks,
        measures=[name for name in MEASURES if any(name in one.rates for one in board.overall)],
        overall=[(one, overall_flags(one, board, runs)) for one in board.overall],
        costs=costs(board, runs),
        scatter=scatter(board, marks),
        datasets=datasets(board),
        curves=curves(board),
        models=[(model, ways([run for run in runs if run.model == model])) for model in board.models],
        hosts=sorted({f"{run.host} {run.host_version}".strip() for run in runs}),
        given=sum(run.answers for run in runs),
        published=published_results(),
        answers=changed_answers(board) if answers else None,
        script=script,
        style=style,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


@cache
def templates() -> Environment:
    """The templates with our filters: everything that they print is made printable, then escaped."""
    environment = Environment(
        loader=PackageLoader(__package__), autoescape=True, finalize=printable, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "points": points, "number": number, "plain": plain, "shortened": shortened, "data": data}
    environment.globals |= {
        "MEASURES": MEASURES, "WORSE": WORSE, "READ_FROM": READ_FROM, "ANSWERS": ANSWERS, "LENGTH": LENGTH,
        "OPEN_DATASETS": OPEN_DATASETS, "offsets": PLACES, "frame": FRAME, "small": SMALL, "p_value": p_value, "verdict_on": verdict_on, "interval": interval,
    }  # fmt: skip
    return environment


def printable(value: Any) -> Any:
    """Text without characters that a page can't hold or that change the direction of their surroundings."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isascii() and value.isprintable():
        return value
    return UNPRINTABLE.sub(shown_instead, value.replace("\r\n", "\n"))


def shown_instead(found: re.Match) -> str:
    """The picture of a control character, or the sign for one that can't be shown."""
    return chr(0x2400 + ord(found[0])) if found[0] < " " else "\ufffd"


def percent(share: float | None) -> str:
    """A share of 1 in percent with one decimal."""
    return "n/a" if share is None else f"{100 * share:.1f}"


def points(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def interval(low: float, high: float, signed: bool = False) -> str:
    """For example "[35.2, 64.8]", in percent."""
    shown = points if signed else percent
    return f"[{shown(low)}, {shown(high)}]"


def number(value: float) -> str:
    """Three digits, or all before the decimal point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def p_value(p: float) -> str:
    """With two digits, "p<0.001" below that."""
    return "p<0.001" if p < 0.001 else f"p={p:.2g}"


def plain(value: Any) -> str:
    """A setting as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def shortened(text: str, length: int) -> str:
    """Text of at most that many characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def verdict_on(measure: str, difference: PairedDifference) -> str:
    """"better" or "worse" where the difference is significant, else ""."""
    if not difference.significant:
        return ""
    return "worse" if difference.difference * WORSE[measure] > 0 else "better"


def data(value: Any) -> Markup:
    """JSON for a script element: ASCII, without <, > and &."""
    return htmlsafe_json_dumps(value, default=vars)


@dataclass(frozen=True)
class Mark:
    """How a model looks on the page. anchor: of its settings. Bases are hollow and have the text's colour."""

    anchor: str
    colour: str
    shape: str
    base: bool


def marks_of(board: Board) -> dict[str, Mark]:
    """By model; a model without a base is taken for one."""
    found: dict[str, Mark] = {}
    seen: Counter = Counter()
    for number_, model in enumerate(board.models):
        base = model not in board.bases
        turn = seen[base]
        seen[base] += 1
        colour = "base" if base else f"c{turn % COLOURS}"
        found[model] = Mark(f"model-{number_}", colour, f"s{(turn if base else turn + 1) % SHAPES}", base)
    return found


def plural(count: int, what: str) -> str:
    """For example "1 item", "2 items"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def entry_flags(entry: Entry) -> list[tuple[str, str]]:
    """What a reader of an entry's figures has to know, as (short mark, sentence)."""
    found = [("see note", problem) for problem in entry.run.problems]
    if entry.missing:
        found.append((f"{entry.missing:,} missing", f"{plural(entry.missing, 'item')} that another model was asked here {'is' if entry.missing == 1 else 'are'} missing"))
    alone, base = (max((getattr(one, name) for one in entry.differences.values()), default=0) for name in ("unmatched_model", "unmatched_base"))
    if alone or base:
        found.append(("items differ", f"its items differ from the base's: {plural(alone, 'answer')} of its own and {base:,} of the base's have no partner and are in no difference"))
    if entry.counts.get("unparsed"):
        found.append((f"{entry.counts['unparsed']:,} unparsed", f"{plural(entry.counts['unparsed'], 'answer')} named none of the options and count as not right"))
    if entry.seeds:
        shares = "; ".join(f"{MEASURES[name]} {', '.join(map(percent, mine))}" for name, mine in entry.seeds.items())
        found.append((f"{max(map(len, entry.seeds.values()))} repetitions", f"asked several times (seeds): {shares} %"))
    return found


def overall_flags(one: Overall, board: Board, runs: Sequence[Run]) -> list[tuple[str, str]]:
    """The same for a model over all data sets."""
    total = max(other.datasets for other in board.overall)
    found = []
    if one.datasets < total:
        found.append((f"{one.datasets} of {total} data sets", f"run on {one.datasets} of {total} data sets: its rates are of other requests, its differences are of the same"))
    marked = sum(bool(run.problems) for run in runs if run.model == one.model)
    if marked:
        found.append((f"{plural(marked, 'run')} with notes", f"{plural(marked, 'run')} with notes under its data set"))
    mine = [(block.whole or block.dataset, entry) for block in board.blocks if (entry := block.entry(one.model))]
    lacking = sum(bool(missing) for missing in {name: entry.missing for name, entry in mine}.values())
    if lacking:
        found.append(("items missing", f"items missing on {plural(lacking, 'data set')}"))
    return found


@dataclass(frozen=True)
class Cost:
    """Of one model: per answer, and relative to the base over the data sets that both have; None where nobody measured.

    alike: whether device, precision and batch size are the base's as far as they are known.
    """

    seconds: float | None
    tokens: float | None
    times_seconds: float | None
    times_tokens: float | None
    alike: bool


def costs(board: Board, runs: Sequence[Run]) -> dict[str, Cost]:
    """By model."""
    by_model = {model: {run.dataset: run for run in runs if run.model == model} for model in board.models}
    overall = {one.model: one for one in board.overall}

    def times(what: str, model: str) -> float | None:
        mine, base = by_model[model], by_model.get(board.bases.get(model, ""), {})
        both = [(mine[name], base[name]) for name in mine if name in base]
        both = [(one, other) for one, other in both if getattr(one, what) is not None and getattr(other, what)]
        spent = sum(getattr(other, what) * one.answers for one, other in both)
        return sum(getattr(one, what) * one.answers for one, _ in both) / spent if spent else None

    def machine(model: str) -> set:
        return {(facts.device, facts.dtype, facts.batch_size) for run in by_model.get(model, {}).values() for facts in run.facts}

    return {
        model: Cost(
            overall[model].seconds if model in overall else None,
            overall[model].tokens if model in overall else None,
            times("seconds", model),
            times("tokens", model),
            machine(model) == machine(board.bases.get(model, model)),
        )
        for model in board.models
    }


def ticks(low: float, high: float) -> list[float]:
    """Five or so round values that span low to high."""
    span = max(high - low, 1e-9)
    rough = span / 5
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(count * step, 10) for count in range(first, max(last, first + 1) + 1)]


LEFT, RIGHT, TOP, BOTTOM, WIDE, HIGH = 58, 16, 14, 50, 720, 440
FRAME = {"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM, "wide": WIDE, "high": HIGH}
"""The scatter's margins and size in its own units."""
PLACES = ((11, 4, "start"), (-11, 4, "end"), (0, -11, "middle"), (0, 20, "middle"), (9, -9, "start"), (9, 16, "start"), (-9, -9, "end"), (-9, 16, "end"))
"""Where a point's label may stand: x, y from the point, and its anchor."""


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


def scatter(board: Board, marks: Mapping[str, Mark]) -> Scatter | None:
    """Safety against utility; None where no model has both."""
    models = list(board.models)
    places: list[tuple[str, dict[str, Mapping[str, Rate]]]] = [("all data sets", {one.model: one.rates for one in board.overall})]
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
    values = [
        None if rate is None or rate.value is None
        else tuple(100 - 100 * v if turned else 100 * v for v in ((rate.value, rate.high, rate.low) if turned else (rate.value, rate.low, rate.high)))
        for rate in rates
    ]  # fmt: skip
    known = [value for value in values if value]
    marked = ticks(max(min(low for _, low, _ in known) - 1, 0), min(max(high for _, _, high in known) + 1, 100))
    scale = lambda v: round(start + (v - marked[0]) / (marked[-1] - marked[0]) * (end - start), 1)  # noqa: E731
    points_ = [
        None if value is None else (*map(scale, value), f"{value[0]:.1f}% [{value[1]:.1f}, {value[2]:.1f}]") for value in values
    ]
    return Axis(printable(name), [(scale(tick), f"{tick:g}") for tick in marked], points_)


def labels(names: Sequence[str], xs: Sequence, ys: Sequence) -> list[int]:
    """For each point the place of its label that covers least, -1 where all cover a point or a label."""
    spots = [(x[0], y[0]) if x and y else None for x, y in zip(xs, ys)]
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in filter(None, spots)]
    whiskers = [box for x, y in zip(xs, ys) if x and y for box in ((x[1], y[0] - 1, x[2], y[0] + 1), (x[0] - 1, y[2], x[0] + 1, y[1]))]
    found = []
    for name, spot in zip(names, spots):
        best, least = -1, math.inf
        for number_, (right, down, anchor) in enumerate(PLACES if spot else ()):
            width = 6.9 * len(name)
            x = spot[0] + right - {"start": 0, "middle": width / 2, "end": width}[anchor]
            box = (x, spot[1] + down - 11, x + width, spot[1] + down + 4)
            outside = box[0] < LEFT + 2 or box[2] > WIDE or box[1] < 2 or box[3] > HIGH - BOTTOM
            if outside or any(overlap(box, other) for other in taken if other != (spot[0] - 8, spot[1] - 8, spot[0] + 8, spot[1] + 8)):
                continue
            cost = sum(overlap(box, other) for other in whiskers) + number_ / 100
            if cost < least:
                best, least = number_, cost
        if best >= 0:
            right, down, anchor = PLACES[best]
            width = 6.9 * len(name)
            x = spot[0] + right - {"start": 0, "middle": width / 2, "end": width}[anchor]
            taken.append((x, spot[1] + down - 11, x + width, spot[1] + down + 4))
        found.append(best)
    return found


def overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two boxes (left, top, right, bottom) do."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@dataclass(frozen=True)
class Part:
    """A block, as it is shown. categories: by measure, the names of its categories."""

    block: Block
    measures: list[str]
    flags: dict[str, list[tuple[str, str]]]
    categories: dict[str, list[str]]


def datasets(board: Board) -> list[tuple[str, list[Part]]]:
    """By data set, its parts."""
    found: dict[str, list[Part]] = {}
    for block in board.blocks:
        names = [name for name in MEASURES if any(name in entry.rates for entry in block.entries)]
        categories = {name: sorted({one for entry in block.entries for one in entry.by_category.get(name, ())}) for name in names}
        part = Part(
            block,
            names,
            {entry.model: entry_flags(entry) for entry in block.entries},
            {name: mine for name, mine in categories.items() if len(mine) > 1},
        )
        found.setdefault(block.whole or block.dataset, []).append(part)
    return list(found.items())


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
SMALL = {"left": PANEL_LEFT, "right": PANEL_RIGHT, "top": PANEL_TOP, "bottom": PANEL_BOTTOM, "wide": PANEL_WIDE, "high": PANEL_HIGH}
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


def written(value: Any) -> str:
    """The same text for the same plain value."""
    return json.dumps(value, sort_keys=True, default=str)


def curve(board: Board, facts: RunFacts, setting: str, fixed: dict[str, Any], values: list[tuple[Any, str]]) -> Curve:
    """Numbers stand where their value is, anything else in order beside each other."""
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value, _ in values)
    values = sorted(values, key=lambda pair: pair[0] if numeric else (written(type(pair[0]).__name__), len(plain(pair[0])), plain(pair[0])))
    models = [model for _, model in values]
    at = [float(value) for value, _ in values] if numeric else [float(place) for place in range(len(values))]
    width = PANEL_WIDE - PANEL_LEFT - PANEL_RIGHT - 24
    xs = [round(PANEL_LEFT + 12 + (x - at[0]) / (at[-1] - at[0]) * width, 1) for x in at]
    base = next((board.bases[model] for model in models if model in board.bases), "")

    def panels(place: str, rates: Mapping[str, Mapping[str, Rate]]) -> list[Panel]:
        every = [name for name in MEASURES if sum(rate_of(rates, model, name) is not None for model in models) >= 3]
        return [panel(place, name, [rate_of(rates, model, name) for model in models], rate_of(rates, base, name), xs, models) for name in every]

    return Curve(
        facts.guard or "",
        facts.checkpoint or facts.model,
        setting,
        fixed,
        [(x, plain(value)) for x, (value, _) in zip(xs, values)],
        models,
        panels("all data sets", {one.model: one.rates for one in board.overall}),
        [one for block in board.blocks for one in panels(block.dataset, {entry.model: entry.rates for entry in block.entries})]
        if len(board.blocks) > 1 else [],
    )  # fmt: skip


def rate_of(rates: Mapping[str, Mapping[str, Rate]], model: str, measure: str) -> Rate | None:
    """A model's rate, None where there is none or it is withheld."""
    one = rates.get(model, {}).get(measure)
    return one if one is not None and one.value is not None else None


def panel(place: str, measure: str, rates: Sequence[Rate | None], base: Rate | None, xs: Sequence[float], models: Sequence[str]) -> Panel:
    """One measure's line, in percent."""
    known = [one for one in [*rates, base] if one is not None]
    marked = ticks(max(100 * min(one.low for one in known) - 1, 0), min(100 * max(one.high for one in known) + 1, 100))
    low, high = marked[0], marked[-1]
    scale = lambda share: round(PANEL_HIGH - PANEL_BOTTOM - (100 * share - low) / (high - low) * (PANEL_HIGH - PANEL_TOP - PANEL_BOTTOM), 1)  # noqa: E731
    return Panel(
        place,
        measure,
        [(scale(tick / 100), f"{tick:g}") for tick in marked],
        [
            (x, scale(one.value), scale(one.low), scale(one.high), model, f"{percent(one.value)}% {interval(one.low, one.high)}")
            for x, one, model in zip(xs, rates, models)
            if one is not None
        ],
        (scale(base.value), f"{percent(base.value)}%") if base is not None else None,
    )


def ways(runs: Sequence[Run]) -> list[tuple[RunFacts | None, list[tuple[Run, RunFacts | None]]]]:
    """A model's runs by what they were: the same facts, sessions aside, stand once; None for runs without facts."""
    found: dict[str, tuple[RunFacts | None, list[tuple[Run, RunFacts | None]]]] = {}
    for run in runs:
        for facts in run.facts or (None,):
            key = written({name: value for name, value in facts.to_dict().items() if name != "sessions"}) if facts else ""
            found.setdefault(key, (facts, []))[1].append((run, facts))
    return list(found.values())


@dataclass(frozen=True)
class Asked:
    """One request with the answers of the base (None for a model that stands alone) and the model."""

    item: Item
    base: Item | None


@dataclass(frozen=True)
class Changed:
    """Answers of one model to one data set. left_out: how many more there are."""

    model: str
    base: str | None
    dataset: str
    shown: list[Asked]
    left_out: int


def changed_answers(board: Board) -> list[Changed]:
    """Answers whose label differs from the base's; of a model that stands alone its first ones."""
    people = {one.label: one for one in participants(board.collected.predictions if board.collected else ())}
    found = []
    for label in board.models:
        base = board.bases.get(label)
        if label not in people or base is None and label in board.bases.values():
            continue
        for dataset, parts in people[label].parts.items():
            mine = answers_of(parts)
            other = answers_of(people[base].parts.get(dataset, ())) if base in people else {}
            asked = [Asked(item, other.get(key)) for key, item in mine.items()]
            if base is not None:
                asked = [one for one in asked if one.base is not None and one.base.label != one.item.label]
            found.append(Changed(label, base, dataset, asked[:ANSWERS], max(len(asked) - ANSWERS, 0)))
    return sorted(found, key=lambda one: one.dataset)
