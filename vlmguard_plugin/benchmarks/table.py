"""Read the csv, JSON and text files that benchmarks come as, with row numbers for errors."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path, PurePosixPath
from typing import Any, Callable, Iterable, Mapping, Sequence

from vlmguard_plugin.benchmarks.row import BadRow, BenchmarkError, Reading, Row, SourceMissing
from vlmguard_plugin.reading import MAX_BYTES, parsed_json, read_bytes

NOT_TEXT = re.compile("\\A[^\\0]{0,7}[\\x01-\\b\\x0e-\\x1a\\x1c-\\x1f\\x7f]|\\0")
"""A control character where archives and other binary files have their mark, or a zero anywhere."""


def read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """(column names, [(line number from 1, cells by column)]) of a UTF-8 csv (or tsv, by its name) with a header.

    Column names are lower-cased; rows without any text are skipped; a missing cell is "". A row with more cells than
    columns is Torn: who makes rows of it asks `whole` first.
    """
    text = read_text(path)
    csv.field_size_limit(MAX_BYTES)  # by itself the module takes no cell of more than 131,072 characters
    tabs = path.suffix.lower() == ".tsv"
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter="\t" if tabs else ",")
    try:
        columns = [(name or "").strip().lower() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        rows: list[tuple[int, dict[str, str]]] = []
        line = reader.line_num + 1
        for cells in reader:
            if None in cells:
                cells.pop(None)
                rows.append((line, Torn({name: (cell or "").strip() for name, cell in cells.items()})))
            elif any((cell or "").strip() for cell in cells.values()):
                rows.append((line, {name: (cell or "").strip() for name, cell in cells.items()}))
            line = reader.line_num + 1
    except csv.Error as error:
        raise BenchmarkError(
            f"{path}, row {reader.line_num} can't be read as csv ({error}); check its quotes"
        ) from error
    if not rows:
        raise BenchmarkError(f"{path} holds a header and no rows; give a file with at least one")
    return columns, rows


class Torn(dict[str, str]):
    """The cells of a row that can't be trusted, and why: mostly a csv row that has too many of them."""

    reason = "has more cells than the header has columns; quote cells that hold a comma"


def whole(cells: Mapping[str, str]) -> Mapping[str, str]:
    """The cells of a row; BenchmarkError where the row is torn."""
    if isinstance(cells, Torn):
        raise BenchmarkError(cells.reason)
    return cells


def read_lines(path: Path) -> list[tuple[int, str]]:
    """[(line number from 1, text)] of the lines of a UTF-8 text file that hold any."""
    lines = read_text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def read_json(path: Path) -> Any:
    """What a UTF-8 JSON file holds."""
    try:
        return parsed_json(read_text(path))
    except ValueError as error:
        raise BenchmarkError(f"{path} is no JSON ({error}); give the benchmark's original file") from error


def read_json_list(path: Path) -> list[Any]:
    """What a UTF-8 JSON file holds that must be a list of objects; BenchmarkError where it is no list."""
    content = read_json(path)
    if not isinstance(content, list):
        raise BenchmarkError(f"{path} holds a JSON {type(content).__name__}; it must be a list of objects")
    return content


def read_jsonl(path: Path) -> list[tuple[int, Any]]:
    """[(line number from 1, what it holds)] of a JSON Lines file's lines; a damaged line holds a ValueError."""
    contents: list[tuple[int, Any]] = []
    for number, line in read_lines(path):
        try:
            contents.append((number, parsed_json(line)))
        except ValueError as error:
            contents.append((number, error))
    return contents


def record(cells: Any, needed: Sequence[str]) -> dict[str, Any]:
    """One JSON record that has the needed keys, each with a value; else BenchmarkError."""
    if isinstance(cells, ValueError):
        raise BenchmarkError(f"is no JSON ({cells})")
    if isinstance(cells, Torn):
        whole(cells)
    if not isinstance(cells, dict):
        raise BenchmarkError(f"is a JSON {type(cells).__name__}; it must be an object")
    missing = [name for name in needed if cells.get(name) in (None, "")]
    if missing:
        raise BenchmarkError(f"has no {', '.join(missing)}; it has {', '.join(map(str, cells))}")
    return cells


