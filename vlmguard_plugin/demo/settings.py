"""The guards' settings on the demo VLMs, chosen on anchors only (docs/demo-vlm.md says how)."""

from __future__ import annotations

from typing import Any

ON_05B: dict[str, dict[str, Any]] = {
    "vlm_guard": {"layers": (14, 15, 16), "rank": 1, "alpha": 0.5, "positions": "all", "gate": "zero"},
    "cmrm": {"layers": (16,), "alpha": 0.4, "positions": "all"},
    "cmrm_sample": {"layers": (16,), "alpha": 0.4, "positions": "all"},
    "refusal_direction": {"layers": (15,), "condition": True, "alpha": 2.0},
    "shiftdc": {"caption_tokens": 24},
    "nullsteer": {"layers": (15,), "alpha": 0.5},
}

ON_15B: dict[str, dict[str, Any]] = {
    "shiftdc": {"caption_tokens": 24},
}
"""VLM-Guard was calibrated, and no setting kept the bound; the others have not been."""

GUARD_SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "demo_vlm": ON_05B,
    "demo_vlm_control": ON_05B,
    "demo_vlm_15b": ON_15B,
    "demo_vlm_15b_control": ON_15B,
}
"""By model and guard; a guard that is not named has its own defaults."""
