"""How a host names its results and sample logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Layout:
    """A host's files. results: date in the name of a results file, or None where it is none. samples: the name of a
    task's sample log, by date and task. version: of the host, in its results. empty_is_missing: whether stock models
    leave an empty answer where they failed.
    """

    host: str
    results: Callable[[str], str | None]
    samples: Callable[[str, str], str]
    version: str
    empty_is_missing: bool = False
