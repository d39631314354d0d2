"""SPA-VL (arXiv 2406.12030): the 265 harmful questions of its test, each beside a picture.

Source: the authors' data set on the hub, sqrti/SPA-VL (CC BY 4.0): test/harm-*.parquet with image, question, class1,
class2 and class3. Its 265 questions of help are not read: nothing says that they are harmless. The format is known from
the data set's page and others' readers: this one was tried on rows of our own in it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from vlmguard_plugin.benchmarks.benchmark import Benchmark
from vlmguard_plugin.benchmarks.row import Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import collect, record, words_of
from vlmguard_plugin.benchmarks.tables_of_others import parquet_files, picture_in, read_parquet

COLUMNS = ("image", "question", "class1", "class2", "class3")


def read(source: Path) -> Reading:
    """Rows of the harm split; ids are row numbers from 1. category: the first of the authors' three classes.

    source: the folder of the parquet files (or the one around test), or the file.
    """
    files = parquet_files(Path(source), "harm-*.parquet")
    if not files:
        raise SourceMissing(f"no harm-*.parquet in {source} or its folder test; give the SPA-VL authors' files")
    rows = list(read_parquet(files, COLUMNS))
    makers = ((number, partial(make_row, place, values)) for place, (_, number, values) in enumerate(rows, start=1))
    return collect(files[0] if len(files) == 1 else files[0].parent, makers)


def make_row(number: int, values: dict[str, Any]) -> Row:
    """One question beside its picture."""
    cells = record({name: value for name, value in values.items() if value is not None}, ("question",))
    return Row(
        id=str(number),
        request=words_of(cells, "question"),
        images=(picture_in(values["image"]),),
        category=words_of(cells, "class1"),
        harmful=True,
        pair=str(number),
        condition="picture",
    )


BENCHMARKS = {
    "SPA_VL": Benchmark(
        read,
        kind="safety",
        source="huggingface.co/datasets/sqrti/SPA-VL, test/harm-*.parquet",
        licence="CC BY 4.0; the pictures are LAION's",
        harmful="every row",
        attack="the answer is unsafe",
        judge="GPT-4V",
        changed="the harm split alone",
    )
}
