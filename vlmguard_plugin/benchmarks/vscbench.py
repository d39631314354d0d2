"""VSCBench (arXiv 2505.20362): the same question beside safe and unsafe look-alikes, and XSTest's requests in pictures.

Source: jiahuigeng/VSCBench: vscbench_image_centric.xlsx (300 questions, three safe and three unsafe pictures each) and
vscbench_text_centric.xlsx (450 requests), with the folders vscbench_image_centric_images and
vscbench_text_centric_images from the authors' Google Drive. The readers were run on both workbooks with stand-ins for
the pictures.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Mapping

from vlmguard_plugin.benchmarks.benchmark import Benchmark
from vlmguard_plugin.benchmarks.figstep import PROMPT, read_prompt
from vlmguard_plugin.benchmarks.picture import check_picture
from vlmguard_plugin.benchmarks.row import BenchmarkError, Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import collect, inside, need_columns
from vlmguard_plugin.benchmarks.tables_of_others import read_xlsx
from vlmguard_plugin.benchmarks.xstest import UNSAFE_TYPES

IMAGE_FILE, TEXT_FILE = "vscbench_image_centric.xlsx", "vscbench_text_centric.xlsx"
SIDES = ("safe", "unsafe")
FORMS = ("text", "typography", "search", "concat", "figstep")
"""How a request of the text-centric set is put: in words; beside a picture of words, one from the web, or both; as
FigStep does."""


def workbook(source: Path, name: str) -> Path:
    """The workbook itself, or that of a folder."""
    table = source / name if source.is_dir() else source
    if not table.is_file() or table.name != name:
        raise SourceMissing(f"no {name} in {source}; give the folder that holds it and its pictures")
    return table


def read_image_centric(source: Path) -> Reading:
    """Rows of the image-centric set: six of each question, three harmful ones and three harmless ones, with one pair.

    source: the folder that holds the workbook and vscbench_image_centric_images, or the workbook.
    """
    table = workbook(Path(source), IMAGE_FILE)
    columns, records = read_xlsx(table)
    names = [f"{side}_img_{number}" for side in SIDES for number in range(3)]
    need_columns(table, columns, ("category", "prompt", *names))
    folder = table.parent / "vscbench_image_centric_images"
    return collect(
        table, ((line, partial(image_row, line - 1, cells, name, folder)) for line, cells in records for name in names)
    )


def image_row(number: int, cells: Mapping[str, str], name: str, folder: Path) -> Row:
    """One question, by its number from 1, beside one of its pictures, by the name of its column."""
    side, _, place = name.split("_")
    picture = inside(folder / inside(folder, cells["category"]).name, cells[name])
    check_picture(picture)
    return Row(
        id=f"{number}_{side}_{place}",
        request=cells["prompt"],
        images=(picture,),
        category=cells["category"],
        harmful=side == "unsafe",
        pair=f"image_{number}",
        condition=side,
    )


def read_text_centric(source: Path, form: str = "text", prompt_file: Path | None = None) -> Reading:
    """Rows of the text-centric set in one form, the same ids in each; harmful where the type says contrast.

    source: the folder that holds the workbook and vscbench_text_centric_images, or the workbook. prompt_file: a text
    file whose whole text stands beside FigStep's pictures in place of our wording.
    """
    table = workbook(Path(source), TEXT_FILE)
    columns, records = read_xlsx(table)
    need_columns(table, columns, ("type", "prompt_origin", "prompt_mm", "search_img", "figstep_img"))
    folder = table.parent / "vscbench_text_centric_images"
    prompt = read_prompt(prompt_file) if prompt_file else PROMPT
    return collect(table, ((line, partial(text_row, line - 1, cells, form, folder, prompt)) for line, cells in records))


def text_row(number: int, cells: Mapping[str, str], form: str, folder: Path, prompt: str) -> Row:
    """One request, by its number from 1, in one of FORMS."""
    asked = {"text": cells["prompt_origin"], "figstep": prompt}.get(form, cells["prompt_mm"])
    if not cells["type"]:
        raise BenchmarkError("type is empty; it says whether the request is harmful")
    pictures: tuple[Path, ...] = ()
    if form != "text":
        pictures = (inside(folder / form, cells[f"{form}_img"]),)
        check_picture(pictures[0])
    return Row(
        id=str(number),
        request=asked,
        images=pictures,
        category=cells["type"],
        harmful=UNSAFE_TYPES.rstrip("_") in cells["type"],
        pair=str(number),
        condition=form,
        intent=cells["prompt_origin"],
    )


vscbench = partial(
    Benchmark,
    kind="safety",
    source="github.com/jiahuigeng/VSCBench; pictures: Google Drive, as its page says",
    licence="none found",
    judge="a GPT model (refused or not), and a list of refusal phrases",
)

BENCHMARKS = {
    "VSCBench_image": vscbench(
        read_image_centric,
        harmful="by the picture: beside an unsafe one every row, beside a safe one none",
        attack="answered beside an unsafe picture; a refusal beside a safe one is one too many",
        changed="nothing",
    ),
    **{
        f"VSCBench_{form}": vscbench(
            read_text_centric,
            fixed={"form": form, **({} if form == "figstep" else {"prompt_file": None})},
            harmful="column type: those with contrast, as in XSTest",
            attack="an unsafe request is complied with; a refused safe one is one too many",
            changed="our own wording beside FigStep's pictures; prompt_file takes theirs"
            if form == "figstep"
            else "nothing",
        )
        for form in FORMS
    },
}
