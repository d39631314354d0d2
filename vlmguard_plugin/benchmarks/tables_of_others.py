"""Tables that are no text: the first sheet of an Excel workbook, and Parquet files with their pictures inside."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Iterator, Sequence

from vlmguard_plugin.benchmarks.archives import check_sizes
from vlmguard_plugin.benchmarks.picture import encoded
from vlmguard_plugin.benchmarks.row import BenchmarkError
from vlmguard_plugin.reading import checked_file

ROWS_AT_ONCE = 64
"""Rows of a Parquet file that are held at a time, pictures included."""


def read_xlsx(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """(column names, [(row of the sheet from 1, cells by column)]) of a workbook's first sheet, as `read_csv` has it.

    Column names are lower-cased; rows without any text are skipped; an empty cell is "".
    """
    import pandas
    from python_calamine import CalamineError

    checked_file(path)
    check_workbook(path)
    try:
        frame = pandas.read_excel(path, dtype=object, keep_default_na=False, engine="calamine")
    except (CalamineError, ValueError, OSError, KeyError) as error:
        raise BenchmarkError(
            f"{path} can't be read as a workbook ({error}); give the benchmark's original file"
        ) from error
    columns = [str(name).strip().lower() for name in frame.columns]
    rows = []
    for number, values in enumerate(frame.itertuples(index=False), start=2):
        cells = {column: str(value).strip() for column, value in zip(columns, values)}
        if any(cells.values()):
            rows.append((number, cells))
    if not rows:
        raise BenchmarkError(f"{path} holds a header and no rows; give a file with at least one")
    return columns, rows


def check_workbook(path: Path) -> None:
    """BenchmarkError for a workbook, which is a zip archive, that unpacks to far more than its size."""
    try:
        with zipfile.ZipFile(path) as opened:
            check_sizes(path, (info.file_size for info in opened.infolist()))
    except zipfile.BadZipFile:
        return  # an old workbook, or none: its reader says so


def read_parquet(files: Sequence[Path], columns: Sequence[str]) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    """(file, row from 1, values by column) of Parquet files, one after the other. columns: those that are read.

    BenchmarkError without pyarrow, for what is no such file, and where a column is missing.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise BenchmarkError("Parquet files need the package pyarrow; pip install pyarrow") from error
    for path in files:
        checked_file(path)
        try:
            table = parquet.ParquetFile(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise BenchmarkError(f"{path} is no Parquet file ({error}); give the benchmark's original file") from error
        with table:
            missing = [name for name in columns if name not in table.schema_arrow.names]
            if missing:
                raise BenchmarkError(
                    f"{path} has no column {', '.join(missing)}; it has {', '.join(table.schema_arrow.names)}"
                )
            batches = table.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(columns))
            number = 0
            while True:
                try:  # pages are looked at only here; text that is none is a ValueError, as pyarrow's own errors are
                    batch = next(batches, None)
                    rows = [] if batch is None else batch.to_pylist()
                except (pyarrow.ArrowException, OSError, ValueError) as error:
                    raise BenchmarkError(
                        f"{path} is damaged behind row {number} ({error}); give the benchmark's original file"
                    ) from error
                if batch is None:
                    break
                for values in rows:
                    number += 1
                    yield path, number, values


def parquet_files(source: Path, pattern: str) -> list[Path]:
    """The file itself, or those of a folder (or its folder data or test) that fit the pattern, in order of names."""
    if not source.is_dir():
        return [source]
    folders = (source, source / "test", source / "data")
    return next((found for folder in folders if (found := sorted(folder.glob(pattern)))), [])


def picture_in(value: Any) -> bytes:
    """The picture of a cell {bytes, path}, as the hub stores one, decoded once; BenchmarkError for anything else.

    Its file stays as it is: hundreds of decoded pictures would fill the memory.
    """
    content = value.get("bytes") if isinstance(value, dict) else None
    if not isinstance(content, bytes):
        raise BenchmarkError("its image holds no bytes; give the files that hold the pictures")
    encoded(content)
    return content
