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
