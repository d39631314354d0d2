"""Anchors under conditions: as text, beside pictures drawn from a seed, and beside photos of the user's."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, Sequence

from PIL import Image

from vlmguard_plugin.anchors import OBJECTS_FILE, Anchors, ObjectPair, load_object_pairs
from vlmguard_plugin.files import expanded, sha256_of
from vlmguard_plugin.guards.core.recording import check_finite
from vlmguard_plugin.guards.core.representation import RepresentationSettings
from vlmguard_plugin.pictures.drawn import ORDINARY_WORDS, picture
from vlmguard_plugin.pictures.meaningless import DEFAULT_SIZE, coloured, meaningless
from vlmguard_plugin.pictures.photos import photos_in
from vlmguard_plugin.query import ImageLike, Query, read_image
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor

CONDITIONS = ("text", "blank", "noise", "shape", "word")
"""What can stand beside any anchor: nothing, or a picture that has nothing to do with it."""
COLOUR = "colour"
"""The condition of requests beside a picture of one colour, for each pair its own; not one of the default ones."""
OBJECT = "object"
"""The condition of requests whose object stands only in the picture, as a word; they have pairs of their own."""
PHOTOS = "photos="
"""Before a folder: photos stand beside the anchors, to each pair one."""


@dataclass(frozen=True)
class AnchorQueries:
    """The anchors under one condition: all harmful queries, then all harmless ones, each in the pairs' order.

    condition: as it was asked for. pairs: the number of each query's pair, from 0; one pair has one number under all
    conditions, and those of the condition "object", which are pairs of their own, are counted on after the anchors'.
    harmful: of each query, whether it is. All three have 2N entries for N pairs.
    """

    condition: str
    queries: tuple[Query, ...]
    pairs: tuple[int, ...]
    harmful: tuple[bool, ...]


def anchor_queries(anchors: Anchors, conditions: Sequence[str] = CONDITIONS, seed: int = 0) -> Iterator[AnchorQueries]:
    """The anchors under each condition in turn, drawn when they are asked for.

    conditions: of CONDITIONS; "colour"; "object" for the package's pairs whose object stands only in the picture; and
        "photos=FOLDER", whose photos each pair gets one of, in an order that the seed decides.
    seed: of what is drawn, a whole number; the same pixels for the same seed and number of the pair, on every machine.
    Both requests of a pair stand beside the same picture; under "object" beside two words in the same writing.
    Raises ValueError for another condition, a folder without photos, and a photo that can't be read: all at once, not
    after the first conditions have been used.
    """
    checked = check_conditions(conditions)
    photos = {name: photos_of(name, seed)[: len(anchors.pairs)] for name in checked if name.startswith(PHOTOS)}
    for photo in (photo for folder in photos.values() for photo in folder):
        read_image(photo)
    return (_under(name, anchors, photos.get(name, []), seed) for name in checked)


def record_conditions(
    subject: Subject, anchors: Anchors, conditions: Sequence[str], seed: int, guard: str, progress: bool
) -> Iterator[tuple[str, Tensor]]:
    """Each condition and the anchors' states under it, harmful ones first: [2N, L, d]. The rest as `anchor_queries`.

    Raises ValueError, naming layers, anchor and condition, where a state is not finite.
    """
    for asked in anchor_queries(anchors, conditions, seed):
        states = subject.record(asked.queries, progress=f"fit {guard}: {asked.condition}" if progress else None)
        half = len(asked.queries) // 2

        def called(row: int, asked: AnchorQueries = asked, half: int = half) -> str:
            side = "harmful" if row < half else "harmless"
            return f"{side} anchor {row % half + 1} ({asked.queries[row].text[:60]!r}) under {asked.condition}"

        yield asked.condition, check_finite(states, called)


def check_conditions(conditions: object) -> tuple[str, ...]:
    """The conditions, each once; a text names them with commas between. ValueError for others, and for none."""
    names = conditions.split(",") if isinstance(conditions, str) else conditions
    known = (*CONDITIONS, COLOUR, OBJECT)
    if (
        not isinstance(names, (list, tuple))
        or not names
        or any(not isinstance(name, str) for name in names)
        or any(name not in known and not name[len(PHOTOS) :] * name.startswith(PHOTOS) for name in names)
        or len(set(names)) < len(names)
    ):
        raise ValueError(
            f"conditions is {conditions!r}; give distinct ones of {', '.join(known)} and {PHOTOS}FOLDER, such as "
            "text,blank,shape"
        )
    return tuple(names)


def photos_of(condition: str, seed: int) -> list[Path]:
    """The photos of a condition "photos=FOLDER", in the order in which pairs get them; ValueError where there are none.

    seed: decides the order.
    """
    photos = photos_in(expanded(condition[len(PHOTOS) :]))
    return random.Random(f"photos:{seed}").sample(photos, len(photos))


def contents_of(conditions: Sequence[str]) -> dict[str, str]:
    """sha256 of what queries under these conditions are made of, by condition: the pairs of "object", and photos."""
    contents = {OBJECT: sha256_of(OBJECTS_FILE)} if OBJECT in conditions else {}
    for condition in conditions:
        if condition.startswith(PHOTOS):
            digest = hashlib.sha256()
            for photo in photos_in(expanded(condition[len(PHOTOS) :])):
                digest.update(f"{photo.name}\t{sha256_of(photo)}\n".encode())
            contents[condition] = digest.hexdigest()
    return contents


@dataclass(frozen=True)
class ConditionSettings(RepresentationSettings):
    """Settings of a guard that is fitted on anchors under several conditions.

    conditions: what stands beside the anchors, see `anchor_queries`; also as one text, with commas between.
    picture_seed: seed of what is drawn for the fit, a whole number from 0.

    Both enter the fit, so they belong into the guard's `fit_settings`.
    """

    conditions: tuple[str, ...] = CONDITIONS
    picture_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "conditions", check_conditions(self.conditions))
        self.check_whole("picture_seed", 0)

    def contents(self) -> dict[str, str]:
        return contents_of(self.conditions)


def _under(condition: str, anchors: Anchors, photos: Sequence[Path], seed: int) -> AnchorQueries:
    if condition == OBJECT:
        queries, first = _object_queries(load_object_pairs(), seed), len(anchors.pairs)
    else:
        beside = _images(condition, len(anchors.pairs), photos, seed)
        queries = [
            Query(text, images) for side in (anchors.harmful, anchors.harmless) for text, images in zip(side, beside)
        ]
        first = 0
    half = len(queries) // 2
    numbers = range(first, first + half)
    return AnchorQueries(condition, tuple(queries), (*numbers, *numbers), (True,) * half + (False,) * half)


def _images(condition: str, pairs: int, photos: Sequence[Path], seed: int) -> list[tuple[ImageLike, ...]]:
    """What stands beside the requests of each pair."""
    if condition == "text":
        return [()] * pairs
    if condition == "blank":
        return [(meaningless("blank"),)] * pairs
    if photos:
        return [(photos[number % len(photos)],) for number in range(pairs)]
    return [(_DRAWN[condition](picture_number(seed, condition, number)),) for number in range(pairs)]


def picture_number(seed: int, condition: str, pair: int) -> int:
    """The seed of one pair's picture, 0 to 2**32 - 1: far from the small ones of pictures that guards are judged by."""
    return int.from_bytes(hashlib.sha256(f"{condition}:{seed}:{pair}".encode()).digest()[:4], "big")


def _noise(number: int) -> Image.Image:
    return meaningless("noise", noise_seed=number)


def _shape(number: int) -> Image.Image:
    return picture("train", number, "single").image(DEFAULT_SIZE[0])


def _word(number: int) -> Image.Image:
    return _written(ORDINARY_WORDS[number % len(ORDINARY_WORDS)], number)


def _written(word: str, number: int) -> Image.Image:
    """A word in colours and writing of the number's, in the font that every machine has."""
    return replace(picture("held_out", number, "word"), word=word.lower()).image(DEFAULT_SIZE[0])


_DRAWN: dict[str, Callable[[int], Image.Image]] = {
    "noise": _noise,
    "shape": _shape,
    "word": _word,
    COLOUR: coloured,
}


def _object_queries(pairs: Sequence[ObjectPair], seed: int) -> list[Query]:
    numbers = [picture_number(seed, OBJECT, number) for number in range(len(pairs))]
    harmful = [Query(pair.request, (_written(pair.harmful_word, n),)) for pair, n in zip(pairs, numbers)]
    return harmful + [Query(pair.request, (_written(pair.harmless_word, n),)) for pair, n in zip(pairs, numbers)]
