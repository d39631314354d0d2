"""What a fitted guard has learned, and how far images move a model's states: tables and figures.

A fitted guard:          describe_guard -> print_guard, plot_guard
The papers' shift:       measure_shift  -> print_shift, plot_shift
Gates and probes:        measure_gate   -> print_gate, plot_gate
A leaderboard:           plot_board

Intervals are 95% Wilson intervals and need statsmodels; figures need matplotlib. Both are imported at first use.
"""

from __future__ import annotations

from vlmguard_plugin.inspection.board_figure import plot_board
from vlmguard_plugin.inspection.figures import check_plot
from vlmguard_plugin.inspection.gate import measure_gate
from vlmguard_plugin.inspection.gate_figure import plot_gate
from vlmguard_plugin.inspection.guard import describe_guard
from vlmguard_plugin.inspection.guard_figure import plot_guard
from vlmguard_plugin.inspection.shift import measure_shift
from vlmguard_plugin.inspection.shift_figure import plot_shift
from vlmguard_plugin.inspection.tables import print_gate, print_guard, print_shift

__all__ = [
    "check_plot",
    "describe_guard",
    "measure_gate",
    "measure_shift",
    "plot_board",
    "plot_gate",
    "plot_guard",
    "plot_shift",
    "print_gate",
    "print_guard",
    "print_shift",
]
