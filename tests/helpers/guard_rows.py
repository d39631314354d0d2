"""The rows of the guards' matrices: settings that each guard of the package is tested under.

Whoever adds a guard adds a row to each table: `test_guard_rows.py` names the guards that lack one. A guard that edits
hidden states also needs its formula in `reference.py`. Guards of other packages have tests of their own, and no rows.
"""

from __future__ import annotations

from typing import Any

import torch

import vlmguard_plugin as vg
from helpers.tiny_evaluators import clip_folder, reward_folder
from vlmguard_plugin.guards.core.registry import guard_classes
from vlmguard_plugin.guards.core.representation import RepresentationGuard

Row = dict[str, Any]

PICTURE = "PICTURE"
"""In a row, stands for the file of some picture."""

CLIP, REWARD_MODEL, CLASSIFIER = "CLIP", "REWARD_MODEL", "CLASSIFIER"
"""In a row, stand for the folders of a CLIP model, of a reward model and of a classifier with two labels."""

ALIGNED: Row = {
    "clip": CLIP,
    "reward_model": REWARD_MODEL,
    "picture_threshold": -1.0,
    "reward_threshold": 1000.0,
    "candidates": 2,
    "sentence_tokens": 3,
}
"""ETA, to which every picture and every answer is unsafe."""

FILTER: Row = {"guard_model": CLASSIFIER, "api": "classifier", "unsafe_labels": ["LABEL_1"], "threshold": 0.0}
"""A filter to which everything is unsafe."""

QUICK_FITS: dict[str, Row] = {
    "visual_prompt": {"steps": 2, "step": 60.0},
    "conditional_refusal": {"read_layers": [1], "conditions": ["text", "blank"]},
}
"""Settings under which a fit that takes long is short."""

HABITS: dict[str, list[Row]] = {
    "vlm_guard": [
        {"rank": 2, "gate": "zero", "project": True, "layers": [1, 2]},
        {"rank": 1, "gate": "midpoint", "project": True, "alpha": 0.0, "layers": [2]},
    ],
    "cmrm": [{"layers": [1, 2]}, {"estimator": "pca", "image": "noise", "layers": [2]}],
    "cmrm_sample": [{"layers": [1]}],
    "shiftdc": [{"layers": [1, 2], "caption_tokens": 3}],
    "refusal_direction": [
        {"layers": [1]},
        {"layers": [2], "condition": True, "condition_layer": 1, "theta": -0.99},
    ],
    "tbop": [{"rank": 2, "layers": [2]}],
    "nullsteer": [{"layers": [1]}],
    "conditional_refusal": [
        {"layers": [1, 2], "read_layers": [0, 1], "over_refusal": 0.5},
        {"layers": [2], "conditions": ["text", "shape"], "over_refusal": 0.5, "bounded": False, "alpha": 3.0},
    ],
    "inferaligner": [{"layers": [1, 2], "threshold": -9.0}, {"layers": [3], "alpha": 2.0, "scale": "unit"}],
    "jrs_rem": [
        {"layers": [0, 1, 2, 3], "alpha": 3.0},
        {"layers": [1, 2], "alpha": -9.0, "threshold": -1.0, "shown": "unguarded"},
    ],
    "mars": [{"layers": [3], "threshold": 0.0}, {"layers": [1, 2], "alpha": 2.0, "threshold": -2.0, "trust": 9.0}],
    "self_reminder": [{}],
    "goal_priority": [{}],
    "adashield": [{}],
    "coca": [{}, {"alpha": -0.5}],
    "ecso": [{"caption_tokens": 3}],
    "eta": [ALIGNED],
    "moderated": [FILTER],
    "visual_prompt": [{"image": PICTURE}, QUICK_FITS["visual_prompt"]],
    "none": [{}],
}
"""What holds for every guard, on a tiny LLaVA of four layers."""

ON_ARCHITECTURES: dict[str, Row] = {
    "vlm_guard": {"rank": 2, "gate": "midpoint", "project": True, "alpha": 0.7},
    "cmrm": {"alpha": 0.8},
    "cmrm_sample": {"alpha": 0.6},
    "shiftdc": {"positions": "all", "caption_tokens": 3},
    "refusal_direction": {"condition": True, "alpha": 0.5},
    "tbop": {"rank": 2, "alpha": 0.9},
    "nullsteer": {"alpha": 1.0},
    "conditional_refusal": {"read_layers": [2], "conditions": ["text", "blank"], "bounded": False},
    "inferaligner": {"alpha": 2.0, "threshold": -99.0},
    "jrs_rem": {"alpha": 5.0, "threshold": -1.0, "positions": "all"},
    "mars": {"alpha": 3.0, "threshold": -9.0, "trust": 4.0, "positions": "all"},
    "self_reminder": {},
    "goal_priority": {},
    "adashield": {},
    "coca": {"alpha": 2.0},
    "ecso": {"caption_tokens": 3},
    "eta": ALIGNED,
    "moderated": FILTER,
    "visual_prompt": {"image": PICTURE},
    "none": {},
}
"""Every guard, on every architecture; those that edit hidden states are told which layer by the test."""

