"""Grids of settings: [{setting: values}], each part in every combination of its values."""

from __future__ import annotations

import json
from itertools import product
from typing import Any, Iterator, Sequence

from vlmguard_plugin.reading import parsed_json


def combinations(grid: Sequence[dict[str, list[Any]]], fixed: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every combination of each part's values, as JSON settings, each once; fixed settings are left out."""
    seen = []
    for part in grid or [{}]:
        part = {name: values for name, values in part.items() if name not in fixed}
        for values in product(*part.values()):
            settings = parsed_json(json.dumps(dict(zip(part, values))))
            if settings not in seen:
                seen.append(settings)
                yield settings
