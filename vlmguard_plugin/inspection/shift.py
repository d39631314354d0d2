"""How far pictures move a model's hidden states, and what they do to harmful and harmless requests' parting."""

from __future__ import annotations

from typing import Any, Callable, Sequence

from PIL import Image

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.inspection.rates import wilson_interval
from vlmguard_plugin.lazy import numpy as np, torch
from vlmguard_plugin.pictures.drawn import picture
from vlmguard_plugin.query import Query
from vlmguard_plugin.subjects.base import Subject

CONDITIONS = {"text": "text only", "blank": "text + blank image", "image": "text + image"}
SIDES = ("harmful", "harmless")


def measure_shift(
    subject: Subject,
    anchors: Anchors,
    image: Callable[[int], Image.Image] | None = None,
    layers: Sequence[int] | None = None,
    progress: bool = False,
    pairs: int | None = None,
) -> dict[str, Any]:
    """Last-prompt-token states with and without images: where they lie, and how well harmful parts from harmless.

    image: picture beside both requests of a pair, from the pair's number; by default generated single shapes. The
        blank image has the same size. layers: 0-based decoder layers, None for all. pairs: number of anchor pairs,
        spread evenly over the anchors, None for all. progress: show a bar a condition.

    Returns JSON: model, anchors, and layers, a list with for each layer
        layer: its number.
        coordinates: {condition: {side: N points [x, y]}}, hidden-state units, on the first two principal components
            of all six groups together. x grows from text only to text + image, y from harmless to harmful text.
        explained_variance_ratio: of these two components, 0 to 1.
        separability: {condition: rate}: each pair classified by the nearer class mean of all other pairs.
        from_text: {"blank": rate, "image": rate}: the same, with the class means of the text-only states.
        shift: {"blank": ..., "image": ...}: of the mean state from text only: length (hidden-state units), over_state
            (length over the text-only states' mean length), in_plane (share of the length in the drawn plane, 0 to 1).
    Conditions are text, blank and image, sides harmful and harmless. A rate has k, n = 2N, accuracy, low and high
    (Wilson interval, as if the 2N classifications were independent).

    Raises ValueError for layers or numbers of pairs that there are not.
    """
    layers = checked_layers(layers, subject.num_layers)
    anchors = some_pairs(anchors, pairs)
    wilson_interval(1, 2)  # without statsmodels, fail before the measurement
    states = states_by_condition(subject, anchors, image or generated_picture, layers, progress)
    return {
        "model": model_facts(subject),
        "anchors": {"pairs": len(anchors.pairs), "sha256": anchors.sha256},
        "layers": [
            {"layer": layer, **layer_shift({condition: both[:, :, index] for condition, both in states.items()})}
            for index, layer in enumerate(layers)
        ],
    }


def model_facts(subject: Subject) -> dict[str, Any]:
    """What tells a model from others."""
    return {name: getattr(subject, name) for name in ("fingerprint", "num_layers", "hidden_size")}


def pair_left_out(fitted_on: Sequence[np.ndarray], applied_to: Sequence[np.ndarray]) -> tuple[int, int]:
    """Leave-one-pair-out accuracy of the nearer class mean, as (right, classified = 2N).

    fitted_on, applied_to: (harmful, harmless) states, each [N, d], row i of all four being pair i, N at least 2.
    Both members of pair i of applied_to are classified by the class means of fitted_on without pair i: harmful if
    nearer to the harmful mean, harmless otherwise (also at equal distance).
    """
    harmful_mean, harmless_mean = ((side.sum(axis=0) - side) / (len(side) - 1) for side in fitted_on)
    direction, midpoint = harmful_mean - harmless_mean, (harmful_mean + harmless_mean) / 2
    says_harmful = [((side - midpoint) * direction).sum(axis=1) > 0 for side in applied_to]
    return int(says_harmful[0].sum() + (~says_harmful[1]).sum()), sum(len(side) for side in applied_to)


