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
from pathlib import Path
from typing import Any, Iterable, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, escape

from vlmguard_plugin.leaderboard.board import Block, Board, Entry, Origin, Overall, measures_of
from vlmguard_plugin.leaderboard.outputs.changed import ANSWERS, changed_answers
from vlmguard_plugin.leaderboard.outputs.charts import FRAME, PLACES, SMALL, canonical, curves, scatter, ticks
from vlmguard_plugin.leaderboard.outputs.escaping import printable, without_folders
from vlmguard_plugin.leaderboard.outputs.published import READ_FROM, published_results
from vlmguard_plugin.leaderboard.outputs.sentences import Finding, finding_of
from vlmguard_plugin.leaderboard.outputs.wording import (
    JUDGED_BY_RULES,
    MANNERS_IN_WORDS,
    check_lines,
    gate_lines,
    interval,
    length_text,
    number,
    p_number,
    p_text,
    percent,
    plural,
    points,
    setting_text,
    shortened,
)
from vlmguard_plugin.runs.facts import RunFacts
from vlmguard_plugin.statistics.differences import PairedDifference
from vlmguard_plugin.statistics.levels import MAX_UNPARSED
from vlmguard_plugin.statistics.measures import MEASURES, WORSE, change_for_the_worse
from vlmguard_plugin.statistics.rates import Rate

COLOURS, SHAPES = 8, 7
"""Kinds of both in page.css and charts.html; they share no factor, so that 56 models look different."""
LENGTH = 4000
"""Most characters of an answer, on a page with answers."""
UNFOLDED = 5
"""With more paragraphs than this, what the verdict says model by model is folded; warnings never are."""
MARK = 24
"""Longest text of a mark beside a name."""
COMPACT = 8
"""With more models than this, the overall table is compact until its reader says otherwise."""
OPEN_DATASETS = 6
"""With more data sets than this, each stands folded."""


