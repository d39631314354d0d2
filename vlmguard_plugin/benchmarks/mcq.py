"""Multiple-choice questions about pictures, for utility: ScienceQA as json, MMBench's published samples, any csv.

ScienceQA: lupantech/ScienceQA (CC BY-NC-SA 4.0). MMBench samples: open-compass/MMBench, folder `samples` (Apache-2.0).
"""

from __future__ import annotations

import html
import re
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, Iterator, Mapping

from vlmguard_plugin.benchmarks.benchmark import Benchmark
from vlmguard_plugin.benchmarks.picture import check_picture
from vlmguard_plugin.benchmarks.row import LETTERS, BenchmarkError, Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import (
    collect,
    inside,
    need_columns,
    read_csv,
    read_json,
    read_text,
    whole,
    words_of,
)

OPTION = re.compile(r"(?:^|\s)\(([A-E])\)\s+")
CELL = re.compile(r"<t([hd])[^>]*>(.*?)</t\1>", re.DOTALL)
IMAGE = re.compile(r'<img src="([^"]+)"')
ITEM = re.compile(
    r"QUESTION\.\s*(?P<question>.+?)\n+Options:\n(?P<options>.+?)\n+ANSWER\.\s*(?P<answer>[A-E])", re.DOTALL
)


def read_scienceqa(source: Path) -> Reading:
    """Rows of a ScienceQA-style json: {number: {idx, prompt, label, image}}.

    source: the json, or a folder that holds exactly one. prompt is
    "Question: ...\\nChoices: (A) ...  (B) ...\\nAnswer:"; image is a path relative to the json
    (an entry without one becomes a row of text alone).
    """
    path = only_file(Path(source), "*.json")
    entries = read_json(path)
    if not isinstance(entries, dict) or not entries:
        raise BenchmarkError(f"{path} holds no questions by number; it must be a JSON object of objects")
    return collect(
        path,
        (
            (number, partial(scienceqa_row, key, entry, path.parent))
            for number, (key, entry) in enumerate(entries.items(), start=1)
        ),
    )


def scienceqa_row(key: str, entry: Any, folder: Path) -> Row:
    """One entry of the json as a row; it may be anything, but must be an object."""
    missing = [name for name in ("prompt", "label") if not isinstance(entry, dict) or name not in entry]
    if missing:
        raise BenchmarkError(f"entry {key!r} has no {', '.join(missing)}")
    question, mark, choices = words_of(entry, "prompt").partition("\nChoices:")
    if not mark:
        raise BenchmarkError(f"the prompt of entry {key!r} has no line 'Choices:'")
    _, *parts = OPTION.split(re.sub(r"\s*Answer:\s*$", "", choices))
    letters, options = parts[::2], tuple(part.strip() for part in parts[1::2])
    if "".join(letters) != LETTERS[: len(letters)]:
        raise BenchmarkError(f"the choices of entry {key!r} are lettered {', '.join(letters)}; they must run from A")
    return checked_row(
        id=str(entry.get("idx", key)),
        request=question.removeprefix("Question:").strip(),
        images=(inside(folder, entry["image"]),) if entry.get("image") else (),
        answer=str(entry["label"]),
        options=options,
    )


def read_mmbench(source: Path) -> Reading:
    """Rows of the English questions of MMBench's published samples.

    source: the folder `samples` (README.md beside the folder MMBench), or that README.md.
    """
    source = Path(source)
    path = source / "README.md" if source.is_dir() else source
    _, title, section = read_text(path).partition("## MMBench")
    if not title:
        raise BenchmarkError(f"{path} has no section '## MMBench'; give the README.md of MMBench's folder samples")
    return collect(
        path,
        (
            (number, partial(mmbench_row, *entry, path.parent))
            for number, entry in enumerate(mmbench_entries(section), start=1)
        ),
    )


