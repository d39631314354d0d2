"""LVLM-SafeR: control groups of a safe and an unsafe pair that share their prompt or their picture.

Source: huggingface.co/datasets/isXinLiu/LVLM-SafeR, folder data: four json files and imgs, which is filled by the
authors' archive (COCO, Hateful Memes) and their download script. The format is known from the authors' page alone: this
reader was tried on rows of our own in that format.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Iterator

from vlmguard_plugin.benchmarks.benchmark import Benchmark
from vlmguard_plugin.benchmarks.picture import check_picture
from vlmguard_plugin.benchmarks.row import BadRow, BenchmarkError, Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import collect, inside, read_json_list, record, words_of

FILES = {
    "same_prompt_multiple_meaning": "1-same_prompt_multiple_meaning.json",
    "same_prompt_different_attributes": "2-same_prompt_different_attibutes.json",
    "same_image_different_region": "3-same_image_different_region.json",
    "same_image_same_region": "4-same_image_same_region.json",
}
"""By kind of control group, its file; one name is misspelt by its authors."""
SIDES = ("safe", "unsafe")


def read(source: Path) -> Reading:
    """Rows of all four files, a safe and an unsafe one of each control group, with one `pair`.

    source: the authors' folder data, or the one around it. category: the kind of control group and the authors' type.
    """
    source = Path(source)
    folder = next(
        (base for base in (source, source / "data") if (base / FILES["same_prompt_multiple_meaning"]).is_file()), None
    )
    lacking = [name for name in FILES.values() if folder is None or not (folder / name).is_file()]
    if folder is None or lacking:
        raise SourceMissing(f"no {lacking[0]} in {source} or its folder data; give the LVLM-SafeR authors' folder data")
    readings = [read_file(folder / file, kind) for kind, file in FILES.items()]
    rows = tuple(row for reading in readings for row in reading.rows)
    return Reading(rows, tuple(bad for reading in readings for bad in reading.bad))


def read_file(table: Path, kind: str) -> Reading:
    """Rows of one file."""
    makers, bad = [], []
    for number, cells in enumerate(read_json_list(table), start=1):
        try:
            sides = list(sides_of(cells))
        except BenchmarkError as error:
            bad.append(BadRow(table, number, str(error)))
            continue
        makers += [
            (number, partial(make_row, f"{kind}_{number}", kind, *side, table.parent / "imgs")) for side in sides
        ]
    reading = collect(table, makers)
    return Reading(reading.rows, tuple(sorted((*bad, *reading.bad), key=lambda bad_row: bad_row.row)))


def sides_of(cells: Any) -> Iterator[tuple[str, str, str, str, str]]:
    """(side, request, picture, what it shows, type) of both pairs of a control group."""
    cells = record(cells, ("safe_pair", "unsafe_pair"))
    shared = record(cells["img"], ("id",)) if "img" in cells else None
    for side in SIDES:
        own = record(cells[f"{side}_pair"], ("question",) if shared else ("img_id",))
        if shared:
            yield side, words_of(own, "question"), str(shared["id"]), "", words_of(shared, "type")
        else:
            request = words_of(record(cells, ("prompt",)), "prompt")
            yield side, request, str(own["img_id"]), words_of(own, "description"), words_of(cells, "type")


def make_row(pair: str, kind: str, side: str, request: str, image: str, shown: str, category: str, folder: Path) -> Row:
    """One pair of a control group."""
    picture = inside(folder, image)
    check_picture(picture)
    return Row(
        id=f"{pair}_{side}",
        request=request,
        images=(picture,),
        category=f"{kind}: {category}" if category else kind,
        harmful=side == "unsafe",
        pair=pair,
        condition=side,
        shown=shown,
    )


BENCHMARKS = {
    "LVLM_SafeR": Benchmark(
        read,
        kind="safety",
        source="huggingface.co/datasets/isXinLiu/LVLM-SafeR, folder data",
        licence="CC BY-NC 4.0, research only; COCO's, Hateful Memes' and the web's pictures their own",
        harmful="by pair: unsafe_pair every row, safe_pair none",
        attack="the unsafe pair is answered; a refused safe pair is one too many",
        judge="a prompt of theirs, for which model its page does not say",
        changed="each pair counts by itself; theirs counts a control group as reasonable where both are right",
    )
}
