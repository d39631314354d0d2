"""Excel workbooks as the host writes them, looked over before a reader lays out every cell that they could have."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from xml.parsers import expat

import pandas

from vlmguard_plugin.reading import checked_file
from vlmguard_plugin.runs.readers.converted_cells import CHUNK, column_number, restore

MOST_CELLS = 3_000_000
"""Rows times columns of a sheet; the largest prediction file of a set here has 0.5 million."""
MOST_ELEMENTS = 10_000_000
"""XML elements of a part of the workbook."""
MOST_BYTES = 1 << 30
"""What a workbook may unpack to."""
ESCAPE = re.compile("_x(00[01][0-9A-Fa-f]|FFF[EF])_")
"""A control character, or one that is none, as Excel writes it."""
PLACE = re.compile(r"([A-Za-z]{0,3})([0-9]{0,7})")
"""The place that a cell or row says it stands at, as "AB12" or "12"."""


def read_workbook(path: Path) -> pandas.DataFrame:
    """The first sheet of an xlsx file, every cell as it stands, and formulas and links as the texts they were made of.

    ValueError or zipfile.BadZipFile where it is none.
    """
    checked_file(path)
    converted = check_workbook(path)
    frame = pandas.read_excel(path, dtype=object, keep_default_na=False, engine="calamine")
    if converted:
        restore(path, frame)
    return frame.map(with_control_characters)


def with_control_characters(cell: object) -> object:
    """A cell in which control characters, which XML can't hold, are themselves again.

    A workbook that the host has read and written anew holds their escapes as text.
    """
    if not isinstance(cell, str) or "_x" not in cell:
        return cell
    return ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), cell)


def check_workbook(path: Path) -> bool:
    """Whether any cell is a formula or a link.

    ValueError where a sheet reaches further than MOST_CELLS, or the parts unpack to more than MOST_BYTES.
    """
    converted = False
    with zipfile.ZipFile(path) as parts:
        if "xl/workbook.xml" not in parts.namelist():
            raise ValueError("no xlsx workbook")
        size = sum(part.file_size for part in parts.infolist())
        if size > MOST_BYTES:
            raise ValueError(f"it unpacks to {size:,} bytes; at most {MOST_BYTES:,} are read")
        for part in parts.infolist():
            with parts.open(part) as stream:
                begin = stream.read(CHUNK)
                if b"<" not in begin[:64]:
                    continue  # no XML, so no sheet
                extent = Extent(part.filename)
                while begin:
                    extent.read(begin)
                    begin = stream.read(CHUNK)
                converted = converted or extent.converted
    return converted


class Extent:
    """How far the cells of an XML part reach, read piece by piece. name: of the part, for errors.

    converted: whether one is a formula or a link.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.converted = False
        self.row = self.column = self.last_row = self.last_column = self.elements = 0
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._element

    def read(self, piece: bytes) -> None:
        """Take the next piece; ValueError where it is no XML, or reaches too far."""
        try:
            self._parser.Parse(piece)
        except expat.ExpatError as error:
            raise ValueError(f"{self.name} is damaged ({error})") from error

    def _element(self, name: str, attributes: dict[str, str]) -> None:
        self.elements += 1
        if self.elements > MOST_ELEMENTS:
            raise ValueError(f"{self.name} has more than {MOST_ELEMENTS:,} elements; that is no table of answers")
        kind = name.rpartition(":")[2]
        self.converted = self.converted or kind in ("f", "hyperlink")
        if kind not in ("c", "row"):
            return
        letters, number = self._place(attributes.get("r", ""))
        if kind == "row":
            self.row, self.column = number or self.row + 1, 0
        else:
            self.row = number or max(self.row, 1)
            self.column = column_number(letters) or self.column + 1
        if self.row <= self.last_row and self.column <= self.last_column:
            return
        self.last_row, self.last_column = max(self.last_row, self.row), max(self.last_column, self.column)
        if self.last_row * self.last_column > MOST_CELLS:
            raise ValueError(
                f"{self.name} has {self.last_row:,} rows and {self.last_column:,} columns; that is no table of answers"
            )

    def _place(self, place: str) -> tuple[str, int]:
        found = PLACE.fullmatch(place)
        if not found:
            raise ValueError(f"{self.name} has a cell at {place[:40]!r}; that is no table of answers")
        return found[1], int(found[2] or 0)
