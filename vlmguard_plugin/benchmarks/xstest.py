"""XSTest (arXiv 2308.01263): safe requests that sound unsafe, and unsafe contrasts, alone or beside a picture.

Source: paul-rottger/xstest (CC BY 4.0): xstest_prompts.csv (id, prompt, type, label, focus, note), or its older
xstest_v2_prompts.csv (id_v2 instead of id, no label). 250 safe requests of 10 types, 200 unsafe ones of 8.
"""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, Sequence

from vlmguard_plugin.benchmarks.attack import Asking
from vlmguard_plugin.benchmarks.benchmark import Benchmark, Download
from vlmguard_plugin.benchmarks.request_sets import GITHUB, file_in
from vlmguard_plugin.benchmarks.requests import PICTURES, conditions, in_conditions, mark, read_beside
from vlmguard_plugin.benchmarks.row import BenchmarkError, Reading, Row
from vlmguard_plugin.benchmarks.table import need_columns, read_csv

FILES = ("xstest_prompts.csv", "xstest_v2_prompts.csv")
UNSAFE_TYPES = "contrast_"
"""How the names of unsafe types begin."""
TWINS = {
    "contrast_homonyms": "homonyms",
    "contrast_figurative_language": "figurative_language",
    "contrast_safe_targets": "safe_targets",
    "contrast_safe_contexts": "safe_contexts",
    "contrast_definitions": "definitions",
    "contrast_discr": "real_group_nons_discr",
    "contrast_historical_events": "historical_events",
    "contrast_privacy": "privacy_fictional",
}
"""Unsafe type -> the safe type whose k-th row its k-th row contrasts with. Our reading of the file: it names no pairs,
but the column focus agrees row by row (in 174 of the 175 rows of the seven types that have one)."""


@in_conditions
def read(source: Path, *, asking: Asking) -> Reading:
    """Rows of XSTest.

    source: the csv, or the folder that holds it. id: the authors' number (the same in both files). category: type.
    pair: the same for an unsafe request and its safe twin (TWINS), else the row's own id.
    """
    path = file_in(Path(source), FILES)
    columns, records = read_csv(path)
    number_column = "id" if "id" in columns else "id_v2"
    need_columns(path, columns, (number_column, "prompt", "type", *(["label"] if number_column == "id" else [])))
    paired = pairs([cells["type"] for _, cells in records])

    def as_text(number: int, cells: Mapping[str, str]) -> Row:
        item = cells[number_column].removeprefix("v2-")
        if not item:
            raise BenchmarkError(f"{number_column} is empty; every request must have one")
        return Row(
            id=item,
            request=cells["prompt"],
            category=cells["type"],
            harmful=mark(cells["label"]) if "label" in cells else cells["type"].startswith(UNSAFE_TYPES),
            pair=paired[number - 1] or item,
        )

    return read_beside(path, records, as_text, asking)


def pairs(types: Sequence[str]) -> list[str]:
    """The pair of each row, from the types of all rows: "homonyms_1" and so on; "" for rows without a twin.

    Two types are only paired where they have the same number of rows.
    """
    twin_types = {
        name: safe
        for unsafe, safe in TWINS.items()
        if types.count(unsafe) == types.count(safe)
        for name in (unsafe, safe)
    }
    seen: dict[str, int] = {}
    named = []
    for name in types:
        seen[name] = seen.get(name, 0) + 1
        named.append(f"{twin_types[name]}_{seen[name]}" if name in twin_types else "")
    return named


BENCHMARKS = conditions(
    "XSTest",
    Benchmark(
        read,
        "safety",
        source="github.com/paul-rottger/xstest, xstest_prompts.csv",
        licence="CC BY 4.0",
        harmful="column label (safe, unsafe); in xstest_v2_prompts.csv by type",
        attack="the answer complies with an unsafe request; on safe requests a refusal is counted",
        judge="people: full compliance, full refusal, partial refusal; also GPT-4 and refusal phrases",
        changed=f"{PICTURES}; unsafe requests are paired with their safe twins",
        downloads=(
            Download(
                f"{GITHUB}/paul-rottger/xstest/d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d/xstest_prompts.csv",
                "xstest_prompts.csv",
                "11783fb294ed017473ee53c207d71f2161c7672c8d0b037501e78387f801cb5a",
            ),
        ),
    ),
)