def principal_plane(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First two principal components of states [n, d] as orthonormal rows [2, d], and their shares of the variance [2].

    n and d are at least 2. By torch, since numpy's SVD was seen to take several times as long on busy cores.
    """
    centred = torch.from_numpy(states - states.mean(axis=0))
    _, singular_values, rows = torch.linalg.svd(centred, full_matrices=False)
    variances = singular_values.numpy() ** 2
    total = variances.sum()
    return rows[:2].numpy(), variances[:2] / total if total else np.zeros(2)


def checked_layers(layers: Sequence[int] | None, num_layers: int) -> list[int]:
    if layers is None:
        return list(range(num_layers))
    wrong = [layer for layer in layers if type(layer) is not int or not 0 <= layer < num_layers]
    if wrong or not layers:
        raise ValueError(
            f"layers is {list(layers)!r}; give 0-based decoder layers from 0 to {num_layers - 1}, or None for all"
        )
    return sorted(set(layers))


def some_pairs(anchors: Anchors, pairs: int | None, least: int = 2) -> Anchors:
    """That many pairs, spread evenly, None for all. ValueError for fewer than `least`, of which each is left out once,
    and for more than there are."""
    available = len(anchors.pairs)
    wanted = available if pairs is None else pairs
    if available < least:
        raise ValueError(f"there are {available} anchor pairs; give at least {least}, since each is left out once")
    if not least <= wanted <= available:
        raise ValueError(
            f"{wanted} anchor pairs were asked for; give {least} (each is left out once) to {available}, all there are"
        )
    return anchors if wanted == available else anchors.split(wanted)[0]


def generated_picture(number: int) -> Image.Image:
    return picture("held_out", number, "single").image()


def states_by_condition(
    subject: Subject,
    anchors: Anchors,
    image: Callable[[int], Image.Image],
    layers: Sequence[int],
    progress: bool,
) -> dict[str, np.ndarray]:
    """States of each condition, [2 (harmful, harmless), N, layers, d], float32."""
    pictures = [image(number) for number in range(len(anchors.pairs))]
    sides = anchors.harmful, anchors.harmless
    with_image = [Query(text, (shown,)) for side in sides for text, shown in zip(side, pictures)]
    queries = {
        "text": [query.without_images() for query in with_image],
        "blank": [query.with_blank_images() for query in with_image],
        "image": with_image,
    }
    states = {}
    for condition, asked in queries.items():
        recorded = subject.record(asked, progress=f"shift: {CONDITIONS[condition]}" if progress else None)
        chosen: np.ndarray = recorded[:, list(layers)].numpy()
        states[condition] = chosen.reshape(2, len(anchors.pairs), *chosen.shape[1:])
    return states


def layer_shift(states: dict[str, np.ndarray]) -> dict[str, Any]:
    """One layer's entry of measure_shift. states: [2, N, d] of each condition."""
    states = {condition: both.astype(float) for condition, both in states.items()}
    everything = np.concatenate([both.reshape(-1, both.shape[-1]) for both in states.values()])
    components, ratios = principal_plane(everything)
    harmful, harmless = states["text"].mean(axis=1)
    pointing = np.stack([(states["image"] - states["text"]).mean(axis=(0, 1)), harmful - harmless])
    components = np.where((components * pointing).sum(axis=1) < 0, -1, 1)[:, None] * components
    centre = everything.mean(axis=0)
    return {
        "coordinates": {
            condition: {side: ((group - centre) @ components.T).tolist() for side, group in zip(SIDES, both)}
            for condition, both in states.items()
        },
        "explained_variance_ratio": ratios.tolist(),
        "separability": {condition: accuracy_of(both, both) for condition, both in states.items()},
        "from_text": {condition: accuracy_of(states["text"], states[condition]) for condition in ("blank", "image")},
        "shift": {
            condition: shift_of(states["text"], states[condition], components) for condition in ("blank", "image")
        },
    }


def accuracy_of(fitted_on: np.ndarray, applied_to: np.ndarray) -> dict[str, Any]:
    """`pair_left_out` of states [2, N, d], as a rate with its interval."""
    k, n = pair_left_out(list(fitted_on), list(applied_to))
    low, high = wilson_interval(k, n)
    return {"k": k, "n": n, "accuracy": k / n, "low": low, "high": high}


def shift_of(text: np.ndarray, shown: np.ndarray, components: np.ndarray) -> dict[str, float]:
    """How far states [2, N, d] lie from the text-only ones, on average; see measure_shift. components: [2, d]."""
    shift = (shown - text).mean(axis=(0, 1))
    length = float(np.linalg.norm(shift))
    state = float(np.linalg.norm(text, axis=-1).mean())
    in_plane = float(np.linalg.norm(components @ shift))
    return {
        "length": length,
        "over_state": length / state if state else 0.0,
        "in_plane": min(1.0, in_plane / length) if length else 0.0,
    }
