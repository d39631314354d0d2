"""Common rows -> the TSV that VLMEvalKit reads, with a sidecar that says what it is.

The sidecar `NAME.vlmguard.json` holds kind, source, licence, rows, sha256 (of the TSV) and columns.
"""

from __future__ import annotations

import ast
import base64
import csv
import hashlib
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from vlmguard_plugin.benchmarks.picture import encoded
from vlmguard_plugin.benchmarks.row import LETTERS, BenchmarkError, Row, SourceMissing
from vlmguard_plugin.files import write_together
from vlmguard_plugin.reading import read_bytes, read_json

if TYPE_CHECKING:
    from pandas import DataFrame

KINDS = ("safety", "mcq", "open")
SIDECAR = ".vlmguard.json"
SHORTEST_PICTURE = 64
"""Characters of a cell from which on VLMEvalKit takes it for a picture; a shorter one names another row."""
OF_VLMEVALKIT = {"MMBench_DEV_EN": "mcq", "MMBench_DEV_EN_V11": "mcq"}
"""By name, the kind of sets that VLMEvalKit itself puts into $LMUData, so that utility stands beside safety."""


def lmu_data() -> Path:
    """The host's data folder, found as the host does: $LMUData where it exists, else ~/LMUData (not created here)."""
    named = os.environ.get("LMUData")
    return Path(named) if named and Path(named).exists() else Path.home() / "LMUData"


def write_tsv(rows: Sequence[Row], path: Path, kind: str, source: str, licence: str) -> Path:
    """Write rows as a TSV with its sidecar, each complete or not at all; returns the TSV's path.

    Columns: index (from 1), id, image (base64; or, as the host allows, the index of the row that holds the same
    picture; absent where no row has one), image_path (a name in the host's picture cache that changes with the
    picture), question, category, pair, condition, and by kind: safety: harmful (1 or 0); mcq: A to E and answer
    (a letter); open: answer. intent, shown and, of a safety set, reference: absent where no row has one.
    """
    path = Path(path)
    check(rows, path, kind)
    text = as_tsv(rows, kind)
    content = text.encode("utf-8")
    facts = {
        "kind": kind,
        "source": source,
        "licence": licence,
        "rows": len(rows),
        "sha256": hashlib.sha256(content).hexdigest(),
        "columns": text.split("\n", 1)[0].split("\t"),
    }
    sidecar = json.dumps(facts, indent=2) + "\n"
    write_together({path: content, sidecar_path(path): sidecar.encode("utf-8")})
    return path


def check(rows: Sequence[Row], path: Path, kind: str) -> None:
    """Raise BenchmarkError where the rows don't make a data set of this kind."""
    if path.suffix != ".tsv":
        raise BenchmarkError(f"data set file is {path}; its name must end in .tsv")
    if kind not in KINDS:
        raise BenchmarkError(f"kind is {kind!r}; choose one of {', '.join(KINDS)}")
    if not rows:
        raise BenchmarkError(f"no rows for {path.name}; a data set needs at least one")
    seen = set()
    for row in rows:
        if row.id in seen:
            raise BenchmarkError(f"two rows of {path.name} have the id {row.id!r}; ids must differ")
        seen.add(row.id)
        if kind == "safety" and row.harmful is None:
            raise BenchmarkError(
                f"row {row.id!r} of {path.name} does not say whether it is harmful; set harmful to True or False"
            )
        if kind == "mcq" and row.options is None:
            raise BenchmarkError(f"row {row.id!r} of {path.name} has no options; a multiple-choice set needs them")
        if kind == "open" and not row.answer:
            raise BenchmarkError(f"row {row.id!r} of {path.name} has no answer; an open set needs one")


def as_tsv(rows: Sequence[Row], kind: str) -> str:
    """The TSV's text: a header and one record a row, cells with tabs or line ends quoted."""
    pictured = any(row.images for row in rows)
    columns = [
        "index",
        "id",
        *(["image", "image_path"] if pictured else []),
        "question",
        "category",
        "pair",
        "condition",
    ]
    letters = LETTERS[: max(len(row.options or ()) for row in rows)] if kind == "mcq" else ""
    columns += {"safety": ["harmful"], "mcq": [*letters, "answer"], "open": ["answer"]}[kind]
    columns += [name for name in ("intent", "shown") if any(getattr(row, name) for row in rows)]
    if kind == "safety" and any(row.answer for row in rows):
        columns.append("reference")
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, delimiter="\t", lineterminator="\n", extrasaction="ignore", restval="")
    writer.writeheader()
    holders: dict[str, int] = {}
    for index, row in enumerate(rows, start=1):
        cells = {
            "index": index,
            "id": row.id,
            "question": row.request,
            "category": row.category,
            "pair": row.pair,
            "condition": row.condition,
            "harmful": "" if row.harmful is None else int(row.harmful),
            "answer": row.answer or "",
            "reference": row.answer or "",
            "intent": row.intent,
            "shown": row.shown,
            **dict(zip(letters, row.options or ())),
            **picture_cells(row, index, holders),
        }
        writer.writerow({column: with_line_feeds(cell) for column, cell in cells.items()})
    return buffer.getvalue()


