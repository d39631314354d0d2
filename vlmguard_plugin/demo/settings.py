"""The guards' settings on the demo VLM, chosen on anchors only (docs/demo-vlm.md says how)."""

from __future__ import annotations

from typing import Any

GUARD_SETTINGS: dict[str, dict[str, Any]] = {
    "vlm_guard": {"layers": (14,), "rank": 1, "alpha": 0.3, "positions": "all", "gate": "midpoint"},
    "cmrm": {"layers": (12,), "alpha": 1.0, "positions": "all"},
    "cmrm_sample": {"layers": (12,), "alpha": 1.0, "positions": "all"},
}
