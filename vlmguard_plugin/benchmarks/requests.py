"""Text requests from any csv, tsv, JSON, JSON Lines or text file of the user's: alone, beside a picture, attacked.

A text file holds one request a line. A table has one of the columns REQUEST_COLUMNS and may have id, harmful (or
label), category and pair; the objects of a JSON list or of JSON Lines have these names. `read_beside` does the same for
every set of text requests.
"""

from __future__ import annotations

import re
from dataclasses import fields, replace
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from vlmguard_plugin.benchmarks.attack import Asking, settled
from vlmguard_plugin.benchmarks.benchmark import Benchmark
from vlmguard_plugin.benchmarks.condition import LISTED_CONDITIONS, parse_condition
from vlmguard_plugin.benchmarks.row import BenchmarkError, Reading, Row
from vlmguard_plugin.benchmarks.table import (
    Torn,
    collect,
    read_csv,
    read_json_list,
    read_jsonl,
    read_lines,
    record,
    whole,
)

PICTURES = "each request also beside a picture"
ASKING = tuple(known.name for known in fields(Asking))
LINES = ("", ".txt", ".text")
"""Ends of the names of files whose lines are requests."""
REQUEST_COLUMNS = ("request", "instruction", "prompt", "question", "goal")
HARMFUL_COLUMNS = ("harmful", "label")
COLUMNS = (*REQUEST_COLUMNS, *HARMFUL_COLUMNS, "id", "category", "pair")
FORMS = (
    ("json", re.compile(r"\[\s*(?:$|\{\s*(?:$|\"\w+\"\s*:))|\{\s*$")),
    ("json", re.compile(r"\[\s*{text}(?:\s*,\s*{text})*\s*,?\s*\]?\s*$".replace("{text}", r'"(?:[^"\\]|\\.)*"'))),
    ("jsonl", re.compile(r"\{\s*\"\w+\"\s*:")),
    ("xml", re.compile(r"<\?xml\b")),
    ("yaml", re.compile(rf"-\s+(?:{'|'.join(COLUMNS)}):\s")),
    ("pdf", re.compile(r"%PDF-\d")),
    ("rtf", re.compile(r"\{\\rtf\d")),
    ("html", re.compile(r"<(?:!doctype html|html)\b", re.IGNORECASE)),
)
"""How files of other forms begin."""
HARMFUL = {"1": True, "1.0": True, "true": True, "yes": True, "harmful": True, "unsafe": True}
HARMFUL |= {"0": False, "0.0": False, "false": False, "no": False, "harmless": False, "safe": False, "benign": False}


def in_conditions(read: Callable[..., Reading]) -> Callable[..., Reading]:
    """A reader that takes the fields of Asking as options of its own, from one that takes an `asking`."""

    @wraps(read)
    def with_options(source: Path, *arguments: Any, **options: Any) -> Reading:
        own = {name: options.pop(name) for name in ASKING if name in options}
        return read(source, *arguments, asking=Asking(**own), **options)

    parameters = [known for name, known in signature(read).parameters.items() if name != "asking"]
    parameters += [Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in ASKING]
    with_options.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return with_options


def read_requests(source: Path, harmful: bool | str | None = None, *, asking: Asking) -> Reading:
    """Rows of a file of requests, put as `asking` says.

    harmful: what every request is where the file does not say; needed then.
    """
    source = Path(source)
    records, marked = from_file(source)
    settled_mark = harmful if isinstance(harmful, bool) or harmful is None else mark(str(harmful))
    if not marked and harmful is None:
        raise BenchmarkError(
            f"{source} does not say which requests are harmful; "
            "add a column harmful (1 or 0) or give harmful=True or False"
        )

    def as_text(number: int, cells: Mapping[str, str]) -> Row:
        item = cells.get("id") or str(number)
        return Row(
            id=item,
            request=cells["request"],
            category=cells.get("category", ""),
            harmful=mark(cells["harmful"]) if marked else settled_mark,
            pair=cells.get("pair") or item,
        )

    return read_beside(source, records, as_text, asking)


read = in_conditions(read_requests)


def read_beside(
    path: Path,
    records: Sequence[tuple[int, Mapping[str, str]]],
    as_text: Callable[[int, Mapping[str, str]], Row],
    asking: Asking,
) -> Reading:
    """Rows of the records of one file in one condition: the same ids in the same order in every condition.

    records: (number in the file, cells). as_text: (number of the record from 1, cells) -> its row as text alone. The
    k-th record of a file has the k-th picture, whether records before it could be used or not.
    """
    put = asking.putting(len(records))

    def row(number: int, cells: Mapping[str, str]) -> Row:
        return put(as_text(number, whole(cells)), number)

    return collect(path, ((line, partial(row, number, cells)) for number, (line, cells) in enumerate(records, start=1)))


