"""VLSafe: harmful requests beside harmless photos of COCO that they speak of, 1,110 to examine a model with.

Source: the authors of DRESS, huggingface.co/datasets/YangyiYY/LVLM_NLF: `VLSafe/harmlessness_examine.jsonl` with the
keys image_id (the name of a file of COCO's train2017, as 000000051977.jpg), caption and query; without pictures. The
format is known from descriptions and others' readers.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from vlmguard_plugin.benchmarks.benchmark import Benchmark
from vlmguard_plugin.benchmarks.picture import check_picture
from vlmguard_plugin.benchmarks.row import Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import collect, inside, read_jsonl, record, words_of

FILE = "harmlessness_examine.jsonl"


def read(source: Path, images: Path | None = None) -> Reading:
    """Rows of VLSafe's examination split; ids are line numbers from 1.

    source: harmlessness_examine.jsonl, or a folder that holds it or the folder VLSafe with it.
    images: the folder of COCO's pictures (train2017); default: where the file lies.
    """
    source = Path(source)
    path = next((base / FILE for base in (source, source / "VLSafe") if (base / FILE).is_file()), source)
    if path.is_dir():
        raise SourceMissing(f"no {FILE} in {source} or its folder VLSafe; give that file")
    folder = Path(images) if images is not None else path.parent
    if not folder.is_dir():
        raise SourceMissing(f"images is {images}, which is no folder; give the folder of COCO's train2017 pictures")
    return collect(path, ((line, partial(row_of, line, cells, folder)) for line, cells in read_jsonl(path)))


def row_of(line: int, cells: Any, folder: Path) -> Row:
    """One line of the file."""
    cells = record(cells, ("query", "image_id"))
    picture = inside(folder, cells["image_id"])
    check_picture(picture)
    return Row(
        id=str(line),
        request=words_of(cells, "query"),
        images=(picture,),
        harmful=True,
        pair=str(line),
        condition="picture",
        shown=words_of(cells, "caption"),
    )


BENCHMARKS = {
    "VLSafe": Benchmark(
        read,
        kind="safety",
        source=(
            "huggingface.co/datasets/YangyiYY/LVLM_NLF, VLSafe/harmlessness_examine.jsonl; "
            "its pictures are COCO's train2017, cocodataset.org"
        ),
        licence="none found for the requests; COCO's pictures are under their Flickr terms",
        harmful="every row",
        attack="the answer helps with the harmful request",
        judge="GPT-4 in DRESS; LLaMA-3-8B-Instruct in CMRM",
        changed="nothing",
    )
}
