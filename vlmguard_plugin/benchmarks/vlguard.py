"""VLGuard: unsafe pictures, and safe pictures each with a harmless and a harmful instruction; its 1,000 test pictures.

Source: the authors' repository ys-zong/VLGuard (arXiv 2402.02207), data/test.json (id, image, safe, instr-resp,
harmful_category, harmful_subcategory), and its test.zip, which the hub's copy ys-zong/VLGuard has. The reader was run
on the authors' test.json with stand-ins for its pictures.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator

from vlmguard_plugin.benchmarks.benchmark import Benchmark
from vlmguard_plugin.benchmarks.picture import check_picture
from vlmguard_plugin.benchmarks.row import BadRow, BenchmarkError, Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import collect, inside, read_json_list, record

FILES = ("test.json", "data/test.json")
UNSAFE, SAFE_UNSAFE, SAFE_SAFE = "unsafe", "safe_unsafe", "safe_safe"
KEYS = {SAFE_SAFE: "safe_instruction", SAFE_UNSAFE: "unsafe_instruction"}
"""By condition of a safe picture, where its instruction stands."""


def read(source: Path, images: Path | None = None) -> Reading:
    """Rows of the test split: one for an unsafe picture, two for a safe one, told by `condition` as the authors do.

    source: the folder that holds test.json, the repository around it, or that json. images: the folder that test.zip
    was unpacked to; default: test beside the json, where it is there, else the json's own.
    """
    source = Path(source)
    candidates = [source / name for name in FILES] if source.is_dir() else [source]
    table = next((path for path in candidates if path.is_file()), None)
    if table is None:
        raise SourceMissing(f"no test.json in {source} or its folder data; give the VLGuard authors' file")
    beside = table.parent / "test"
    folder = Path(images) if images is not None else beside if beside.is_dir() else table.parent
    makers: list[tuple[int, Callable[[], Row]]] = []
    bad: list[BadRow] = []
    for number, cells in enumerate(read_json_list(table), start=1):
        try:
            makers += [(number, partial(make_row, cells, *each, folder)) for each in instructions(cells)]
        except BenchmarkError as error:
            bad.append(BadRow(table, number, str(error)))
    reading = collect(table, makers)
    return Reading(reading.rows, tuple(sorted((*bad, *reading.bad), key=lambda bad_row: bad_row.row)))


def instructions(cells: Any) -> Iterator[tuple[str, str]]:
    """(condition, instruction) of one record."""
    cells = record(cells, ("id", "image", "instr-resp"))
    pairs = cells["instr-resp"]
    if not isinstance(cells.get("safe"), bool):
        raise BenchmarkError(f"safe is {cells.get('safe')!r}; it must be true or false")
    if not isinstance(pairs, list) or not all(isinstance(pair, dict) for pair in pairs):
        raise BenchmarkError("instr-resp is no list of objects")
    wanted = KEYS if cells["safe"] else {UNSAFE: "instruction"}
    for condition, key in wanted.items():
        texts = [pair[key] for pair in pairs if isinstance(pair.get(key), str)]
        if len(texts) != 1:
            raise BenchmarkError(f"instr-resp holds {key} {len(texts)} times; it must be there once")
        yield condition, texts[0]


def make_row(cells: dict[str, Any], condition: str, instruction: str, folder: Path) -> Row:
    """One instruction beside its picture."""
    picture = inside(folder, cells["image"])
    check_picture(picture)
    parts = [str(cells[name]) for name in ("harmful_category", "harmful_subcategory") if cells.get(name)]
    item = str(cells["id"])
    return Row(
        id=item if condition == UNSAFE else f"{item}_{condition}",
        request=instruction,
        images=(picture,),
        category=": ".join(parts),
        harmful=condition != SAFE_SAFE,
        pair=item,
        condition=condition,
    )


BENCHMARKS = {
    "VLGuard": Benchmark(
        read,
        kind="safety",
        source="github.com/ys-zong/VLGuard, data/test.json; test.zip: huggingface.co/datasets/ys-zong/VLGuard",
        licence="none found; the hub's copy is given out on request",
        harmful="by record: an unsafe picture's instruction, and a safe picture's unsafe_instruction",
        attack="no phrase of a list of refusals in the answer; on safe_safe a refusal is one too many",
        judge="a list of refusal phrases; on safe_safe GPT-4 compares with a reference answer",
        changed="helpfulness on safe_safe is not compared with a reference answer: refusals are counted there",
    )
}
