"""Where built models and fitted guards are kept."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "VLMGUARD_CACHE"


def cache_directory(cache_dir: str | Path | None = None) -> Path:
    """The cache directory, made if need be: cache_dir, else $VLMGUARD_CACHE, else the user's cache directory."""
    chosen = cache_dir or os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("vlmguard")
    folder = Path(chosen).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