def conditions(name: str, benchmark: Benchmark) -> dict[str, Benchmark]:
    """NAME_<condition> for every condition that is listed. benchmark: the set, with the options its name settles."""
    return {f"{name}_{condition}": in_condition(benchmark, condition) for condition in LISTED_CONDITIONS}


def in_condition(benchmark: Benchmark, condition: str) -> Benchmark:
    """The set in a condition, its own of before put aside."""
    own = {name: value for name, value in benchmark.fixed.items() if name not in ASKING}
    put = parse_condition(condition)
    changed = [benchmark.changed] if benchmark.changed else []
    changed += ["the attack's wording is ours"] if put.typography or put.template else []
    return replace(benchmark, fixed={**own, **settled(condition)}, changed="; ".join(changed))


def from_file(source: Path) -> tuple[list[tuple[int, Mapping[str, str]]], bool]:
    """([(line or number, cells with the keys request and, where marked, harmful)], whether harmful ones are marked)."""
    kind = source.suffix.lower()
    if kind in (".csv", ".tsv"):
        return named(source, *read_csv(source))
    if kind in (".json", ".jsonl", ".ndjson"):
        listed = read_jsonl(source) if kind != ".json" else list(enumerate(read_json_list(source), start=1))
        if not listed:
            raise BenchmarkError(f"{source} holds no rows; give a file with at least one")
        records = [(number, from_object(cells)) for number, cells in listed]
        names = [str(key).lower() for _, content in listed if isinstance(content, dict) for key in content]
        return named(source, list(dict.fromkeys(names)), records)
    if kind not in LINES:
        raise BenchmarkError(f"{source} is a {kind} file; give a csv, tsv, json, jsonl or txt file")
    lines = read_lines(source)
    form = form_of(lines[0][1])
    if form:
        raise BenchmarkError(
            f"{source} is a {form} file by its first line; give a csv, tsv, json, jsonl or txt file whose name ends so"
        )
    return [(line, {"request": text}) for line, text in lines], False


def form_of(line: str) -> str | None:
    """The form of a file that begins with a line which is no request ("jsonl", "csv", "html", ...)."""
    begins = next((form for form, start in FORMS if start.match(line)), None)
    if begins:
        return begins
    for form, separator in (("csv", ","), ("csv", ";"), ("csv", "|"), ("tsv", "\t")):
        columns = [column.strip().strip('"').lower() for column in line.strip("| ").split(separator)]
        if set(columns) <= set(COLUMNS) and not set(columns).isdisjoint(REQUEST_COLUMNS):
            return form
    return None


def from_object(content: Any) -> Mapping[str, str]:
    """The cells of a JSON object that are read, as a table would have them; Torn where it is none, or holds no text."""
    try:
        cells = {str(key).lower(): value for key, value in record(content, ()).items()}
        odd = [name for name in COLUMNS if isinstance(cells.get(name), (dict, list))]
        odd += [name for name in REQUEST_COLUMNS if not isinstance(cells.get(name, ""), (str, type(None)))]
        if odd:
            raise BenchmarkError(f"holds a JSON {type(cells[odd[0]]).__name__} as {odd[0]}, where text is expected")
    except BenchmarkError as error:
        torn = Torn()
        torn.reason = str(error)
        return torn
    return {name: "" if cells[name] is None else str(cells[name]) for name in COLUMNS if name in cells}


def named(
    source: Path, columns: Sequence[str], records: Sequence[tuple[int, Mapping[str, str]]]
) -> tuple[list[tuple[int, Mapping[str, str]]], bool]:
    """The cells of a table under the names of `from_file`."""
    request = next((name for name in REQUEST_COLUMNS if name in columns), None)
    if request is None and records and all(isinstance(cells, Torn) for _, cells in records):
        request = REQUEST_COLUMNS[0]  # each says for itself what is wrong
    if request is None:
        raise BenchmarkError(
            f"{source}, row 1 has none of the columns {', '.join(REQUEST_COLUMNS)}; "
            f"it has {', '.join(columns) or 'nothing'}"
        )
    twice = sorted({name for name in COLUMNS if list(columns).count(name) > 1})
    if twice:
        raise BenchmarkError(f"{source}, row 1 names the column {' and '.join(twice)} twice; keep the one to be read")
    marker = next((name for name in HARMFUL_COLUMNS if name in columns), None)
    renamed: list[tuple[int, Mapping[str, str]]] = []
    for line, cells in records:
        if not isinstance(cells, Torn):
            marked = cells.get(marker, "") if marker else ""
            cells = {**cells, "request": cells.get(request, ""), "harmful": marked}
        renamed.append((line, cells))
    return renamed, marker is not None


def mark(text: str) -> bool:
    """A cell of the harmful column as a truth value."""
    if text.lower() not in HARMFUL:
        raise BenchmarkError(f"harmful is {text!r}; write one of {', '.join(HARMFUL)}")
    return HARMFUL[text.lower()]
