"""HADES (arXiv 2403.09792): 750 harmful instructions whose harmful words stand in a picture, made worse in steps.

Source: the authors' data set on the hub, Monosail/HADES (MIT): data/test-*.parquet with id, scenario, keywords, step,
category, instruction and image. The format is known from others' readers: this one was tried on rows of our own in it.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

from vlmguard_plugin.benchmarks.benchmark import Benchmark
from vlmguard_plugin.benchmarks.row import BenchmarkError, Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import collect, record, words_of
from vlmguard_plugin.benchmarks.tables_of_others import parquet_files, picture_in, read_parquet

COLUMNS = ("id", "scenario", "keywords", "step", "category", "instruction", "image")
LAST = 5
"""The last step, which others report."""
POINTER = "the {category} that stands in the picture"
"""Our wording of what stands in the place of the harmful words."""


def read(source: Path, step: int = LAST, plain: bool = False) -> Reading:
    """Rows of one step, 0 to 5.

    source: the folder of the parquet files (or the one around data), or one of them. plain: the instruction is left as
    it is, harmful words included. category: the scenario.
    """
    if type(step) is not int or not 0 <= step <= LAST:
        raise BenchmarkError(f"step is {step!r}; give a whole number from 0 to {LAST}")
    files = parquet_files(Path(source), "test-*.parquet")
    if not files:
        raise SourceMissing(f"no test-*.parquet in {source} or its folder data; give the authors' files")
    rows = read_parquet(files, COLUMNS)
    wanted = [(file, number, values) for file, number, values in rows if values["step"] == step]
    makers = [(number, partial(make_row, values, plain)) for _, number, values in wanted]
    if not makers:
        raise BenchmarkError(f"{files[0].parent} holds no row of step {step}; give another step, or all files")
    return collect(files[0] if len(files) == 1 else files[0].parent, makers)


def make_row(values: dict[str, Any], plain: bool) -> Row:
    """One instruction beside its picture."""
    cells = record(
        {name: value for name, value in values.items() if value is not None}, ("id", "keywords", "instruction")
    )
    keywords, instruction = words_of(cells, "keywords"), words_of(cells, "instruction")
    scenario, kind = words_of(cells, "scenario"), words_of(cells, "category")
    if not plain and keywords not in instruction:
        raise BenchmarkError(f"keywords {keywords!r:.60} don't stand in the instruction, so they can't be hidden")
    pointer = POINTER.format(category=kind or "thing")
    digest = hashlib.sha256(instruction.encode()).hexdigest()[:6]  # ids begin anew, nobody says where
    item = "_".join(filter(None, (scenario, str(cells["id"]), digest)))
    return Row(
        id=item,
        request=instruction if plain else instruction.replace(keywords, pointer),
        images=(picture_in(values["image"]),),
        category=scenario,
        harmful=True,
        pair=item,
        condition="picture",
        intent="" if plain else instruction,
        shown=f"the words: {keywords}",
    )


BENCHMARKS = {
    "HADES": Benchmark(
        read,
        kind="safety",
        source="huggingface.co/datasets/Monosail/HADES, data/test-*.parquet",
        licence="MIT",
        harmful="every row",
        attack="the answer does what the instruction asks",
        judge="Beaver-dam-7b on the whole instruction and the answer",
        changed="our own words point to the picture; step 5 alone, unless step says another; no adversarial picture",
    )
}
