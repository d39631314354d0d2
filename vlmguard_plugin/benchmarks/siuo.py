"""SIUO (safe inputs, unsafe output): a harmless picture and a harmless question that do harm together.

Source: the authors' repository sinwang20/SIUO, folder `data` (`siuo_gen.json` and `siuo_mcqa.json`, 167 items each),
and the pictures, which they publish as an archive and on Hugging Face as sinwang/SIUO, folder `images`. The reader
was run on both json files of the authors; their pictures were not at hand.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Mapping

from vlmguard_plugin.benchmarks.benchmark import Benchmark, Download
from vlmguard_plugin.benchmarks.picture import check_picture
from vlmguard_plugin.benchmarks.row import BenchmarkError, Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import collect, inside, read_json_list, record, words_of

FILES = {False: "siuo_gen.json", True: "siuo_mcqa.json"}
COMMON = ("question_id", "image", "question", "category")


def read(source: Path, choices: bool = False) -> Reading:
    """Rows of SIUO, open (every row harmful) or as multiple choice.

    source: the folder that holds the json and images, the repository around it, or the json. Of an open item,
    `answer` is the authors' reference answer and, after it, their safety warning: their judge is shown both.
    Of a multiple-choice item it is the letter of the safe option.
    """
    source = Path(source)
    name = FILES[choices]
    candidates = (source / name, source / "data" / name) if source.is_dir() else (source,)
    table = next((path for path in candidates if path.is_file()), None)
    if table is None:
        raise SourceMissing(f"no {name} in {source} or its folder data; give the folder that holds it and images")
    make = choice_row if choices else open_row
    numbered = enumerate(read_json_list(table), start=1)
    return collect(table, ((number, partial(make, cells, table.parent / "images")) for number, cells in numbered))


def open_row(cells: Any, pictures: Path) -> Row:
    """One object of siuo_gen.json as a row."""
    cells = record(cells, (*COMMON, "safety_warning", "reference_answer"))
    answer = f"{words_of(cells, 'reference_answer')}\n\nSafety warning: {words_of(cells, 'safety_warning')}"
    return replace(bare_row(cells, pictures), harmful=True, answer=answer)


def choice_row(cells: Any, pictures: Path) -> Row:
    """One object of siuo_mcqa.json as a row."""
    cells = record(cells, (*COMMON, "options", "correct_option"))
    options = cells["options"]
    if not isinstance(options, dict) or list(options) != list("ABCD"[: len(options)]):
        keys = ", ".join(map(str, options)) if isinstance(options, dict) else f"a JSON {type(options).__name__}"
        raise BenchmarkError(f"options are {keys or 'empty'}; they must be an object with the keys A to D")
    texts = tuple(str(text) for text in options.values())
    return replace(bare_row(cells, pictures), options=texts, answer=str(cells["correct_option"]).strip())


def bare_row(cells: Mapping[str, Any], pictures: Path) -> Row:
    """A row of either kind, without its answer."""
    picture = inside(pictures, cells["image"])
    check_picture(picture)
    item = str(cells["question_id"])
    return Row(
        id=item,
        request=words_of(cells, "question"),
        images=(picture,),
        category=str(cells["category"]),
        pair=item,
        condition="picture",
    )


JSON_URL = "https://raw.githubusercontent.com/sinwang20/SIUO/18974b65d238ad636d65d238541c7d75279ebb3e/data/"
IMAGES_URL = "https://huggingface.co/datasets/sinwang/SIUO/resolve/024e80a01795376b9fed12f8073a12f2275f22ee/images/"
SHA256 = {
    "siuo_gen.json": "0a65c3443e75d0d6106550d73100753f19fe9fcb415e6ea138d5c7f04d31f228",
    "siuo_mcqa.json": "91f51da54b92d8bb2c2fa61215d0ed8c77113192d4f909854dd561eaa5953022",
}
PICTURES = {"S": 19, "D": 18, "M": 20, "I": 18, "C": 16, "DS": 18, "R": 20, "IM": 17, "P": 21}
"""How many pictures there are of each category: S-01.png to S-19.png and so on."""

IMAGE_DOWNLOADS = tuple(
    Download(f"{IMAGES_URL}{letters}-{number:02d}.png", f"images/{letters}-{number:02d}.png")
    for letters, count in PICTURES.items()
    for number in range(1, count + 1)
)


def downloads(name: str) -> tuple[Download, ...]:
    """One json and all pictures."""
    return (Download(JSON_URL + name, name, SHA256[name]), *IMAGE_DOWNLOADS)


siuo = partial(
    Benchmark,
    read=read,
    source="github.com/sinwang20/SIUO, folder data; pictures: huggingface.co/datasets/sinwang/SIUO",
    licence="CC BY-NC 4.0, research only",
)

BENCHMARKS = {
    "SIUO_Local": siuo(
        kind="safety",
        harmful="every row: harmless in picture and text, harmful together",
        fixed={"choices": False},
        attack="an answer that goes against the item's safety warning",
        judge="GPT-4 Vision, shown picture, warning and reference answer; it also judged whether answers were of use",
        changed="one answer a question (theirs: three); only safety is judged, not usefulness",
        downloads=downloads("siuo_gen.json"),
    ),
    "SIUO_MCQ_Local": siuo(
        kind="mcq",
        harmful="no row: the right option is the safe answer",
        fixed={"choices": True},
        attack="none: accuracy in choosing the safe one of four answers",
        judge="none: letters are compared",
        changed="the host's own wording of multiple choice",
        downloads=downloads("siuo_mcqa.json"),
    ),
}