def to_html(board: Board, answers: bool = False) -> str:
    """The whole page. answers: whether it holds the models' answers, folded; without, it holds none."""
    environment = templates()
    script, style = source(environment, "page.js"), source(environment, "page.css")
    origins = board.origins()
    html: str = environment.get_template("page.html").render(
        board=board,
        verdict=folded(finding_of(board)),
        most_refused=most_refused(board),
        marks=marks_of(board),
        measures=measures_of(board.overall),
        overall=[(overall, overall_flags(overall, board, origins)) for overall in board.overall],
        costs=costs(board, origins),
        scatter=scatter(board),
        datasets=datasets(board),
        curves=curves(board),
        models=[(model, ways(origin for origin in origins if origin.model == model)) for model in board.models],
        hosts=sorted({f"{origin.host} {origin.host_version}".strip() for origin in origins}),
        given=sum(origin.answers for origin in origins),
        published=published_results(),
        unread=[(overall.model, overall.unread) for overall in board.overall if overall.unread],
        answers=changed_answers(board) if answers else None,
        script=script,
        style=style,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return without_places(html, board.folders)


def without_places(html: str, folders: Iterable[Path]) -> str:
    """The page without where its folders lie: it is handed on, and the machine it was made on is nobody's business."""
    places = {folder.parent for folder in folders if folder.is_absolute()} | {Path.cwd(), Path.home()}
    for place in sorted(places, key=lambda place: -len(str(place))):
        if place != Path(place.anchor):
            html = html.replace(str(escape(f"{place}/")), "")
    return html


def folded(finding: Finding) -> tuple[list[str], list[str], list[str]]:
    """The finding's paragraphs: those that stand open, warnings, and those that are folded, where there are many."""
    warnings = [line for line in finding.by_model if line.startswith("Warning")]
    others = [line for line in finding.by_model if not line.startswith("Warning")]
    if len(finding.lines) <= UNFOLDED:
        return [*finding.headline, *others], warnings, []
    return list(finding.headline), warnings, others


@cache
def templates() -> Environment:
    """The templates with our filters: everything that they print is made printable, then escaped."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        finalize=finalized,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (bar, data, number, p_number, percent, plural, points, setting_text, shortened, verbatim)
    functions = (better_or_worse, gate_lines, check_lines, interval, length_text, measures_of, p_text)
    environment.filters |= {function.__name__: function for function in filters}
    environment.globals |= {function.__name__: function for function in functions}
    environment.globals |= {
        "MANNERS_IN_WORDS": MANNERS_IN_WORDS,
        "MEASURES": MEASURES,
        "WORSE": WORSE,
        "READ_FROM": READ_FROM,
        "COMPACT": COMPACT,
        "OPEN_DATASETS": OPEN_DATASETS,
        "ANSWERS": ANSWERS,
        "LENGTH": LENGTH,
        "JUDGED_BY_RULES": JUDGED_BY_RULES,
        "MAX_UNPARSED": MAX_UNPARSED,
        "offsets": PLACES,
        "frame": FRAME,
        "small": SMALL,
    }
    return environment


def source(environment: Environment, name: str) -> Markup:
    """A file beside the templates, put into the page as it is."""
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])


def finalized(value: Any) -> Any:
    """A value before it is printed: text without characters that a page can't hold, and without places of a machine."""
    return without_folders(printable(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def verbatim(text: str) -> Markup:
    """What a model was asked or has said: whatever paths it names are its own."""
    return escape(printable(text))


def better_or_worse(measure: str, difference: PairedDifference) -> str:
    """ "better" or "worse" where the difference is significant, else ""."""
    if not difference.significant:
        return ""
    return "worse" if change_for_the_worse(measure, difference.difference) else "better"


def bar(rate: Rate, most: float = 1.0) -> str:
    """Where a bar ends and its interval lies, in percent of the width, as CSS; most: the rate at the right end."""
    ends = {"v": rate.value, "l": rate.low, "h": rate.high}
    return ";".join(f"--{name}:{100 * (end or 0.0) / most:.1f}%" for name, end in ends.items())


def data(value: Any) -> Markup:
    """JSON for a script element: ASCII, without <, > and &."""
    return Markup(htmlsafe_json_dumps(value, default=vars))


@dataclass(frozen=True)
class Mark:
    """How a model looks on the page. anchor: of its settings. Bases are hollow and have the text's colour."""

    anchor: str
    colour: str
    shape: str
    base: bool


def marks_of(board: Board) -> dict[str, Mark]:
    """By model; a model without a base is taken for one."""
    marks: dict[str, Mark] = {}
    seen: Counter[bool] = Counter()
    for place, model in enumerate(board.models):
        base = model not in board.bases
        turn = seen[base]
        seen[base] += 1
        colour = "base" if base else f"c{turn % COLOURS}"
        marks[model] = Mark(f"model-{place}", colour, f"s{(turn if base else turn + 1) % SHAPES}", base)
    return marks


Flag = tuple[str, str]
"""A short mark, and the sentence that it stands for."""


def entry_flags(entry: Entry) -> list[Flag]:
    """What a reader of an entry's figures has to know."""
    flags = [(problem if len(problem) <= MARK else "see notes", problem) for problem in entry.origin.problems]
    if entry.missing:
        what = f"not asked {plural(entry.missing, 'item')} that another model was asked here"
        flags.append((f"{entry.missing:,} missing", what))
    differences = entry.differences.values()
    own = max((difference.unmatched_model for difference in differences), default=0)
    of_base = max((difference.unmatched_base for difference in differences), default=0)
    if own or of_base:
        what = f"{plural(own, 'answer')} of its own and {of_base:,} of the base's are to items that only one was asked"
        flags.append(("items differ", f"{what}, and are left out of the differences"))
    unparsed = entry.counts.get("unparsed", 0)
    if unparsed:
        what = f"{plural(unparsed, 'answer')} that named none of the options, counted as not right"
        flags.append((f"{unparsed:,} unparsed", what))
    if entry.seeds:
        rates = "; ".join(f"{MEASURES[name]} {', '.join(map(percent, seeds))}" for name, seeds in entry.seeds.items())
        times = max(map(len, entry.seeds.values()))
        flags.append((f"{times} repetitions", f"asked several times (seeds): {rates} %"))
    return flags


def overall_flags(overall: Overall, board: Board, origins: Sequence[Origin]) -> list[Flag]:
    """The same for a model over all data sets."""
    total = max(each.datasets for each in board.overall)
    flags = []
    if overall.datasets < total:
        part = f"{overall.datasets} of {total} data sets"
        flags.append((part, f"run on {part}: its rates are of other requests, its differences are of the same"))
    with_notes = sum(bool(origin.problems) for origin in origins if origin.model == overall.model)
    if with_notes:
        runs = f"{plural(with_notes, 'run')} with notes"
        flags.append((runs, f"{runs} under its data set"))
    missing: dict[str, int] = {}
    for block in board.blocks:
        entry = block.entry(overall.model)
        if entry is not None:
            missing[block.whole or block.dataset] = entry.missing
    lacking = sum(map(bool, missing.values()))
    if lacking:
        flags.append(("items missing", f"items missing on {plural(lacking, 'data set')}"))
    return flags


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


def costs(board: Board, origins: Sequence[Origin]) -> dict[str, Cost]:
    """By model."""
    by_model = {
        model: {origin.dataset: origin for origin in origins if origin.model == model} for model in board.models
    }
    by_overall = {overall.model: overall for overall in board.overall}
    model_costs = {}
    for model in board.models:
        base = by_model.get(board.bases.get(model, ""), {})
        pairs = [(origin, base[dataset]) for dataset, origin in by_model[model].items() if dataset in base]
        overall = by_overall.get(model)
        model_costs[model] = Cost(
            seconds=overall.seconds if overall else None,
            tokens=overall.tokens if overall else None,
            times_seconds=times((own.seconds, of_base.seconds, own.answers) for own, of_base in pairs),
            times_tokens=times((own.tokens, of_base.tokens, own.answers) for own, of_base in pairs),
            alike=machines(by_model[model].values()) == machines(by_model[board.bases.get(model, model)].values()),
        )
    return model_costs


def times(costs: Iterable[tuple[float | None, float | None, int]]) -> float | None:
    """How many times the base's a cost is. costs: per answer, the base's, and how many answers; None where unknown."""
    known = [(own * answers, of_base * answers) for own, of_base, answers in costs if own is not None and of_base]
    return sum(own for own, _ in known) / sum(of_base for _, of_base in known) if known else None


def machines(origins: Iterable[Origin]) -> set[tuple[str, str, int | None]]:
    """The devices, precisions and batch sizes that answers were got with, as far as they are known."""
    return {(facts.device, facts.dtype, facts.batch_size) for origin in origins for facts in origin.facts}


@dataclass(frozen=True)
class Part:
    """A block, as it is shown. categories: by measure, the names of its categories."""

    block: Block
    measures: list[str]
    flags: dict[str, list[Flag]]
    categories: dict[str, list[str]]


def datasets(board: Board) -> list[tuple[str, list[Part]]]:
    """By data set, its parts."""
    parts: dict[str, list[Part]] = {}
    for block in board.blocks:
        names = measures_of(block.entries)
        categories = {
            name: sorted({category for entry in block.entries for category in entry.by_category.get(name, ())})
            for name in names
        }
        part = Part(
            block=block,
            measures=names,
            flags={entry.model: entry_flags(entry) for entry in block.entries},
            categories={name: several for name, several in categories.items() if len(several) > 1},
        )
        parts.setdefault(block.whole or block.dataset, []).append(part)
    return list(parts.items())


def most_refused(board: Board) -> float:
    """The right end of the chart of over-refusal, in percent."""
    rates = [overall.rates["over_refusal"] for overall in board.overall if "over_refusal" in overall.rates]
    return ticks(0, max((100 * rate.high for rate in rates if rate.high is not None), default=100))[-1]


Way = tuple["RunFacts | None", list[tuple[Origin, "RunFacts | None"]]]
"""Facts that several runs share, sessions aside, and these runs; None for runs without facts."""


def ways(origins: Iterable[Origin]) -> list[Way]:
    """A model's runs by what they were."""
    by_facts: dict[str, Way] = {}
    for origin in origins:
        for facts in origin.facts or (None,):
            key = canonical(facts.to_dict() | {"sessions": ()}) if facts else ""
            by_facts.setdefault(key, (facts, []))[1].append((origin, facts))
    return list(by_facts.values())
