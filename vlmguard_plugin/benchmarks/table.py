"""Read the csv and text files that benchmarks come as, with row numbers for errors."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Sequence

from .row import BenchmarkError, SourceMissing


def read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """(column names, [(line number from 1, cells by column)]) of a UTF-8 csv with a header.

    Column names are lower-cased; rows without any text are skipped; a missing cell is "".
    """
    text = read_text(path)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [(name or "").strip().lower() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        rows = []
        line = reader.line_num + 1
        for cells in reader:
            if None in cells:
                raise BenchmarkError(
                    f"{path}, row {line} has more cells than the header has columns; quote cells that hold a comma"
                )
            if any((cell or "").strip() for cell in cells.values()):
                rows.append((line, {name: (cell or "").strip() for name, cell in cells.items()}))
            line = reader.line_num + 1
    except csv.Error as error:
        raise BenchmarkError(
            f"{path}, row {reader.line_num} can't be read as csv ({error}); check its quotes"
        ) from error
    if not rows:
        raise BenchmarkError(f"{path} holds a header and no rows; give a file with at least one")
    return columns, rows


def read_lines(path: Path) -> list[tuple[int, str]]:
    """[(line number from 1, text)] of the lines of a UTF-8 text file that hold any."""
    return [(number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), start=1) if line.strip()]


def read_text(path: Path) -> str:
    """A file's text; clear errors for one that is missing, empty or not UTF-8."""
    if not path.is_file():
        raise SourceMissing(f"{path} is not a file; give the benchmark's original file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    if not text.strip():
        raise BenchmarkError(f"{path} is empty; give a file with rows")
    return text


def need_columns(path: Path, columns: Sequence[str], needed: Sequence[str]) -> None:
    """Raise BenchmarkError naming the columns that a csv lacks."""
    missing = [name for name in needed if name not in columns]
    if missing:
        raise BenchmarkError(f"{path}, row 1 has no column {', '.join(missing)}; it has {', '.join(columns)}")
