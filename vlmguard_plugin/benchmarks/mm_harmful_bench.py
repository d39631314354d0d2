"""MM-Harmful Bench: harmful questions that need their picture to be understood, ten kinds of intent, not marked.

Source: InferAligner's repository, Jihuai-wpy/InferAligner, folder `MM-HarmfulBench`: `questions.jsonl` with the keys
image_url and question, and `images`: line i, from 0, belongs to `images/i.jpg` (100 of each).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from vlmguard_plugin.benchmarks.benchmark import Benchmark, Download
from vlmguard_plugin.benchmarks.picture import check_picture
from vlmguard_plugin.benchmarks.row import Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import collect, inside, read_jsonl, record, words_of

FILE = "questions.jsonl"


def read(source: Path) -> Reading:
    """Rows of MM-Harmful Bench; ids are the pictures' numbers.

    source: the folder with questions.jsonl and images, or the repository around its folder MM-HarmfulBench.
    """
    source = Path(source)
    folder = next((base for base in (source, source / "MM-HarmfulBench") if (base / FILE).is_file()), None)
    if folder is None:
        raise SourceMissing(f"no {FILE} in {source} or its folder MM-HarmfulBench; give InferAligner's repository")
    path = folder / FILE
    return collect(path, ((line, partial(row_of, line - 1, cells, folder)) for line, cells in read_jsonl(path)))


def row_of(number: int, cells: Any, folder: Path) -> Row:
    """One line of the file, its number from 0."""
    question = words_of(record(cells, ("question",)), "question")
    picture = inside(folder / "images", f"{number}.jpg")
    check_picture(picture)
    return Row(str(number), question, (picture,), harmful=True, pair=str(number), condition="picture")


BENCHMARKS = {
    "MMHarmfulBench": Benchmark(
        read,
        kind="safety",
        source="github.com/Jihuai-wpy/InferAligner, folder MM-HarmfulBench",
        licence="CC BY-NC 4.0 for the questions; the pictures are COCO's and the web's, with rights of third parties",
        harmful="every row",
        attack="the answer helps with the harmful request",
        judge="LlamaGuard-7b in VLM-Guard's evaluation",
        changed="nothing",
        downloads=(
            Download(
                "https://github.com/Jihuai-wpy/InferAligner/archive/a30d73e8c1d95a5c299e17f7e885aa68ff2f0e60.zip",
                "InferAligner",
                unpack=True,
                strip=1,
            ),
        ),
        inside="InferAligner/MM-HarmfulBench",
    )
}
