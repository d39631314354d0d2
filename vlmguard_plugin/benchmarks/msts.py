"""MSTS (arXiv 2501.10057): 400 requests that are unsafe only together with their picture; 200 of them in ten languages.

Source: the authors' repository paul-rottger/msts-multimodal-safety (CC BY 4.0): data/prompts/LANGUAGE_multimodal.csv
and english_textonly.csv; the pictures are downloaded from the web by the authors' script into data/unsafe_images, named
by unsafe_image_id. The readers were run on all twelve csv files with stand-ins for the pictures.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Mapping

from vlmguard_plugin.benchmarks.benchmark import Benchmark
from vlmguard_plugin.benchmarks.picture import check_picture
from vlmguard_plugin.benchmarks.row import BenchmarkError, Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import collect, inside, need_columns, read_csv, whole

LANGUAGES = (
    "arabic", "chinese", "farsi", "french", "german", "hindi", "italian", "korean", "russian", "spanish",
)  # fmt: skip
FOLDERS = ("data/unsafe_images", "data/images", "unsafe_images", "images")
"""Where the pictures may lie in the repository, or beside the prompts."""
ENDINGS = (".jpg", ".png", ".jpeg", ".webp")
COLUMNS = ("hazard_category", "case_id", "unsafe_image_description", "prompt_text", "prompt_type")


def read(source: Path, language: str = "english", text: bool = False, images: Path | None = None) -> Reading:
    """Rows of one language, or of the English requests that say in words what the picture shows (text).

    source: the authors' repository, its folder data/prompts, or the csv. images: the folder of the pictures; default:
    where the authors' script puts them. id: prompt_id in English, case_id in the others; pair: case_id, which a case
    has in all languages, so that its two wordings and its translations count as one base request.
    """
    name = f"{language}_{'textonly' if text else 'multimodal'}.csv"
    source = Path(source)
    candidates = [source / place / name for place in (".", "data/prompts", "prompts")] if source.is_dir() else [source]
    table = next((path for path in candidates if path.is_file()), None)
    if table is None or table.name != name:
        raise SourceMissing(f"no {name} in {source} or its folder data/prompts; give the MSTS authors' repository")
    columns, records = read_csv(table)
    numbered = "prompt_id" if language == "english" else "case_id"
    need_columns(table, columns, (*COLUMNS, numbered, *(() if text else ("unsafe_image_id",))))
    folder = None if text else picture_folder(table, images)
    return collect(table, ((line, partial(make_row, cells, numbered, folder)) for line, cells in records))


def picture_folder(table: Path, images: Path | None) -> Path:
    """The folder of the pictures; SourceMissing says how they are got."""
    root = table.parent.parent.parent if table.parent.name == "prompts" else table.parent
    candidates = (
        [Path(images)] if images is not None else [base / name for base in (root, table.parent) for name in FOLDERS]
    )
    folder = next((path for path in candidates if path.is_dir() and any(path.glob("unsafe_image_*"))), None)
    if folder is None:
        raise SourceMissing(
            f"no pictures unsafe_image_... in {images or root}; run the authors' 0_download_images.py, or give their "
            "folder as images"
        )
    return folder


def make_row(cells: Mapping[str, str], numbered: str, folder: Path | None) -> Row:
    """One request of a csv. numbered: the column of its id. folder: of the pictures; None for text alone."""
    item, case = whole(cells)[numbered], cells["case_id"]
    if not item or not case:
        raise BenchmarkError(f"{numbered if case else 'case_id'} is empty; every request must have one")
    pictures: tuple[Path, ...] = ()
    if folder is not None:
        named = [inside(folder, cells["unsafe_image_id"] + ending) for ending in ENDINGS]
        pictures = (next((path for path in named if path.is_file()), named[0]),)
        check_picture(pictures[0])
    return Row(
        id=item,
        request=cells["prompt_text"],
        images=pictures,
        category=cells["hazard_category"],
        harmful=True,
        pair=case,
        condition="picture" if pictures else "text",
        shown=cells["unsafe_image_description"] if pictures else "",
    )


msts = partial(
    Benchmark,
    read=read,
    kind="safety",
    source="github.com/paul-rottger/msts-multimodal-safety, data/prompts; pictures by its src/0_download_images.py",
    licence="CC BY 4.0; the pictures' own",
    harmful="every row",
    attack="the answer encourages or advises it (class 2 of the authors' taxonomy)",
    judge="people, by a taxonomy of answers; models as judges were tried too",
    changed="the three labels of every set here in place of their taxonomy",
)

BENCHMARKS = {
    "MSTS": msts(fixed={"language": "english", "text": False}),
    "MSTS_text": msts(fixed={"language": "english", "text": True, "images": None}),
    **{f"MSTS_{language}": msts(fixed={"language": language, "text": False}) for language in LANGUAGES},
}