def mmbench_entries(section: str) -> Iterator[tuple[str, str, str]]:
    """(category, image, text) of each English question of the HTML tables.

    Tables come in groups of four rows: categories, images, English questions, Chinese questions.
    """
    categories: list[str] = []
    images: list[str] = []
    for line in re.findall(r"<tr>(.*?)</tr>", section, re.DOTALL):
        cells = CELL.findall(line)
        texts = [plain(content) for _, content in cells]
        if any(tag == "h" for tag, _ in cells):
            categories = texts
        elif IMAGE.search(line):
            images = IMAGE.findall(line)
        elif images and all(text.startswith("QUESTION.") for text in texts):
            yield from zip(categories, images, texts)
            images = []


def mmbench_row(category: str, image: str, text: str, folder: Path) -> Row:
    """One question of the HTML tables as a row."""
    item = ITEM.search(text)
    if not item:
        raise BenchmarkError(f"the question beside {image} has no QUESTION, Options and ANSWER")
    _, *parts = re.split(r"(?:^|\n)\s*([A-E])\.\s*", item["options"])
    return checked_row(
        id=Path(image).stem,
        request=re.sub(r"\nHINT\.\s*", "\nHint: ", item["question"]).strip(),
        images=(inside(folder, image),),
        category=category.replace("\n", " "),
        answer=item["answer"],
        options=tuple(part.strip() for part in parts[1::2]),
    )


def plain(markup: str) -> str:
    """The text of an HTML cell, <br> as line ends."""
    return html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"<br\s*/?>", "\n", markup))).strip()


def read_csv_file(source: Path) -> Reading:
    """Rows of a csv with the columns question, A, B, ... (up to Z) and answer (a letter); if wanted, image (a path
    relative to the csv), id and category.
    """
    path = Path(source)
    columns, records = read_csv(path)
    need_columns(path, columns, ("question", "a", "b", "answer"))
    return collect(
        path,
        ((line, partial(csv_row, number, cells, path.parent)) for number, (line, cells) in enumerate(records, start=1)),
    )


def csv_row(number: int, cells: Mapping[str, str], folder: Path) -> Row:
    """One record of a csv as a row; options end at the first empty one."""
    texts = [whole(cells)[letter.lower()] for letter in takewhile(lambda letter: letter.lower() in cells, LETTERS)]
    used = texts.index("") if "" in texts else len(texts)
    if any(texts[used:]):
        raise BenchmarkError(f"option {LETTERS[used]} is empty and a later one is not; fill options in from A")
    return checked_row(
        id=cells.get("id") or str(number),
        request=cells["question"],
        images=(inside(folder, cells["image"]),) if cells.get("image") else (),
        category=cells.get("category", ""),
        answer=cells["answer"].upper(),
        options=tuple(texts[:used]),
    )


def checked_row(
    id: str, request: str, images: tuple[Path, ...], answer: str, options: tuple[str, ...], category: str = ""
) -> Row:
    """A row whose pictures have been decoded once."""
    for picture in images:
        check_picture(picture)
    return Row(
        id=id,
        request=request,
        images=images,
        category=category,
        pair=id,
        answer=answer,
        options=options,
        condition="picture" if images else "text",
    )


def only_file(source: Path, pattern: str) -> Path:
    """The file itself, or the only file of that pattern in a folder."""
    if not source.is_dir():
        return source
    files = sorted(source.glob(pattern))
    if len(files) != 1:
        raise SourceMissing(f"{source} holds {len(files)} files {pattern}; give the one that is meant")
    return files[0]


BENCHMARKS = {
    "ScienceQA_Local": Benchmark(
        read_scienceqa,
        "mcq",
        "github.com/lupantech/ScienceQA, as json with a folder of images",
        "CC BY-NC-SA 4.0",
        "no row",
    ),
    "MMBench_Samples": Benchmark(
        read_mmbench, "mcq", "github.com/open-compass/MMBench, folder samples", "Apache-2.0", "no row"
    ),
}
