"""The guards' settings on the demo VLMs, chosen on anchors only (how: docs/demo-vlm.md, demo-vlm-15b.md, guards.md)."""

from __future__ import annotations

from typing import Any

ON_05B: dict[str, dict[str, Any]] = {
    "vlm_guard": {"layers": (14, 15, 16), "rank": 1, "alpha": 0.5, "positions": "all", "gate": "zero"},
    "cmrm": {"layers": (16,), "alpha": 0.4, "positions": "all"},
    "cmrm_sample": {"layers": (16,), "alpha": 0.4, "positions": "all"},
    "refusal_direction": {"layers": (15,), "condition": True, "alpha": 2.0},
    "shiftdc": {"caption_tokens": 24},
    "nullsteer": {"layers": (15,), "alpha": 0.5},
    "inferaligner": {"layers": (14, 15, 16), "alpha": 0.5},
    "mars": {"layers": (15,), "alpha": 2.0, "trust": 2.0},
}

ON_15B: dict[str, dict[str, Any]] = {
    "vlm_guard": {"layers": (17, 18, 19), "gate": "zero", "alpha": 0.05},
    "cmrm": {"layers": (19,), "alpha": 0.4},
    "cmrm_sample": {"layers": (19,), "alpha": 0.6},
    "refusal_direction": {"layers": (18,), "alpha": 0.05},
    "nullsteer": {"layers": (18,), "alpha": 0.1},
    "inferaligner": {"layers": (17, 18, 19), "alpha": 0.25},
    "mars": {"layers": (21,), "alpha": 1.0, "trust": 1.0},
    "tbop": {"layers": (18,), "rank": 1, "alpha": 0.5},
    "shiftdc": {"layers": (18,), "alpha": 0.5, "caption_tokens": 24},
}
"""Guards that are not named keep their own defaults: these did best, or no setting kept the bound.

On the larger model no setting of cmrm, cmrm_sample, conditional_refusal or jrs_rem keeps the bound. The first two have
the settings that exceed it least, for with their own they refuse many harmless requests there. shiftdc's best within
the bound refuses no more than the unguarded model.
"""

GUARD_SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "demo_vlm": ON_05B,
    "demo_vlm_control": ON_05B,
    "demo_vlm_15b": ON_15B,
    "demo_vlm_15b_control": ON_15B,
}
"""By model and guard; a guard that is not named has its own defaults."""