ON_HOST_MODELS: dict[str, Row] = {
    "vlm_guard": {"gate": "midpoint", "project": True, "alpha": 3.0},
    "cmrm": {"alpha": 6.0},
    "cmrm_sample": {"alpha": 2.0},
    "shiftdc": {"positions": "all", "caption_tokens": 3, "alpha": 30.0},
    "refusal_direction": {"alpha": 3.0},
    "tbop": {"rank": 2},
    "nullsteer": {"alpha": 3.0},
    "conditional_refusal": {**QUICK_FITS["conditional_refusal"], "over_refusal": 0.5, "bounded": False, "alpha": 30.0},
    "inferaligner": {"alpha": 6.0},
    "jrs_rem": {"alpha": 30.0, "threshold": -1.0},
    "mars": {"alpha": 3.0, "threshold": -2.0, "trust": 30.0},
}
"""Guards that edit hidden states, on model objects of a host's own."""

IN_CONVERSATIONS: dict[str, Row] = {
    **ON_HOST_MODELS,
    "shiftdc": {"caption_tokens": 3, "alpha": 30.0},
    "conditional_refusal": {**ON_HOST_MODELS["conditional_refusal"], "read_layers": [2]},
}
"""Guards that edit hidden states, on requests that end a conversation."""

LIKELIHOODS: dict[str, list[Row]] = {
    "vlm_guard": [
        {"rank": 2, "positions": "last", "layers": [1, 2]},
        {"rank": 2, "positions": "all", "layers": [1, 2]},
        {"rank": 2, "positions": "generated", "layers": [1]},
    ],
    "cmrm": [{"positions": "all", "layers": [1, 2]}, {"positions": "prompt", "layers": [1]}],
    "cmrm_sample": [{"positions": "all", "layers": [1]}],
    "shiftdc": [{"layers": [1], "caption_tokens": 3, "alpha": 30.0}],
    "refusal_direction": [{"layers": [1, 2]}],
    "tbop": [{"rank": 2, "layers": [2]}],
    "nullsteer": [{"layers": [1]}],
    "conditional_refusal": [{"layers": [1], "read_layers": [0], "conditions": "text", "over_refusal": 0.5}],
    "inferaligner": [{"layers": [1, 2]}],
    "mars": [{"layers": [1, 2], "threshold": -2.0, "trust": 3.0}],
    "jrs_rem": [{"alpha": 9.0, "threshold": -1.0}, {"alpha": 9.0, "threshold": -1.0, "shown": "unguarded"}],
    "self_reminder": [{}],
    "goal_priority": [{}],
    "adashield": [{}],
    "coca": [{}, {"alpha": -0.5}],
    "visual_prompt": [{"image": PICTURE}, QUICK_FITS["visual_prompt"]],
    "none": [{}],
}
"""Guards under which the likelihood of an answer is defined: all that don't look at whole answers."""


def own_guards() -> list[str]:
    """The guards of this package, by name, as the registry finds them."""
    here = f"{vg.__name__}.guards."
    return [name for name, guard in guard_classes().items() if guard.__module__.startswith(here)]


def editing_guards() -> list[str]:
    """Those that edit hidden states."""
    return [name for name in own_guards() if issubclass(guard_classes()[name], RepresentationGuard)]


def other_guards() -> list[str]:
    """Those that act on prompts and answers."""
    return [name for name in own_guards() if name not in editing_guards() and guard_classes()[name].acts]


def scoring_guards() -> list[str]:
    """Those that don't look at whole answers."""
    return [name for name in own_guards() if not guard_classes()[name].looks_at_answers]


COVERED = {
    "HABITS": (HABITS, own_guards),
    "ON_ARCHITECTURES": (ON_ARCHITECTURES, own_guards),
    "ON_HOST_MODELS": (ON_HOST_MODELS, editing_guards),
    "IN_CONVERSATIONS": (IN_CONVERSATIONS, editing_guards),
    "LIKELIHOODS": (LIKELIHOODS, scoring_guards),
}
"""Each table by name, and the guards that must have a row in it."""


def firing(guard: vg.Guard) -> vg.Guard:
    """The guard, its gate open for every request if it goes by scores; when it fires is another test's matter."""
    if "scores" in guard.tensors:
        guard.tensors = {**guard.tensors, "offsets": torch.full_like(guard.tensors["offsets"], -1e9)}
    return guard


def rows(table: dict[str, list[Row]], guards: list[str]) -> list[tuple[str, Row]]:
    """(guard, settings) for these guards, as far as they have rows."""
    return [(name, settings) for name in guards for settings in table.get(name, ())]


def settings_with(row: Row, picture: str) -> Row:
    """The row's settings, with the file of a picture, or the folder of a model, where one belongs."""
    return {name: placed(value, picture) for name, value in row.items()}


def placed(value: Any, picture: str) -> Any:
    """A setting's value, with what it stands for."""
    if value == CLASSIFIER:
        return str(reward_folder(labels=2))
    if value in (CLIP, REWARD_MODEL):
        return str(clip_folder() if value == CLIP else reward_folder())
    return picture if value == PICTURE else value
