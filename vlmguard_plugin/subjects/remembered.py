"""Hidden states that several guards are fitted on, recorded once."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Hashable, Iterator, Sequence

from PIL import Image

from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import ImageLike, Query, read_image
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def states_remembered(subject: Subject) -> Iterator[None]:
    """While open, `subject.record` gives the states of a query that was recorded before as they were then.

    What is recorded under edits, or while a guard is on the model, is neither kept nor taken. Don't change the model
    meanwhile. Kept are float32 states of all layers on the CPU: 4 * L * d bytes a query (0.5 MB of a 7B model).
    """
    own = subject.record
    kept: dict[Hashable, Tensor] = {}

    def record(queries: Sequence[Query], edits: Any = None, *, progress: str | None = None) -> Tensor:
        if edits is not None or subject.is_edited:
            return own(queries, edits, progress=progress)
        keys = [key_of(query) for query in queries]
        new = {key: query for key, query in zip(keys, queries) if key not in kept}
        if new:
            kept.update(zip(new, own(list(new.values()), progress=progress)))
        return torch.stack([kept[key] for key in keys]) if keys else own(queries)

    remembering: Any = subject
    remembering.record = record
    try:
        yield
    finally:
        del remembering.record


def key_of(query: Query) -> Hashable:
    """Equal for queries that a model is shown alike."""
    turns = tuple(
        (turn.role, tuple((kind, value if kind == "text" else image_key(value)) for kind, value in turn.parts))
        for turn in query.turns()
    )
    return turns, query.begun, query.raw


def image_key(image: ImageLike) -> Hashable:
    """Equal for equal images: a file by its path, an image of Pillow's by its pixels as a model is shown them."""
    if not isinstance(image, Image.Image):
        return repr(image)
    seen = read_image(image)  # a palette's numbers, for one, say nothing without its colours
    return seen.size, hashlib.sha256(seen.tobytes()).hexdigest()
