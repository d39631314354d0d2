"""Anchors: pairs of harmful and harmless requests on the same topic, which guards are fitted on."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

_BUILT_IN = Path(__file__).with_name("how_to.csv")
_COLUMNS = ("harmful", "harmless")


class BadAnchors(ValueError):
    """A file of anchors can't be used; the message has the file, the row and the reason."""


@dataclass(frozen=True)
class AnchorPair:
    """Two requests, alike but for their intent. topic: a readable name, may be empty. BadAnchors for one twice."""

    harmful: str
    harmless: str
    topic: str = ""

    def __post_init__(self) -> None:
        if self.harmful == self.harmless:
            raise BadAnchors(f"the harmful and the harmless request of a pair are both {self.harmful[:80]!r}")


@dataclass(frozen=True)
class Anchors:
    """Anchor pairs, in the file's order."""

    pairs: tuple[AnchorPair, ...]

    @property
    def harmful(self) -> list[str]:
        return [pair.harmful for pair in self.pairs]

    @property
    def harmless(self) -> list[str]:
        return [pair.harmless for pair in self.pairs]

    @property
    def sha256(self) -> str:
        """Identifies the requests, whatever file they came from."""
        requests = "\n".join(f"{pair.harmful}\t{pair.harmless}" for pair in self.pairs)
        return hashlib.sha256(requests.encode()).hexdigest()

    def split(self, fitted: int) -> tuple[Anchors, Anchors]:
        """Two disjoint parts: `fitted` pairs spread evenly over the file, and the rest."""
        if not 0 < fitted < len(self.pairs):
            raise ValueError(
                f"can't keep {fitted} of {len(self.pairs)} anchor pairs and leave some; give 1 to {len(self.pairs) - 1}"
            )
        chosen = {round(place * (len(self.pairs) - 1) / max(1, fitted - 1)) for place in range(fitted)}
        first = tuple(pair for index, pair in enumerate(self.pairs) if index in chosen)
        return Anchors(first), Anchors(tuple(pair for index, pair in enumerate(self.pairs) if index not in chosen))


def load_anchors(path: str | Path | None = None) -> Anchors:
    """Anchor pairs from a csv with the columns harmful and harmless (and topic, if there is one).

    path: None is the package's own set, 128 "How to ..." pairs in our own wording.
    Raises FileNotFoundError, or BadAnchors with the row at fault.
    """
    path = Path(path) if path is not None else _BUILT_IN
    if not path.is_file():
        raise FileNotFoundError(f"there is no anchors file {path}; give a csv with the columns harmful and harmless")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadAnchors(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error
    rows = csv.DictReader(io.StringIO(text))
    missing = [column for column in _COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise BadAnchors(f"{path} lacks the column {' and '.join(missing)}; row 1 has {rows.fieldnames or 'nothing'}")
    pairs = []
    try:
        for row in rows:
            for column in _COLUMNS:
                if not (row[column] or "").strip():
                    raise BadAnchors(f"column {column} is empty; give a request or delete the row")
            pairs.append(AnchorPair(row["harmful"].strip(), row["harmless"].strip(), (row.get("topic") or "").strip()))
    except (BadAnchors, csv.Error) as error:
        raise BadAnchors(f"{path}, row {rows.line_num}: {error}") from error
    if len(pairs) < 2:
        raise BadAnchors(f"{path} holds {len(pairs)} pairs; at least 2 are needed, and 100 are usual")
    return Anchors(tuple(pairs))
