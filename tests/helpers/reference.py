"""An independent numpy statement of the maths: the guards' fits and edits, written from their definitions."""

import numpy as np
import torch


def layer_states(subject, text_and_images):
    """Residual stream after each decoder layer at the last prompt token, one query at a time: [N, L, d].

    Read with the model's own `output_hidden_states`, not with hooks. Its last entry is normalised, so the
    last layer's raw output is taken from a hook-free rerun of that block's input where needed (see tests).
    """
    rows = []
    for query in text_and_images:
        inputs = subject.encode([query])
        with torch.no_grad():
            states = subject.model(**inputs, output_hidden_states=True).hidden_states
        rows.append(np.stack([state[0, -1].float().numpy() for state in states[1:]]))
    return np.stack(rows)


def vlm_guard_directions(harmful, harmless, rank):
    """harmful, harmless: [N, d]. Rows V [rank, d], each with a mean projection of the differences >= 0."""
    differences = harmful.astype(np.float64) - harmless.astype(np.float64)
    _, singular, rows = np.linalg.svd(differences, full_matrices=False)
    directions = rows[:rank].copy()
    for row in directions:
        if (differences @ row).mean() < 0:
            row *= -1
    return directions, singular


def vlm_guard_edit(hidden, last, directions, alpha, threshold, project):
    """hidden: [T, d] edited positions, last: [d]."""
    gate = 1.0 if last @ directions[0] > threshold else 0.0
    if project:
        hidden = hidden - hidden @ directions.T @ directions
    return hidden + alpha * gate * (last @ directions.T @ directions)


def cmrm_shift(with_image, text, estimator="mean"):
    """with_image, text: [N, d] -> [d]."""
    differences = with_image.astype(np.float64) - text.astype(np.float64)
    if estimator == "mean":
        return differences.mean(axis=0)
    centred = differences - differences.mean(axis=0)
    component = np.linalg.svd(centred, full_matrices=False)[2][0]
    return (differences @ component).mean() * component


def refusal_direction(harmful, harmless):
    """[N, d] each -> r [d], and half-way between the classes' mean cosines with it."""
    direction = harmful.astype(np.float64).mean(axis=0) - harmless.astype(np.float64).mean(axis=0)
    halves = [np.mean([cosine(state, direction) for state in states]) for states in (harmful, harmless)]
    return direction, sum(halves) / 2


def cosine(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def tbop_directions(with_image, text, rank):
    """[N, d] each -> W [rank, d] up to sign."""
    return np.linalg.svd(with_image.astype(np.float64) - text.astype(np.float64), full_matrices=False)[2][:rank]


def shiftdc_taken_back(with_image, with_caption, direction):
    """[d] each: the part of the shift that lies along s."""
    return (with_image - with_caption) @ direction / (direction @ direction) * direction


def nullsteer_push(harmful, benign, rank, ridge=1e-2):
    """harmful [N, d], benign [M, d] -> Delta P [d, d], by solving for Delta in full: min |Delta P H - R|^2 + g |Delta|^2."""
    harmful, benign = harmful.astype(np.float64), benign.astype(np.float64)
    kept = np.linalg.svd(benign, full_matrices=False)[2][:rank]
    projector = np.eye(harmful.shape[1]) - kept.T @ kept
    columns = projector @ harmful.T  # [d, N]
    targets = np.repeat((harmful.mean(axis=0) - benign.mean(axis=0))[:, None], len(harmful), axis=1)
    weight = ridge * (columns**2).sum(axis=0).mean()
    delta = targets @ columns.T @ np.linalg.inv(columns @ columns.T + weight * np.eye(len(columns)))
    return delta @ projector


def expected_edit(guard, layer, hidden, last, shifts):
    """What each guard makes of hidden states [T, d] of one query, last [d] its last prompt token.

    shifts: {"blank": h(q, img') - h(q), "caption": h(q, img) - h(q, caption)} of this query at this layer, or None
    for a query without image.
    """
    numbers = {name: tensor.numpy() for name, tensor in guard.tensors.items()}
    settings = guard.settings
    if guard.name == "vlm_guard":
        threshold = numbers["midpoint"][layer] if settings.gate == "midpoint" else 0.0
        return vlm_guard_edit(hidden, last, numbers["directions"][layer], settings.alpha, threshold, settings.project)
    if guard.name == "refusal_direction":
        direction = numbers["direction"][layer]
        fires = not settings.condition or cosine(last, direction) > numbers["theta"][layer]
        return hidden + settings.alpha * fires * direction
    if guard.name == "tbop":
        rows = numbers["directions"][layer]
        return hidden - settings.alpha * hidden @ rows.T @ rows
    if guard.name == "nullsteer":
        return hidden + settings.alpha * (last @ numbers["probe"][layer]) * numbers["refusal_direction"][layer]
    if shifts is None:
        return hidden
    if guard.name == "shiftdc":
        direction = numbers["safety_direction"][layer]
        return hidden - settings.alpha * (shifts["caption"] @ direction) / (direction @ direction) * direction
    shift = shifts["blank"] if settings.level == "sample" else numbers["shift"][layer]
    return hidden - settings.alpha * shift
