"""The leaderboard as one HTML page: no network, no library; reading needs no script, only sorting and choosing do.

Templates, style and script lie in templates/ and are put into the page. The charts are SVG and CSS drawn in jinja
macros: so little needs no plotting library. Whatever comes from outside (names, categories, paths, answers) is
cleaned of control characters and escaped by jinja; a Content-Security-Policy lets no other script run. Needs jinja2.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Any, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from vlmguard_plugin.leaderboard.board import MEASURES, Block, Board, Entry, Overall, Run, answers_of, participants
from vlmguard_plugin.leaderboard.outputs.charts import FRAME, PLACES, SMALL, curves, scatter, ticks
from vlmguard_plugin.leaderboard.outputs.published import READ_FROM, published_results
from vlmguard_plugin.leaderboard.outputs.wording import (
    bar,
    interval,
    number,
    p_value,
    percent,
    plain,
    plural,
    points,
    printable,
    shortened,
    written,
)
from vlmguard_plugin.leaderboard.verdict import WORSE, finding
from vlmguard_plugin.runs.collect import Item
from vlmguard_plugin.runs.facts import RunFacts
from vlmguard_plugin.statistics.rates import PairedDifference

COLOURS, SHAPES = 8, 7
"""Kinds of both in page.css and charts.html; they share no factor, so that 56 models look different."""
ANSWERS, LENGTH = 200, 4000
"""At most this many answers a model and data set, and characters an answer, on a page with answers."""
UNFOLDED = 8
"""With more paragraphs than this, what the verdict says model by model is folded; warnings never are."""
MARK = 24
"""Longest text of a mark beside a name."""
OPEN_DATASETS = 6
"""With more data sets than this, each stands folded."""


def page(board: Board, answers: bool = False) -> str:
    """The whole page. answers: whether it holds the models' answers, folded; without, it holds none."""
    environment = templates()
    script, style = (Markup(environment.loader.get_source(environment, name)[0]) for name in ("page.js", "page.css"))
    marks = marks_of(board)
    runs = board.runs()
    return environment.get_template("page.html").render(
        board=board,
        verdict=verdict(finding(board)),
        most_refused=most_refused(board),
        marks=marks,
        measures=[name for name in MEASURES if any(name in one.rates for one in board.overall)],
        overall=[(one, overall_flags(one, board, runs)) for one in board.overall],
        costs=costs(board, runs),
        scatter=scatter(board),
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


def verdict(words: str) -> tuple[list[str], list[str], list[str]]:
    """The finding's paragraphs: first ones, warnings, and what is folded: all from the first that is on one model."""
    lines = [line for line in words.splitlines() if line.strip()]
    warnings = [line for line in lines if line.startswith("Warning")]
    others = [line for line in lines if not line.startswith("Warning")]
    first = others if len(lines) <= UNFOLDED else list(takewhile(lambda line: not line.startswith("With "), others))
    return first, warnings, others[len(first) :]


@cache
def templates() -> Environment:
    """The templates with our filters: everything that they print is made printable, then escaped."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        finalize=printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {one.__name__: one for one in (bar, data, number, percent, plain, plural, points, shortened)}
    environment.globals |= {one.__name__: one for one in (interval, p_value, verdict_on)}
    environment.globals |= {
        "MEASURES": MEASURES,
        "WORSE": WORSE,
        "READ_FROM": READ_FROM,
        "OPEN_DATASETS": OPEN_DATASETS,
    }
    environment.globals |= {"ANSWERS": ANSWERS, "LENGTH": LENGTH, "offsets": PLACES, "frame": FRAME, "small": SMALL}
    return environment


def verdict_on(measure: str, difference: PairedDifference) -> str:
    """ "better" or "worse" where the difference is significant, else ""."""
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


def entry_flags(entry: Entry) -> list[tuple[str, str]]:
    """What a reader of an entry's figures has to know, as (short mark, sentence)."""
    found = [(problem if len(problem) <= MARK else "see notes", problem) for problem in entry.run.problems]
    if entry.missing:
        what = f"not asked {plural(entry.missing, 'item')} that another model was asked here"
        found.append((f"{entry.missing:,} missing", what))
    differences = entry.differences.values()
    alone = max((one.unmatched_model for one in differences), default=0)
    base = max((one.unmatched_base for one in differences), default=0)
    if alone or base:
        what = (
            f"{plural(alone, 'answer')} of its own and {base:,} of the base's have no partner and are in no difference"
        )
        found.append(("items differ", f"its items differ from the base's: {what}"))
    unparsed = entry.counts.get("unparsed", 0)
    if unparsed:
        what = f"{plural(unparsed, 'answer')} that named none of the options, counted as not right"
        found.append((f"{unparsed:,} unparsed", what))
    if entry.seeds:
        shares = "; ".join(f"{MEASURES[name]} {', '.join(map(percent, mine))}" for name, mine in entry.seeds.items())
        times = max(map(len, entry.seeds.values()))
        found.append((f"{times} repetitions", f"asked several times (seeds): {shares} %"))
    return found


def overall_flags(one: Overall, board: Board, runs: Sequence[Run]) -> list[tuple[str, str]]:
    """The same for a model over all data sets."""
    total = max(other.datasets for other in board.overall)
    found = []
    if one.datasets < total:
        part = f"{one.datasets} of {total} data sets"
        found.append((part, f"run on {part}: its rates are of other requests, its differences are of the same"))
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
        facts = [one for run in by_model.get(model, {}).values() for one in run.facts]
        return {(one.device, one.dtype, one.batch_size) for one in facts}

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
        found_in = {name: [set(entry.by_category.get(name, ())) for entry in block.entries] for name in names}
        categories = {name: sorted(set().union(*mine)) for name, mine in found_in.items()}
        part = Part(
            block,
            names,
            {entry.model: entry_flags(entry) for entry in block.entries},
            {name: mine for name, mine in categories.items() if len(mine) > 1},
        )
        found.setdefault(block.whole or block.dataset, []).append(part)
    return list(found.items())


def most_refused(board: Board) -> float:
    """The right end of the chart of over-refusal, in percent."""
    rates = [one.rates["over_refusal"] for one in board.overall if "over_refusal" in one.rates]
    return ticks(0, max((100 * rate.high for rate in rates if rate.high is not None), default=100))[-1]


def ways(runs: Sequence[Run]) -> list[tuple[RunFacts | None, list[tuple[Run, RunFacts | None]]]]:
    """A model's runs by what they were: the same facts, sessions aside, stand once; None for runs without facts."""
    found: dict[str, tuple[RunFacts | None, list[tuple[Run, RunFacts | None]]]] = {}
    for run in runs:
        for facts in run.facts or (None,):
            key = written(facts.to_dict() | {"sessions": ()}) if facts else ""
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