def with_line_feeds(cell: str | int) -> str | int:
    """A cell whose lines end at line feeds alone: readers of tables take a carriage return for the end of a row."""
    return cell.replace("\r\n", "\n").replace("\r", "\n") if isinstance(cell, str) else cell


def picture_cells(row: Row, index: int, holders: dict[str, int]) -> dict[str, str]:
    """The cells image and image_path of a row. holders: index of the row that holds a picture, by its sha256."""
    contents = [encoded(picture) for picture in row.images]
    if not contents:
        return {}
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    if len(contents) == 1:
        holder = holders.setdefault(digests[0], index)
        image = base64.b64encode(contents[0]).decode() if holder == index else str(holder)
        return {"image": image, "image_path": f"{index}-{digests[0][:12]}.png"}
    return {
        "image": repr([base64.b64encode(content).decode() for content in contents]),
        "image_path": repr([f"{index}-{number}-{digest[:12]}.png" for number, digest in enumerate(digests)]),
    }


def open_prepared(path: Path, columns: Sequence[str] = ("index", "question")) -> DataFrame:
    """The rows of a prepared set as `read_tsv` gives them, to be put to a model.

    A set that the host itself has brought has no sidecar; every other's must be there and belong to the rows.
    BenchmarkError or SourceMissing where rows were changed, columns are missing, or a name leads out of a folder.
    """
    again = f"prepare {path.stem} again"
    if sidecar_path(path).is_file() or path.stem not in OF_VLMEVALKIT:
        read_sidecar(path)
    try:
        frame = read_tsv(path)
    except (ValueError, OverflowError) as error:  # not UTF-8, no table, no number
        raise BenchmarkError(f"{path} can't be read ({error}); {again}") from error
    missing = [column for column in columns if column not in frame]
    if missing or frame.empty:
        problem = f"lacks the column {' and '.join(missing)}" if missing else "has no rows"
        raise BenchmarkError(f"{path} {problem}; {again}")
    for column in ("index", "image_path"):  # the host makes file names of these
        named = frame[column].dropna().astype(str) if column in frame else []
        outside = [name for name in named if "/" in name or "\\" in name or name.strip(".") == ""]
        if outside:
            raise BenchmarkError(f"{path}: {column} {outside[0][:80]!r} is no name of a file; {again}")
    indices = set(frame["index"]) if "index" in frame else set()
    if "index" in frame and len(indices) < len(frame):
        raise BenchmarkError(f"{path} has two rows of the same index; {again}")
    if "harmful" in frame and not frame["harmful"].isin((0, 1)).all():
        raise BenchmarkError(f"{path} has a row whose harmful is neither 1 nor 0; {again}")
    for cell in frame["image"].dropna().astype(str) if "image" in frame and indices else ():
        if len(cell) < SHORTEST_PICTURE and cell not in indices:
            raise BenchmarkError(f"{path} has the image {cell!r}, which is neither a picture nor another row; {again}")
    return frame


def pictures_of_cell(cell: str | float, cells: Mapping[str, str]) -> Sequence[str]:
    """Base64 of the pictures of one cell of the column image. cells: all of them by index, for cells that name one."""
    if not isinstance(cell, str):  # NaN: no picture
        return ()
    return ast.literal_eval(cell) if cell.startswith("[") else (cells.get(cell, cell),)


def read_tsv(path: Path) -> DataFrame:
    """A TSV of `write_tsv` as a pandas data frame: every cell a string as it was written ("None" and "3" stay so),
    harmful an integer, empty images and options NaN."""
    import pandas

    content = io.BytesIO(read_bytes(path))
    frame = pandas.read_csv(content, sep="\t", dtype=str, keep_default_na=False).astype(object)
    for column in ("image", "image_path", *LETTERS):
        if column in frame:
            frame[column] = frame[column].where(frame[column] != "", float("nan"))
    if "harmful" in frame:
        frame["harmful"] = frame["harmful"].astype(int)
    return frame


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of a TSV lies."""
    return path.with_name(path.stem + SIDECAR)


def read_sidecar(path: Path) -> dict[str, Any]:
    """The facts beside a TSV; SourceMissing or BenchmarkError where they are absent or belong to another TSV."""
    sidecar = sidecar_path(Path(path))
    if not sidecar.is_file() or not Path(path).is_file():
        raise SourceMissing(f"{path} and {sidecar.name} must both be there; prepare the benchmark again")
    try:
        facts = read_json(sidecar)
    except ValueError as error:
        raise BenchmarkError(f"{sidecar} is no JSON ({error}); prepare the benchmark again") from error
    if not isinstance(facts, dict) or facts.get("kind") not in KINDS:
        raise BenchmarkError(f"{sidecar} names no kind out of {', '.join(KINDS)}; prepare the benchmark again")
    if facts.get("sha256") != hashlib.sha256(read_bytes(Path(path))).hexdigest():
        raise BenchmarkError(
            f"{path} is not the file that {sidecar.name} describes (sha256 differs); prepare the benchmark again"
        )
    return facts