def words_of(cells: Mapping[str, Any], *names: str) -> str:
    """The text under the first of several keys that has any, else ""; BenchmarkError where it is something else."""
    name = next((name for name in names if cells.get(name) not in (None, "")), names[0])
    value = cells.get(name) or ""
    if not isinstance(value, str):
        raise BenchmarkError(f"holds a JSON {type(value).__name__} as {name}, where text is expected")
    return value


def collect(path: Path, makers: Iterable[tuple[int, Callable[[], Row]]]) -> Reading:
    """The rows of one file, made one by one. makers: (number in the file, what makes the row).

    Rows whose maker raises BenchmarkError or another ValueError (a character or a name that can't be), and rows that
    repeat an id, are bad rows.
    """
    rows: list[Row] = []
    bad: list[BadRow] = []
    seen: set[str] = set()
    for number, make in makers:
        try:
            row = make()
            if row.id in seen:
                raise BenchmarkError(f"id {row.id!r} came before; ids must differ")
        except ValueError as error:
            reason = str(error) if isinstance(error, BenchmarkError) else f"can't be used ({error})"
            bad.append(BadRow(path, number, reason))
            continue
        seen.add(row.id)
        rows.append(row)
    return Reading(tuple(rows), tuple(bad))


def inside(folder: Path, name: str) -> Path:
    """A path that a source file names, inside its folder; BenchmarkError for one that leads out of it."""
    relative = PurePosixPath(str(name).replace("\\", "/"))
    leads_out = relative.is_absolute() or ".." in relative.parts or ":" in str(relative).partition("/")[0]
    if not relative.parts or leads_out or not str(relative).isprintable():
        raise BenchmarkError(f"picture {name!r} does not lie inside {folder}; name it relative to there")
    return not_led_out(folder, folder / relative)


def not_led_out(folder: Path, path: Path) -> Path:
    """The path, if it lies in the folder with its links followed; BenchmarkError if a link leads out of it.

    A model hub's cache is one folder here: its snapshots are links to the blobs beside them.
    """
    root = folder.resolve()
    snapshots = next((parent for parent in (root, *root.parents) if parent.name == "snapshots"), None)
    if not path.resolve().is_relative_to(snapshots.parent if snapshots else root):
        raise BenchmarkError(f"{path} is a link that leads out of {folder}; put the file itself there")
    return path


def read_text(path: Path) -> str:
    """A file's text; clear errors for one that is missing, empty or not UTF-8."""
    if not path.is_file():
        raise SourceMissing(f"{path} is not a file; give the benchmark's original file")
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except ValueError as error:
        raise BenchmarkError(f"{error}; give the benchmark's original file") from error
    control = NOT_TEXT.search(text)
    if control:
        line = text.count("\n", 0, control.end() - 1) + 1
        character = f"U+{ord(control[0][-1]):04X}"
        raise BenchmarkError(
            f"{path} holds the control character {character} in line {line}, as an archive or another binary file does;"
            " give a text file"
        )
    if not text.strip():
        raise BenchmarkError(f"{path} is empty; give a file with rows")
    return text


def need_columns(path: Path, columns: Sequence[str], needed: Sequence[str]) -> None:
    """Raise BenchmarkError naming the columns that a csv lacks, or has twice."""
    missing = [name for name in needed if name not in columns]
    if missing:
        raise BenchmarkError(f"{path}, row 1 has no column {', '.join(missing)}; it has {', '.join(columns)}")
    twice = [name for name in dict.fromkeys(needed) if list(columns).count(name) > 1]
    if twice:
        raise BenchmarkError(f"{path}, row 1 names the column {', '.join(twice)} twice; keep the one to be read")
