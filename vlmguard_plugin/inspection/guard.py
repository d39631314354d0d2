"""What a fitted guard's folder says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlmguard_plugin.guards.core.registry import settings_from_saved
from vlmguard_plugin.guards.core.saved import FACTS_FILE, DamagedGuard, FittedFolder
from vlmguard_plugin.inspection.engines import KEYS as ENGINES_KEYS

GATE_RATES = ("area_under_curve", "harmful_fired", "harmless_fired", "harmless_at_most")


def describe_guard(folder: str | Path) -> dict[str, Any]:
    """What a fitted guard's folder says, as JSON.

    Keys: guard, settings (as this version means them; with their preset's name, if they have one), ours (settings of
    that preset which the guard's sources leave open), model (fingerprint, num_layers L, hidden_size d; engines, how far
    its states are apart on two, where that was measured), anchors
    (pairs, sha256), edited_layers (0-based; empty for a guard that edits no hidden states), per_layer ({fact: L
    numbers or L lists of numbers}), gate (of a fitted gate its threshold and, by condition, what it does out of fold,
    as `Gate.rates`; None where the guard has no such gate), calibration (None where the guard has none), parts
    (descriptions of the guards that a composition is made of).

    Raises FileNotFoundError where a file is missing, DamagedGuard where one can't be used.
    """
    fitted = FittedFolder.load(folder)
    path = Path(folder) / FACTS_FILE
    if "anchors" not in fitted.facts:
        raise DamagedGuard(f"{path} lacks anchors; the guard has to be fitted again")
    engines = fitted.facts["model"].get("engines")
    if engines is not None and (not isinstance(engines, dict) or set(engines) != set(ENGINES_KEYS)):
        raise DamagedGuard(f"{path}: what it says of engines is not whole; compare them again")
    parts = []
    for name, facts in fitted.facts.get("parts", {}).items():
        facts = {**facts, **{key: fitted.facts[key] for key in ("model", "anchors")}}
        parts.append(description_of(path, name, fitted.settings[name], facts))
    return {**description_of(path, fitted.guard, fitted.settings, fitted.facts), "parts": parts}


def description_of(path: Path, guard: str, settings: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """What describe_guard tells of one guard, less its parts. path: of the guard.json that is described."""
    per_layer, layers = facts.get("per_layer", {}), facts["model"]["num_layers"]
    for name, values in per_layer.items():
        if not isinstance(values, list) or len(values) != layers:
            count = len(values) if isinstance(values, list) else "no list of"
            raise DamagedGuard(
                f"{path}: {name} has {count} values for {layers} layers; the guard has to be fitted again"
            )
    gate = facts.get("gate")
    if gate is not None and not is_whole_gate(gate):
        raise DamagedGuard(f"{path}: what it says of its gate is not whole; the guard has to be fitted again")
    calibration = facts.get("calibration")
    missing = [key for key in ("bound", "pairs", "unguarded", "points", "chosen") if key not in (calibration or ())]
    if calibration is not None and missing:
        raise DamagedGuard(f"{path}: its calibration lacks {', '.join(missing)}; the guard has to be calibrated again")
    if calibration is not None:
        points = calibration["points"]
        of_point = ("settings", "harmful_refused", "harmless_refused", "degenerate", "n")
        each = [(calibration["unguarded"], of_point[1:]), *((point, of_point) for point in points)]
        if any(not isinstance(point, dict) or not set(keys) <= set(point) for point, keys in each) or (
            calibration["chosen"] not in (None, *(point["settings"] for point in points))
        ):
            raise DamagedGuard(f"{path}: its calibration is not whole; the guard has to be calibrated again")
    return {
        "guard": guard,
        "settings": settings_from_saved(guard, settings),
        "ours": facts.get("ours", []),
        "model": facts["model"],
        "anchors": facts["anchors"],
        "edited_layers": facts.get("edited_layers", []),
        "per_layer": per_layer,
        "gate": gate,
        "calibration": calibration,
    }


def is_whole_gate(gate: Any) -> bool:
    """Whether what a guard.json says of a gate is what `Gate.rates` gives."""
    by_condition = gate.get("out_of_fold") if isinstance(gate, dict) and "threshold" in gate else None
    return isinstance(by_condition, dict) and all(
        isinstance(rates, dict) and set(GATE_RATES) <= set(rates) for rates in by_condition.values()
    )
