"""What a benchmark is: how its files are read, and what is known of it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Callable, Mapping

from vlmguard_plugin.benchmarks.row import Reading


@dataclass(frozen=True)
class Download:
    """One file of the authors'. url: where they publish it, at a fixed version.

    path: where it goes in the source folder, with forward slashes; for an archive, the folder it is unpacked to.
    sha256: of the file, in hex; None where the authors' place gives none (the digest is then noted at first sight
    and compared ever after). unpack: it is a zip or tar archive. strip: leading folders dropped when unpacked.
    """

    url: str
    path: str
    sha256: str | None = None
    unpack: bool = False
    strip: int = 0

    def __post_init__(self) -> None:
        if PurePosixPath(self.path).is_absolute() or ".." in PurePosixPath(self.path).parts:
            raise ValueError(f"download path is {self.path!r}; it must lie inside the source folder")


@dataclass(frozen=True)
class Benchmark:
    """How one data set is read, and what is known of it.

    read: original files -> Reading. kind: "safety", "mcq" or "open". source: where its authors publish it.
    licence: of the original data. harmful: how harmful rows are known. fixed: options that its name settles.
    attack: what a successful attack is there. judge: which judge its paper used. changed: what we do otherwise.
    downloads: the authors' files, where they can be had without an account. inside: what of the downloaded folder
    is the source. groups: names of sets of categories that are reported apart, as the authors or our convention say.
    criteria: by category, what an attack success is where it is not a harmful answer; judges that can are told.
    """

    read: Callable[..., Reading]
    kind: str
    source: str
    licence: str
    harmful: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    attack: str = ""
    judge: str = ""
    changed: str = ""
    downloads: tuple[Download, ...] = ()
    inside: str = ""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    criteria: Mapping[str, str] = field(default_factory=dict)

    def options(self) -> list[str]:
        """Names of the options that `prepare` takes for this data set."""
        return [name for name in inspect.signature(self.read).parameters if name != "source" and name not in self.fixed]

    def source_in(self, folder: Path) -> Path:
        """What `read` takes, of a folder that holds the downloads."""
        return folder / self.inside if self.inside else folder
