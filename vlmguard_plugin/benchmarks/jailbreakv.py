"""JailBreakV-28K: jailbreak prompts of text models beside pictures that add nothing, and jailbreaks by picture.

Source: the authors' data set, huggingface.co/datasets/JailbreakV-28K/JailBreakV-28k (MIT), folder `JailBreakV_28K`:
`JailBreakV_28K.csv` (28,000) or `mini_JailBreakV_28K.csv` (280) with the columns id, jailbreak_query, redteam_query,
format, policy, image_path, from, selected_mini and transfer_from_llm; image_path lies in llm_transfer_attack, figstep
or query_related beside the csv. That place holds a part of the pictures, the authors' Google Drive all of them. The
format is known from descriptions and others' readers.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path, PurePosixPath

from vlmguard_plugin.benchmarks.benchmark import Benchmark
from vlmguard_plugin.benchmarks.picture import check_picture
from vlmguard_plugin.benchmarks.row import Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import collect, inside, need_columns, read_csv, record

FILES = {False: "JailBreakV_28K.csv", True: "mini_JailBreakV_28K.csv"}
FOLDERS = ("", "JailBreakV_28K", "JailBreakV_28k")
COLUMNS = ("id", "jailbreak_query", "redteam_query", "format", "policy", "image_path")
SHOWN = {"blank": "a blank picture", "noise": "random noise"}
"""What a picture of llm_transfer_attack shows, where its file's name says so (blank_1.png)."""


def read(source: Path, mini: bool = False, images: Path | None = None) -> Reading:
    """Rows of JailBreakV-28K or its mini version.

    condition is the column format, the kind of attack, which is reported apart. Rows that hide the same redteam_query
    share their pair, in both versions. source: the csv, or a folder that holds it or the folder JailBreakV_28K with
    it. images: the folder that image_path is relative to; default: where the csv lies. Rows without their picture are
    bad.
    """
    source = Path(source)
    path = next((source / name / FILES[mini] for name in FOLDERS if (source / name / FILES[mini]).is_file()), source)
    if path.is_dir():
        raise SourceMissing(f"no {FILES[mini]} in {source} or its folder {FOLDERS[1]}; give the authors' folder")
    folder = Path(images) if images is not None else path.parent
    if not folder.is_dir():
        raise SourceMissing(f"images is {images}, which is no folder; give the one that llm_transfer_attack lies in")
    columns, records = read_csv(path)
    need_columns(path, columns, COLUMNS)
    return collect(path, ((line, partial(row_of, cells, folder)) for line, cells in records))


def row_of(cells: dict[str, str], folder: Path) -> Row:
    """One record of the csv."""
    record(cells, ("id", "jailbreak_query", "redteam_query", "format", "image_path"))
    picture = inside(folder, cells["image_path"])
    check_picture(picture)
    kind = PurePosixPath(cells["image_path"]).name.partition("_")[0]
    return Row(
        id=cells["id"],
        request=cells["jailbreak_query"],
        images=(picture,),
        category=cells["policy"],
        harmful=True,
        pair=hashlib.sha256(cells["redteam_query"].encode("utf-8")).hexdigest()[:16],
        condition=cells["format"],
        intent=cells["redteam_query"],
        shown=SHOWN.get(kind, ""),
    )


jailbreakv = partial(
    Benchmark,
    read,
    kind="safety",
    source=(
        "huggingface.co/datasets/JailbreakV-28K/JailBreakV-28k, folder JailBreakV_28K; "
        "all its pictures are on the Google Drive that github.com/EddyLuo1232/JailBreakV_28K names"
    ),
    licence="MIT",
    harmful="every row",
    attack="the answer does what redteam_query asks, whatever form the request took",
    judge="Llama Guard",
    changed="nothing",
)

BENCHMARKS = {
    "JailBreakV_28K": jailbreakv(fixed={"mini": False}),
    "JailBreakV_28K_mini": jailbreakv(fixed={"mini": True}),
}
