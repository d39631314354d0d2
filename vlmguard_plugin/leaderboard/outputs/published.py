"""Figures that papers report, from published.csv: to be shown apart from measured ones, never beside them.

Judges, prompts, decoding and checkpoints differ from paper to paper and from ours, so that only figures of one paper,
model, benchmark and judge can be compared with each other.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("published.csv")
READ_FROM = {
    "paper": "read in the paper",
    "abstract": "read in the paper's abstract",
    "digest": "read in a digest of the paper, not in the paper itself",
    "notes checked against the table": "from reading notes that say they were checked against the paper's table",
    "notes": "from reading notes, not checked",
}
"""How well a figure's source was read."""


@dataclass(frozen=True)
class Published:
    """One reported figure. arxiv: the paper's id, "" for none known. method: "no guard" for the plain model. condition:
    of the benchmark. value: in `unit` ("%" is 0 to 100, "score", "s"). better: "lower" or "higher". judge: "" where
    the source names none. read_from: a key of READ_FROM."""

    paper: str
    year: int
    arxiv: str
    model: str
    method: str
    benchmark: str
    condition: str
    metric: str
    value: float
    unit: str
    better: str
    judge: str
    read_from: str


def published_results(file: Path = FILE) -> tuple[Published, ...]:
    """All of them, in the file's order. ValueError for a row that can't be one."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    figures = []
    for row in rows:
        values: dict[str, Any] = {**row, "year": int(row["year"]), "value": float(row["value"])}
        figure = Published(**values)
        possible = figure.unit != "%" or 0 <= figure.value <= 100
        if not possible or figure.better not in ("lower", "higher") or figure.read_from not in READ_FROM:
            raise ValueError(f"{file}: {figure} is no figure; see the docstring of Published")
        figures.append(figure)
    return tuple(figures)
