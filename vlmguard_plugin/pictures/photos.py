"""Photos of a folder that the user names."""

from __future__ import annotations

from pathlib import Path

PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def photos_in(folder: Path, named: str = "photos") -> list[Path]:
    """The files of PHOTO_SUFFIXES in a folder, hidden ones left out, in the order of their names; at least one.

    named: what the user calls the folder. Raises ValueError, with both, where it is no folder or holds no picture.
    """
    if not folder.is_dir():
        raise ValueError(f"{named} is {str(folder)!r}, which is no folder; give a folder of pictures")
    shown = (path for path in folder.iterdir() if not path.name.startswith("."))
    photos = sorted((path for path in shown if path.suffix.lower() in PHOTO_SUFFIXES), key=lambda path: path.name)
    if not photos:
        kinds = ", ".join(PHOTO_SUFFIXES)
        raise ValueError(f"{named} is {str(folder)!r}, which holds no {kinds}; put pictures there")
    return photos
