"""Excel workbooks as the host writes them, looked over before a reader lays out every cell that they could have."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pandas

MOST_CELLS = 20_000_000
"""Rows times columns of a sheet; the largest prediction file of a set here has 0.5 million."""
MOST_BYTES = 1 << 30
"""What a workbook may unpack to."""
CHUNK = 1 << 20
PLACE = re.compile(rb"<(?:\w+:)?(?:c|row)\s(?:[^<>]*?\s)?r\s*=\s*[\"']([A-Za-z]{0,9})([0-9]{0,20})[\"']")
"""The place that a cell or row says it stands at, as "AB12" or "12"."""
LONGEST_TAG = 4096


def read_workbook(path: Path) -> pandas.DataFrame:
    """The first sheet of an xlsx file, every cell as it stands. ValueError or zipfile.BadZipFile where it is none."""
    check_workbook(path)
    return pandas.read_excel(path, dtype=object, keep_default_na=False, engine="calamine")


def check_workbook(path: Path) -> None:
    """ValueError where a sheet reaches further than MOST_CELLS, or the parts unpack to more than MOST_BYTES."""
    with zipfile.ZipFile(path) as parts:
        if "xl/workbook.xml" not in parts.namelist():
            raise ValueError("no xlsx workbook")
        size = sum(part.file_size for part in parts.infolist())
        if size > MOST_BYTES:
            raise ValueError(f"it unpacks to {size:,} bytes; at most {MOST_BYTES:,} are read")
        for part in parts.infolist():
            rows, columns = extent(parts, part)
            if rows * columns > MOST_CELLS:
                raise ValueError(
                    f"{part.filename} has {rows:,} rows and {columns:,} columns; that is no table of answers"
                )


def extent(parts: zipfile.ZipFile, part: zipfile.ZipInfo) -> tuple[int, int]:
    """The last row and column that cells of a part say they stand at, from 1; (1, 1) where none says so."""
    row = column = 1
    rest = b""
    with parts.open(part) as stream:
        while block := stream.read(CHUNK):
            block = rest + block
            for letters, digits in PLACE.findall(block):
                row = max(row, int(digits or 1))
                column = max(column, column_number(letters))
            rest = block[-LONGEST_TAG:]
    return row, column


def column_number(letters: bytes) -> int:
    """The number of a column from 1: "A" is 1, "AA" 27; 1 for no letters."""
    number = 0
    for letter in letters.upper():
        number = 26 * number + letter - ord("A") + 1
    return number or 1
