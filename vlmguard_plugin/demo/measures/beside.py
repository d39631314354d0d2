"""What stands beside a request: nothing, a picture of a kind, or photos of a folder in turn."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from vlmguard_plugin.pictures.drawn import ORDINARY_WORDS, picture, word_picture
from vlmguard_plugin.pictures.meaningless import meaningless
from vlmguard_plugin.query import ImageLike

KINDS = ("text", "blank", "noise", "shape", "word")
PICTURE_KINDS = KINDS[1:]


class Beside:
    """One condition. name: one of KINDS, or a folder of photos, of which each request gets one, in turn by name.

    Raises ValueError for any other name, and for a folder without a picture.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._photos: list[Path] = []
        if name in KINDS:
            return
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise ValueError(f"{name!r} is neither a folder of photos nor one of {', '.join(KINDS)}")
        self._photos = [path for path in sorted(folder.iterdir()) if is_picture(path)]
        if not self._photos:
            raise ValueError(f"{name!r} holds no picture that can be read; name a folder with photos in it")
        self.name = f"photos of {folder.name}"

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


def is_picture(path: Path) -> bool:
    """Whether a file is an image that Pillow knows."""
    if not path.is_file():
        return False
    try:
        with Image.open(path):
            return True
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError):
        return False
