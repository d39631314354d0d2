"""VLMEvalKit's own command: of the installed package, or of a git clone, as its authors document it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from vlmguard_plugin import environment


class HostNotFound(ImportError):
    """VLMEvalKit is neither installed nor in a folder that we were told of."""


def clone() -> Path | None:
    """The folder of the git clone that VLMEvalKit is run from, as its authors document it; None for an installed one.

    $VLMGUARD_VLMEVALKIT, else the folder we are in, else the one that the package `vlmeval` lies in.
    """
    named = environment.VLMEVALKIT.path()
    if named and not is_clone(named):
        raise HostNotFound(
            f"${environment.VLMEVALKIT.name} is {str(named)!r}, which holds no run.py beside a vlmeval; name a clone "
            "of VLMEvalKit"
        )
    spec = find_spec("vlmeval")
    package = Path(spec.origin).parent.parent if spec and spec.origin else None
    return next((folder for folder in (named, Path.cwd(), package) if folder and is_clone(folder)), None)


def is_clone(folder: Path) -> bool:
    """Whether a folder is a clone of VLMEvalKit: its command beside its package."""
    return (folder / "run.py").is_file() and (folder / "vlmeval" / "__init__.py").is_file()


def host_command() -> list[str]:
    """The words that start VLMEvalKit's command: `python run.py` of a clone, else `python -m vlmeval.run`."""
    folder = clone()
    if folder:
        return [sys.executable, str(folder / "run.py")]
    if find_spec("vlmeval") is None:
        raise HostNotFound(
            "VLMEvalKit is not here; `pip install vlmguard_plugin[vlmeval]`, or name a clone of it by "
            f"${environment.VLMEVALKIT.name}"
        )
    return [sys.executable, "-m", "vlmeval.run"]


def commit_of(folder: Path) -> str:
    """The first eight digits of the commit that a clone is at; empty where git doesn't tell."""
    words = ["git", "-C", str(folder), "rev-parse", "--short=8", "HEAD"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
