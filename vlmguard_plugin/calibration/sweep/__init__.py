"""Curves of a guard's settings through VLMEvalKit's own command: one model a point, stopped and gone on at any time.

    curve = sweep("llava", "cmrm", ["FigStep"], [{"alpha": [0, 0.5, 1]}], Path("curve"))
    show(curve); print(to_json(curve))

Each point is a model of its own in the host's work directory, so the leaderboard shows it too.
"""

from __future__ import annotations

from vlmguard_plugin.calibration.sweep.curve import Curve
from vlmguard_plugin.calibration.sweep.outputs import show, to_json
from vlmguard_plugin.calibration.sweep.points import Point
from vlmguard_plugin.calibration.sweep.run import sweep

__all__ = ["Curve", "Point", "show", "sweep", "to_json"]
