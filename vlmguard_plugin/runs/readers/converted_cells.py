"""Texts that a workbook's writer took for formulas and links, read as they were said.

VLMEvalKit writes answers with pandas and xlsxwriter, which makes a formula of a text that begins with "=", shown as 0,
and a link of one that begins with an address; "mailto:", "internal:" and the like are then cut from what is shown. The
formula's text and the link's target still stand in the workbook.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import IO
from xml.etree import ElementTree
from xml.parsers import expat

import pandas

from vlmguard_plugin.runs.rows import Lost

PREDICTION = "prediction"
CHUNK = 1 << 20
PLACE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
FUTURE = re.compile(r"_xlfn\.(?:_xlws\.)?")
"""What the writer puts before the names of functions that Excel has got later."""
KEPT = ("http://", "https://", "ftp://", "ftps://")
"""Links that are shown whole."""
FILE_LINK = "the answer began with the link of a file, which the workbook holds in another form"


def restore(path: Path, frame: pandas.DataFrame) -> None:
    """Put what was said into the cells of the first sheet that are formulas or links, in place.

    frame: the sheet as it is read, its first row the names of the columns. An answer that can't be had is Lost.
    """
    with zipfile.ZipFile(path) as parts:
        name = first_sheet(parts)
        marks = Marks()
        with parts.open(name) as stream:
            marks.read(stream)
        targets = link_targets(parts, name)
    answers = list(frame.columns).index(PREDICTION) if PREDICTION in frame.columns else -1
    for row, column, formula in marks.formulas:
        if row < len(frame) and column < frame.shape[1] and (column == answers or frame.iat[row, column] in (0, "")):
            frame.iat[row, column] = formula
    for row, column, relation, location in marks.links:
        if row >= len(frame) or column >= frame.shape[1] or not isinstance(frame.iat[row, column], str):
            continue
        shown, target = frame.iat[row, column], targets.get(relation, "")
        if target.startswith("mailto:") or (not target and location):
            prefix = "mailto:" if target else "internal:"
            frame.iat[row, column] = shown if shown.startswith(prefix) else prefix + shown
        elif column == answers and not shown.startswith(KEPT):
            frame.iat[row, column] = Lost(FILE_LINK)


class Marks:
    """The formulas and links of a sheet, as (row, column, ...) from 0, where row 0 is the second of the sheet.

    formulas: with the text that they were made of. links: with the name of their target, and the place in it.
    """

    def __init__(self) -> None:
        self.formulas: list[tuple[int, int, str]] = []
        self.links: list[tuple[int, int, str, str]] = []
        self._cell, self._form, self._text = "", "", None  # type: str, str, list[str] | None

    def read(self, sheet: IO[bytes]) -> None:
        """Take a sheet's XML."""
        parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._characters
        while piece := sheet.read(CHUNK):
            parser.Parse(piece)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        kind = name.rpartition(":")[2]
        if kind == "c":
            self._cell, self._form = attributes.get("r", ""), "={}" if "cm" in attributes else ""
        elif kind == "f":
            self._text = []
            self._form = self._form or ("{{={}}}" if attributes.get("t") == "array" else "={}")
        elif kind == "hyperlink" and (place := place_of(attributes.get("ref", ""))):
            relation = next((value for key, value in attributes.items() if key.rpartition(":")[2] == "id"), "")
            self.links.append((*place, relation, attributes.get("location", "")))

    def _end(self, name: str) -> None:
        if name.rpartition(":")[2] == "f" and self._text is not None:
            place = place_of(self._cell)
            if place:
                text = with_last_brace(FUTURE.sub("", "".join(self._text)))
                self.formulas.append((*place, self._form.format(text)))
            self._text = None

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)


def with_last_brace(formula: str) -> str:
    """A formula's text with the closing brace that the writer has cut off its end, as of "=\\frac{1}{2}"."""
    return formula + "}" if formula.count("{") == formula.count("}") + 1 else formula


def place_of(cell: str) -> tuple[int, int] | None:
    """(row, column) as in Marks of a cell's name, such as "C2"; None for any other, and in the row of names."""
    found = PLACE.fullmatch(cell)
    if not found or int(found[2]) < 2:
        return None
    return int(found[2]) - 2, column_number(found[1]) - 1


@lru_cache(maxsize=1024)  # each column's letters stand at every one of its cells
def column_number(letters: str) -> int:
    """The number of a column from 1: "A" is 1, "AA" 27; 0 for no letters."""
    number = 0
    for letter in letters.upper():
        number = 26 * number + ord(letter) - ord("A") + 1
    return number


def first_sheet(parts: zipfile.ZipFile) -> str:
    """The name of the part that holds a workbook's first sheet."""
    workbook = ElementTree.fromstring(parts.read("xl/workbook.xml"))
    sheet = next(element for element in workbook.iter() if element.tag.rpartition("}")[2] == "sheet")
    relation = next(value for key, value in sheet.attrib.items() if key.rpartition("}")[2] == "id")
    return posixpath.normpath(posixpath.join("xl", link_targets(parts, "xl/workbook.xml")[relation])).lstrip("/")


def link_targets(parts: zipfile.ZipFile, part: str) -> dict[str, str]:
    """What a part of a workbook points to, by the name it uses for it."""
    folder, name = posixpath.split(part)
    relations = f"{folder}/_rels/{name}.rels"
    if relations not in parts.namelist():
        return {}
    elements = ElementTree.fromstring(parts.read(relations)).iter()
    return {element.attrib["Id"]: element.attrib.get("Target", "") for element in elements if "Id" in element.attrib}
