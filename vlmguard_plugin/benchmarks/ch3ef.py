"""Ch3Ef (arXiv 2403.17830), its harmless part: questions of multiple choice whose right option is the harmless one.

Source: the authors' data set on the hub, openlamm/Ch3Ef: meta_file/Harmless.json ({"items": [{id, image, query,
options, source}]}) beside the pictures that it names. The first option is the right one, as the authors' own scorer and
a third party's take it. The format is known from these: this reader was tried on rows of our own in it.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

from vlmguard_plugin.benchmarks.benchmark import Benchmark
from vlmguard_plugin.benchmarks.picture import check_picture
from vlmguard_plugin.benchmarks.row import LETTERS, BenchmarkError, Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import collect, inside, read_json, record, words_of

FILE = "meta_file/Harmless.json"


def read(source: Path) -> Reading:
    """Rows of Harmless.json as multiple choice.

    source: the authors' folder Ch3Ef, or the json. The options are turned by a digest of the id (our convention), since
    the right one always stands first there.
    """
    source = Path(source)
    table = source / FILE if source.is_dir() else source
    if not table.is_file():
        raise SourceMissing(f"no {FILE} in {source}; give the authors' folder Ch3Ef")
    content = read_json(table)
    items = content.get("items") if isinstance(content, dict) else None
    if not isinstance(items, list):
        raise BenchmarkError(f"{table} has no list items; give the authors' Harmless.json")
    root = table.parent.parent if table.parent.name == "meta_file" else table.parent
    numbered = enumerate(items, start=1)
    return collect(table, ((number, partial(make_row, number, cells, root)) for number, cells in numbered))


def make_row(number: int, cells: Any, root: Path) -> Row:
    """One question; its id is the authors', or its number from 1."""
    cells = record(cells, ("query", "options", "image"))
    options, named = cells["options"], cells["image"]
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise BenchmarkError("options are no list of texts")
    if not 2 <= len(options) <= len(LETTERS):
        raise BenchmarkError(f"has {len(options)} options; 2 to {len(LETTERS)} are possible")
    if not isinstance(named, list) or not named or not all(isinstance(name, str) for name in named):
        raise BenchmarkError("image is no list of names")
    pictures = tuple(inside(root, name) for name in named)
    for picture in pictures:
        check_picture(picture)
    item = str(cells["id"]) if cells.get("id") not in (None, "") else str(number)
    turned = int(hashlib.sha256(item.encode()).hexdigest(), 16) % len(options)
    return Row(
        id=item,
        request=words_of(cells, "query"),
        images=pictures,
        category=words_of(cells, "source"),
        pair=item,
        answer=LETTERS[turned],
        options=tuple(options[-turned:] + options[:-turned]) if turned else tuple(options),
        condition="picture",
    )


BENCHMARKS = {
    "Ch3Ef_Harmless": Benchmark(
        read,
        kind="mcq",
        source="huggingface.co/datasets/openlamm/Ch3Ef, meta_file/Harmless.json",
        licence="none found",
        harmful="no row: the right option is the harmless one",
        attack="none: accuracy",
        judge="the option with the lowest perplexity",
        changed="the letter that is chosen, in the host's wording; options turned, since the right one stands first",
    )
}
