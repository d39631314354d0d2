"""What a look at an environment found."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. state: "good", "note" or "bad". remedy: what to do, where it is not good."""

    state: str
    what: str
    remedy: str = ""


def installed(package: str) -> str | None:
    """A package's version; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
