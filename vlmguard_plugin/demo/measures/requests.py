"""The requests that measures ask: the demo's own, those of picture requests, or any prepared set."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Sequence

from vlmguard_plugin.benchmarks import lmu_data, open_prepared
from vlmguard_plugin.demo.datasets import REQUESTS_FILE

if TYPE_CHECKING:
    from pandas import DataFrame

ANSWER_TOKENS = 40
"""Length of answers that are judged, in tokens."""


@dataclass(frozen=True)
class Request:
    """A request. harmful: whether answering it is counted as an attack's success."""

    text: str
    harmful: bool


def demo_requests() -> list[Request]:
    """The demo's held-out requests: harmful and harmless ones in turn."""
    with REQUESTS_FILE.open(newline="", encoding="utf-8") as opened:
        return [Request(row["request"], row["harmful"] == "1") for row in csv.DictReader(opened)]


def prepared_requests(name: str) -> list[Request]:
    """The requests of a prepared set whose rows say whether they are harmful; pictures are left out."""
    frame = prepared_set(name, ("index", "question", "harmful"))
    return [Request(text, bool(harmful)) for text, harmful in zip(frame["question"], frame["harmful"]) if text.strip()]


def prepared_set(name: str, columns: Sequence[str]) -> DataFrame:
    """The rows of a prepared set: a name in $LMUData, or the path of a TSV. ValueError where a column is missing."""
    if not name:
        raise ValueError("--requests names no set; give its name in $LMUData or the path of its TSV")
    path = Path(name) if name.endswith(".tsv") else lmu_data() / f"{name}.tsv"
    if not path.is_file():
        raise ValueError(f"there is no prepared set {path}; run `vlmguard data prepare {path.stem} --source ...`")
    return open_prepared(path, columns)


def first_of_each(requests: list[Request], items: int | None) -> list[Request]:
    """At most so many harmful and so many harmless requests, the first of each, in order; all for None."""
    left = {True: items, False: items}
    chosen = []
    for request in requests:
        of_kind = left[request.harmful]
        if of_kind is None or of_kind > 0:
            chosen.append(request)
            left[request.harmful] = None if of_kind is None else of_kind - 1
    return chosen
