"""Tables as VLMEvalKit writes them, in each of its formats, as data frames of their own values."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import pandas

from vlmguard_plugin.reading import read_bytes, read_json
from vlmguard_plugin.runs.answers import costs_itself_alone
from vlmguard_plugin.runs.readers.workbook import read_workbook

FORMATS = (".xlsx", ".tsv", ".csv", ".json")
MOST_COLUMNS = 1000


@costs_itself_alone()
def read_table(path: Path) -> pandas.DataFrame:
    """A prediction file as a data frame of its own values; OutputError where it is damaged.

    A blank cell is an empty text: the host writes every answer as text.
    """
    if path.suffix == ".xlsx":
        frame = read_workbook(path)
    elif path.suffix == ".json":
        frame = json_table(read_json(path))
    else:
        frame = separated_table(path, "\t" if path.suffix == ".tsv" else ",")
    frame.columns = [str(column) for column in frame.columns]
    return frame


def separated_table(path: Path, separator: str) -> pandas.DataFrame:
    """A table of values with a separator between; ValueError for one of more than MOST_COLUMNS, or with longer rows."""
    content = read_bytes(path)
    columns = content.partition(b"\n")[0].count(separator.encode()) + 1
    if columns > MOST_COLUMNS:
        raise ValueError(f"it has {columns:,} columns; that is no table of answers")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)  # a row of more values than there are names
        return pandas.read_csv(
            io.BytesIO(content), sep=separator, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8"
        )


def json_table(content: object) -> pandas.DataFrame:
    """The host's three JSON layouts of a table: records, {columns, data}, or a list by column."""
    if isinstance(content, dict) and {"columns", "data"} <= set(content):
        return pandas.DataFrame(content["data"], columns=content["columns"], dtype=object)
    if isinstance(content, (list, dict)):
        return pandas.DataFrame(content, dtype=object)
    raise ValueError(f"a JSON {type(content).__name__} is no table")
