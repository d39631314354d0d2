"""Archives unpacked safely: regular files only, and none outside the folder that they are unpacked to."""

from __future__ import annotations

import errno
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO, Callable, Iterable, Sequence, TypeVar, cast

from vlmguard_plugin.benchmarks.row import BenchmarkError
from vlmguard_plugin.reading import visible

CHUNK = 1 << 20
"""Bytes copied at a time."""
MOST_FILES = 1_000_000
"""Files that an archive may hold; the largest benchmark's has 28,000."""
MOST_GROWTH, ALWAYS_ALLOWED = 50, 64 << 20
"""An archive may unpack to so many times its own size (pictures hardly shrink, text to a tenth), or to 64 MiB."""
Member = TypeVar("Member", zipfile.ZipInfo, tarfile.TarInfo)


def unpack(archive: Path, target: Path, strip: int = 0) -> None:
    """The regular files of a zip or tar archive into target, less `strip` leading folders.

    All names and sizes are looked at before anything is written: BenchmarkError where one leads out of target or is a
    link, and where there would be more than MOST_FILES files, or MOST_GROWTH times the archive's bytes.
    """
    try:
        if zipfile.is_zipfile(archive):
            unpack_zip(archive, target, strip)
        else:
            unpack_tar(archive, target, strip)
    except BenchmarkError:
        raise
    except Exception as error:  # what three decompressors and two formats raise at damage is of every kind
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise BenchmarkError(
            f"{archive} is not a whole zip or tar archive ({visible(str(error))}); delete it and try again, or unpack "
            "it by hand and give the folder with --source"
        ) from error


def unpack_zip(archive: Path, target: Path, strip: int) -> None:
    """`unpack` of a zip archive."""
    with zipfile.ZipFile(archive) as opened:
        members = [(info.filename, info) for info in opened.infolist() if not info.is_dir()]
        for name, info in members:
            if stat.S_ISLNK(info.external_attr >> 16):
                raise BenchmarkError(f"{archive} holds {name!r}, a link; get the files by hand and give --source")
        check_sizes(archive, (info.file_size for _, info in members))
        write_members(archive, members, target, strip, opened.open)


def unpack_tar(archive: Path, target: Path, strip: int) -> None:
    """`unpack` of a tar archive."""
    with tarfile.open(archive) as opened:
        check_sizes(archive, (info.size for info in opened if info.isfile()))  # stops early at a bomb
        members = [(info.name, info) for info in opened.getmembers() if not info.isdir()]
        for name, info in members:
            if not info.isfile():
                raise BenchmarkError(
                    f"{archive} holds {name!r}, a link or device; get the files by hand and give --source"
                )
        # None is what extractfile gives for members that are no files, and there are none left
        write_members(archive, members, target, strip, lambda info: cast(IO[bytes], opened.extractfile(info)))


def check_sizes(archive: Path, sizes: Iterable[int]) -> None:
    """BenchmarkError where files of these sizes are more than the archive may unpack to."""
    allowed = max(ALWAYS_ALLOWED, MOST_GROWTH * archive.stat().st_size)
    total = 0
    for number, size in enumerate(sizes, start=1):
        total += size
        if total > allowed or number > MOST_FILES:
            raise BenchmarkError(
                f"{archive} unpacks to more than {allowed:,} bytes or {MOST_FILES:,} files, too much for its "
                f"{archive.stat().st_size:,} bytes; look at it, unpack it by hand and give the folder with --source"
            )


def write_members(
    archive: Path,
    members: Sequence[tuple[str, Member]],
    target: Path,
    strip: int,
    opener: Callable[[Member], IO[bytes]],
) -> None:
    """Write the members (name, member) of an open archive, each name checked first. opener: a member's content."""
    places = []
    for name, info in members:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0]:
            raise BenchmarkError(
                f"{archive} holds {name!r}, which leads out of its folder; it was not unpacked. Get the files by hand "
                "and give --source"
            )
        if len(parts) > strip:
            places.append((target.joinpath(*parts[strip:]), info))
    root = target.resolve()
    for place, info in places:
        if not place.parent.resolve().is_relative_to(root):
            raise BenchmarkError(f"{place} leads out of {target} through a link; remove the link and try again")
        place.parent.mkdir(parents=True, exist_ok=True)
        with opener(info) as source, open(place, "wb") as stream:
            shutil.copyfileobj(source, stream, CHUNK)
