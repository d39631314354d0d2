"""MOSSBench: harmless requests beside pictures that make models refuse, and their harmful counterparts.

Source: the authors' repository, xirui-li/MOSSBench (CC BY-SA 4.0): `images_information/information.json` and `images`
in its folders `data` (300 harmless requests) and `data_contrast` (244 of them with the text or the picture changed).
That the contrast set is harmful is not written there: it is our reading of some of its items. The reader was run on
both json files of the authors and all but 20 of their pictures, which were not at hand.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from vlmguard_plugin.benchmarks.benchmark import Benchmark, Download
from vlmguard_plugin.benchmarks.picture import check_picture
from vlmguard_plugin.benchmarks.row import BenchmarkError, Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import collect, inside, read_json, record, words_of

FOLDERS = {False: "data", True: "data_contrast"}
QUESTIONS = "images_information/information.json"
STIMULI = {
    "type 1": "Exaggerated Risk",
    "type 2": "Negated Harm",
    "type 3": "Counterintuitive Interpretation",
}


def read(source: Path, contrast: bool = False) -> Reading:
    """Rows of MOSSBench (harmless), or of its contrast set (harmful); `pair` is the same number in both.

    source: the authors' repository, or its folder data (data_contrast for the contrast set). category: the
    stimulus. `shown` is the authors' description; none in the contrast set's Negated Harm, where the pictures were
    changed and the descriptions were not.
    """
    source = Path(source)
    name = FOLDERS[contrast]
    candidates = [source / name]
    if source.name not in set(FOLDERS.values()) - {name}:
        candidates.append(source)
    folder = next((base for base in candidates if (base / QUESTIONS).is_file()), None)
    if folder is None:
        raise SourceMissing(f"no {QUESTIONS} in the folder {name} of {source}; give the MOSSBench repository")
    table = folder / QUESTIONS
    entries = read_json(table)
    if not isinstance(entries, dict):
        raise BenchmarkError(f"{table} holds a JSON {type(entries).__name__}; it must be an object by number")
    numbered = enumerate(entries.values(), start=1)
    return collect(table, ((number, partial(make_row, cells, folder, contrast)) for number, cells in numbered))


def make_row(cells: Any, folder: Path, contrast: bool) -> Row:
    """One object as a row."""
    cells = record(cells, ("pid", "image", "question", "metadata"))
    over = str(cells["metadata"].get("over")) if isinstance(cells["metadata"], dict) else ""
    if over not in STIMULI:
        raise BenchmarkError(f"metadata names the stimulus {over!r} (key over); it must be one of {', '.join(STIMULI)}")
    picture = inside(folder, cells["image"])
    check_picture(picture)
    item = str(cells["pid"])
    outdated = contrast and over == "type 2"
    return Row(
        id=item,
        request=words_of(cells, "question"),
        images=(picture,),
        category=STIMULI[over],
        harmful=contrast,
        pair=item,
        condition="picture",
        shown="" if outdated else words_of(cells, "description", "short description"),
    )


URL = "https://raw.githubusercontent.com/xirui-li/MOSSBench/8d68b0614b39d8990a508e03d99975832f399db2/"
SHA256 = {
    False: "a5f7701c0a068391a3ba10714dd95f3357d664c84faf47b747e425ff9806a352",
    True: "ec00786d6be370284bb398dd61978c279e372f0fd9114e8ca39032e20ea14f1e",
}
NEGATED_CONTRAST = (
    106, 108, 111, 113, 115, 117, 119, 121, 123, 125, 127, 129, 133, 136, 138, 139, 142, 144, 147, 149, 152, 154,
    156, 158, 160, 162, 165, 167, 171, 173, 175, 177, 179, 181, 182, 184, 186, 187, 189, 191, 193, 195, 197, 199,
)  # fmt: skip
"""Numbers of the Negated Harm items (101 to 200) that the contrast set has."""


def downloads(contrast: bool) -> tuple[Download, ...]:
    """The json and the pictures that it names."""
    name = FOLDERS[contrast]
    negated = NEGATED_CONTRAST if contrast else range(101, 201)
    pictures = [f"{name}/images/{number}.png" for number in (*range(1, 101), *negated, *range(201, 301))]
    table = f"{name}/{QUESTIONS}"
    return (Download(URL + table, table, SHA256[contrast]), *(Download(URL + path, path) for path in pictures))


mossbench = partial(
    Benchmark,
    read=read,
    kind="safety",
    source="github.com/xirui-li/MOSSBench",
    licence="CC BY-SA 4.0, as a test set only",
    judge="GPT-4 (gpt-4-turbo in their code), shown the picture: complied or refused",
)

BENCHMARKS = {
    "MOSSBench": mossbench(
        fixed={"contrast": False},
        harmful="no row",
        attack="none: a refusal is over-refusal",
        changed="nothing",
        downloads=downloads(False),
    ),
    "MOSSBench_contrast": mossbench(
        fixed={"contrast": True},
        harmful="every row, in our reading of the set",
        attack="the request is answered",
        changed="descriptions of changed pictures are left out",
        downloads=downloads(True),
    ),
}
