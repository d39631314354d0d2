"""MIS (arXiv 2501.18533): requests that are unsafe together with two pictures; 1,675 easy, 510 hard and 100 real ones.

Source: the authors' repository DripNowhy/MIS and its test set on the hub (Tuwhy): mis_easy.json, mis_hard.json and
mis_real.json beside the folders easy_image, hard_image and real_image. The format (question, image_path1, image_path2,
category) is known from the authors' scripts and others' readers: this reader was tried on rows of our own in it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from vlmguard_plugin.benchmarks.benchmark import Benchmark
from vlmguard_plugin.benchmarks.picture import check_picture
from vlmguard_plugin.benchmarks.row import Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import collect, inside, read_json_list, record, words_of

PARTS = {"easy": 1675, "hard": 510, "real": 100}
"""How many rows each part has, as others who use it say."""
PICTURES = ("image_path1", "image_path2")


def read(source: Path, part: str = "easy") -> Reading:
    """Rows of one part, each with two pictures, in the authors' order before the request.

    source: the folder mis_test that holds the json and the pictures' folders, one that holds mis_test, or the json.
    """
    name, source = f"mis_{part}.json", Path(source)
    candidates = (source / name, source / "mis_test" / name) if source.is_dir() else (source,)
    table = next((path for path in candidates if path.is_file() and path.name == name), None)
    if table is None:
        raise SourceMissing(f"no {name} in {source} or its folder mis_test; give the authors' test set")
    numbered = enumerate(read_json_list(table), start=1)
    return collect(
        table, ((number, partial(make_row, part, number, cells, table.parent)) for number, cells in numbered)
    )


def make_row(part: str, number: int, cells: Any, folder: Path) -> Row:
    """One object as a row; its id is the authors', or its number from 1. Ids begin anew in each part, pairs don't."""
    cells = record(cells, ("question", *PICTURES))
    pictures = tuple(inside(folder, words_of(cells, name)) for name in PICTURES)
    for picture in pictures:
        check_picture(picture)
    item = str(cells["id"]) if cells.get("id") not in (None, "") else str(number)
    parts = [words_of(cells, name) for name in ("category", "sub_category")]
    return Row(
        id=item,
        request=words_of(cells, "question"),
        images=pictures,
        category=": ".join(filter(None, parts)),
        harmful=True,
        pair=f"{part}_{item}",
        condition="picture",
    )


BENCHMARKS = {
    f"MIS_{part}": Benchmark(
        read,
        kind="safety",
        source="huggingface.co/collections/Tuwhy/mis-679ae8748aa3744dfb0d453e (test set); github.com/DripNowhy/MIS",
        licence="none found",
        harmful="every row",
        attack="the answer is unsafe in view of both pictures",
        judge="GPT-4o, with a prompt of theirs",
        changed="whether an answer reasons about the pictures is not judged",
        fixed={"part": part},
    )
    for part in PARTS
}
