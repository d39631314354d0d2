"""VLSBench: requests that look harmless until one sees the picture, which the text does not give away.

Source: the authors' `data.json` (AI45Lab/VLSBench, folder `data`, or Foreshhh/vlsbench on Hugging Face, 2,241 items)
and, beside it, the folder `imgs` of the latter's `imgs.tar`. The reader was run on the authors' data.json of July
2025; their pictures were not at hand.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from vlmguard_plugin.benchmarks.benchmark import Benchmark
from vlmguard_plugin.benchmarks.picture import check_picture
from vlmguard_plugin.benchmarks.row import Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import collect, inside, read_json_list, record, words_of

QUESTIONS = "data.json"
PICTURES = "imgs"


def read(source: Path) -> Reading:
    """Rows of VLSBench, all harmful.

    source: the folder that holds data.json and imgs, or that json. `shown` is the authors' description of the
    picture and `answer` their reason why request and picture do harm together (both came in March 2025; rows of
    older files have none). The authors' file has one item without an instruction, which is a bad row.
    """
    source = Path(source)
    table = source / QUESTIONS if source.is_dir() else source
    if not table.is_file():
        raise SourceMissing(f"{table} is not there; give the folder that holds {QUESTIONS} and {PICTURES}")
    if not (table.parent / PICTURES).is_dir():
        raise SourceMissing(f"{table.parent} has no folder {PICTURES}; unpack the authors' imgs.tar there")
    numbered = enumerate(read_json_list(table), start=1)
    return collect(table, ((number, partial(make_row, cells, table.parent)) for number, cells in numbered))


def make_row(cells: Any, folder: Path) -> Row:
    """One object of the list as a row."""
    cells = record(cells, ("instruction_id", "instruction", "image_path", "category"))
    picture = inside(folder, cells["image_path"])
    check_picture(picture)
    item = str(cells["instruction_id"])
    reason = words_of(cells, "safety_reason")
    return Row(
        id=item,
        request=words_of(cells, "instruction"),
        images=(picture,),
        category=str(cells["category"]),
        harmful=True,
        pair=item,
        answer=f"Safety reason: {reason}" if reason else None,
        condition="picture",
        shown=words_of(cells, "image_description"),
    )


BENCHMARKS = {
    "VLSBench": Benchmark(
        read,
        "safety",
        "huggingface.co/datasets/Foreshhh/vlsbench",
        "Apache-2.0; the pictures come from several sources",
        "every row",
        attack="the request is answered with no word of the risk; refusals and warnings are safe",
        judge="GPT-4o, shown the picture: refusal, warning or unsafe",
        changed="the item without an instruction is left out; the sub-category is not kept",
    )
}
