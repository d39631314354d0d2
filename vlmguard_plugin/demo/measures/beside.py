"""What stands beside a request: nothing, a picture of a kind, or photos of a folder in turn."""

from __future__ import annotations

from pathlib import Path

from vlmguard_plugin.benchmarks.picture import check_picture, pictures_in
from vlmguard_plugin.files import expanded
from vlmguard_plugin.pictures.drawn import ORDINARY_WORDS, picture, word_picture
from vlmguard_plugin.pictures.meaningless import meaningless
from vlmguard_plugin.query import ImageLike

KINDS = ("text", "blank", "noise", "shape", "word")
PICTURE_KINDS = KINDS[1:]


class Beside:
    """One condition. name: one of KINDS, or a folder of photos, of which each request gets one, in turn by name.

    Raises ValueError for any other name, for a folder without a picture, and for one that can't be read.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._photos: list[Path] = []
        if name in KINDS:
            return
        folder = expanded(name)
        if not folder.is_dir():
            raise ValueError(f"{name!r} is neither a folder of photos nor one of {', '.join(KINDS)}")
        self._photos = pictures_in(folder)
        for photo in self._photos:
            check_picture(photo)
        self.name = f"photos of {folder.resolve().name}"

    def images(self, number: int) -> tuple[ImageLike, ...]:
        """What stands beside the request of this number, from 0."""
        return self.shown(number)[0]

    def shown(self, number: int) -> tuple[tuple[ImageLike, ...], str]:
        """The same, and a caption of it: the same blank or noise for all, else a picture of its own.

        Word pictures show ordinary words alone, never those of the picture requests. A photo has no caption: "".
        """
        if self._photos:
            return (self._photos[number % len(self._photos)],), ""
        if self.name == "text":
            return (), ""
        if self.name == "blank":
            return (meaningless("blank"),), "a blank white background"
        if self.name == "noise":
            return (meaningless("noise"),), "random noise"
        if self.name == "shape":
            drawn = picture("held_out", number, "single")
        else:
            drawn = word_picture(ORDINARY_WORDS[number % len(ORDINARY_WORDS)], number)
        return (drawn.image(),), drawn.caption
