"""Anchors: pairs of harmful and harmless requests on the same topic, which guards are fitted on."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, TypeVar

SETS = {name: Path(__file__).with_name(f"{name}.csv") for name in ("how_to", "varied")}
"""The package's own anchors by name: 128 pairs of one form, and 700 of several forms, more than half borderline."""
DEFAULT_SET = "how_to"
OBJECTS_FILE = Path(__file__).with_name("object_in_picture.csv")

Pair = TypeVar("Pair")


class BadAnchors(ValueError):
    """A file of anchors can't be used; the message has the file, the row and the reason."""


@dataclass(frozen=True)
class AnchorPair:
    """Two requests, alike but for their intent. BadAnchors for one twice.

    topic, form: readable names of what it is about and how it is asked. borderline: why the harmless request sounds
    dangerous or the harmful one mild, "" where neither does. language: "en", "zh", ... All may be empty.
    """

    harmful: str
    harmless: str
    topic: str = ""
    form: str = ""
    borderline: str = ""
    language: str = ""

    def __post_init__(self) -> None:
        if self.harmful == self.harmless:
            raise BadAnchors(f"the harmful and the harmless request of a pair are both {self.harmful[:80]!r}")


@dataclass(frozen=True)
class ObjectPair:
    """One request whose object stands only in a picture, and the words that make it harmful and harmless there."""

    request: str
    harmful_word: str
    harmless_word: str
    topic: str = ""
    form: str = ""

    def __post_init__(self) -> None:
        if self.harmful_word.lower() == self.harmless_word.lower():
            raise BadAnchors(f"the harmful and the harmless word of a pair are both {self.harmful_word[:80]!r}")


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
    """Anchor pairs of the package, or from a csv with the columns harmful and harmless.

    path: a name of SETS ("how_to", "varied"; such a file in this folder is "./varied"), two of them ("how_to+varied":
        the pairs of both, in this order), or a csv, whose further columns topic, form, borderline and language are
        kept where there are any; None is "how_to". A Path is a file whatever its name, since Path("./varied") is
        Path("varied").
    Raises FileNotFoundError, or BadAnchors with the row at fault.
    """
    path = DEFAULT_SET if path is None else path
    names = path.split("+") if isinstance(path, str) else []
    if names and set(names) <= set(SETS):
        if len(set(names)) < len(names):
            raise BadAnchors(f"anchors are {path!r}, one set twice; give each once")
        return Anchors(tuple(pair for name in names for pair in _anchor_pairs(SETS[name])))
    return Anchors(_anchor_pairs(Path(path)))


def _anchor_pairs(path: Path) -> tuple[AnchorPair, ...]:
    if not path.is_file():
        names, joined = ", ".join(SETS), " (+ joins the package's own sets alone)" if "+" in str(path) else ""
        raise FileNotFoundError(
            f"there is no anchors file {path}{joined}; give one of {names}, or a csv with the columns harmful and "
            "harmless"
        )
    pairs = _pairs(path, AnchorPair, ("harmful", "harmless"), ("topic", "form", "borderline", "language"))
    if len(pairs) < 2:
        raise BadAnchors(f"{path} holds {len(pairs)} pairs; at least 2 are needed, and 100 are usual")
    return pairs


def load_object_pairs(path: str | Path | None = None) -> tuple[ObjectPair, ...]:
    """Pairs whose object stands only in the picture, from a csv with request, harmful_word and harmless_word.

    path: None is the package's own, 108 pairs in our own wording.
    Raises FileNotFoundError, or BadAnchors with the row at fault.
    """
    path = OBJECTS_FILE if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}; give a csv with the columns request, harmful_word and harmless_word"
        )
    return _pairs(path, ObjectPair, ("request", "harmful_word", "harmless_word"), ("topic", "form"))


def _pairs(
    path: Path, pair: Callable[..., Pair], required: tuple[str, ...], optional: tuple[str, ...]
) -> tuple[Pair, ...]:
    """One pair a row, made of its cells in these columns; BadAnchors with the row at fault."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadAnchors(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error
    rows = csv.DictReader(io.StringIO(text))
    columns = rows.fieldnames or ()
    missing = [column for column in required if column not in columns]
    if missing:
        has = f"{str(columns)[:100]}{' ...' * (len(str(columns)) > 100)}" if columns else "nothing"
        raise BadAnchors(
            f"{path} lacks the column {' and '.join(missing)}; row 1 has {has}: give a csv, commas between its cells, "
            f"whose row 1 names {','.join(required)}"
        )
    repeated = [column for column in (*required, *optional) if list(columns).count(column) > 1]
    if repeated:
        raise BadAnchors(f"{path} has the column {' and '.join(repeated)} more than once; leave one of them")
    pairs = []
    try:
        for row in rows:
            if None in row:
                raise BadAnchors(
                    f"it has more cells than the {len(columns)} columns; put cells that hold a comma between quotes"
                )
            cells = {column: (row.get(column) or "").strip() for column in (*required, *optional)}
            for column in required:
                if not any(character.isprintable() and not character.isspace() for character in cells[column]):
                    raise BadAnchors(f"column {column} is empty; fill it or delete the row")
            pairs.append(pair(**cells))
    except (BadAnchors, csv.Error) as error:
        raise BadAnchors(f"{path}, row {rows.line_num}: {error}") from error
    return tuple(pairs)
