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


def cmrm_shift(with_image, text, estimator="mean", scale="mean"):
    """with_image, text: [N, d] -> [d]."""
    differences = with_image.astype(np.float64) - text.astype(np.float64)
    if estimator == "mean":
        return differences.mean(axis=0)
    component = np.linalg.svd(differences, full_matrices=False)[2][0]
    along = differences @ component
    if along.mean() < 0:
        component, along = -component, -along
    return {"mean": along.mean(), "unit": 1.0, "spread": np.sqrt((along**2).mean())}[scale] * component


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


def shiftdc_taken_back(shift, direction):
    """[d] each: the part of h(q, img) - h(q, caption) that lies along s."""
    return shift @ direction / (direction @ direction) * direction


def nullsteer_push(harmful, benign, rank, ridge=1e-2):
    """harmful [N, d], benign [M, d] -> Delta P [d, d], by solving in full: min |Delta P H - R|^2 + g |Delta|^2."""
    harmful, benign = harmful.astype(np.float64), benign.astype(np.float64)
    kept = np.linalg.svd(benign, full_matrices=False)[2][:rank]
    projector = np.eye(harmful.shape[1]) - kept.T @ kept
    columns = projector @ harmful.T  # [d, N]
    targets = np.repeat((harmful.mean(axis=0) - benign.mean(axis=0))[:, None], len(harmful), axis=1)
    weight = ridge * (columns**2).sum(axis=0).mean()
    delta = targets @ columns.T @ np.linalg.inv(columns @ columns.T + weight * np.eye(len(columns)))
    return delta @ projector


def nullsteer_push_suppressed(harmful, benign, rank, weight, ridge=1e-2):
    """Delta P [d, d] with the third term: min |Delta X - R|^2 + s |v^T (X + Delta X)|^2 + g |Delta|^2, X = P H.

    Solved as the linear system in all d * d entries that its derivative gives.
    """
    harmful, benign = harmful.astype(np.float64), benign.astype(np.float64)
    width = harmful.shape[1]
    kept = np.linalg.svd(benign, full_matrices=False)[2][:rank]
    projector = np.eye(width) - kept.T @ kept
    columns = projector @ harmful.T
    along = np.linalg.svd(columns.T, full_matrices=False)[2][0]
    outer = weight * np.outer(along, along)
    targets = np.repeat((harmful.mean(axis=0) - benign.mean(axis=0))[:, None], len(harmful), axis=1)
    gram, size = columns @ columns.T, ridge * (columns**2).sum(axis=0).mean()
    system = np.kron(np.eye(width) + outer, gram) + size * np.eye(width * width)  # acts on Delta's rows, one by one
    delta = np.linalg.solve(system, (targets @ columns.T - outer @ gram).ravel()).reshape(width, width)
    return delta @ projector


def discriminant(harmful, harmless, shrinkage):
    """[N, d] each -> weights w [d] and offset b of `w . h - b`: 0 half-way between the means, deviation 1 within."""
    harmful, harmless = harmful.astype(np.float64), harmless.astype(np.float64)
    scatter = sum((len(rows) - 1) * np.cov(rows, rowvar=False) for rows in (harmful, harmless))
    covariance = scatter / (len(harmful) + len(harmless) - 2)
    width = len(covariance)
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / width * np.eye(width)
    weights = np.linalg.inv(shrunk) @ (harmful.mean(axis=0) - harmless.mean(axis=0))
    weights = weights / np.sqrt(weights @ covariance @ weights)
    return weights, weights @ (harmful.mean(axis=0) + harmless.mean(axis=0)) / 2


def capped(shift, spread, cap):
    """A shift [d], no longer than cap times the spread."""
    length = np.sqrt(shift @ shift)
    return shift * min(1.0, cap * spread / length)


def davsp_loss(harmful, harmless, harmless_before, direction, origin, unit, top, bottom, hold):
    """Rows [N, d] of one layer's states, direction [d]: both hinges, and how far harmless states were moved."""
    direction = direction.astype(np.float64)
    length = np.sqrt(direction @ direction)
    places = [((side.astype(np.float64) @ direction) / length - origin) / unit for side in (harmful, harmless)]
    moved = ((harmless.astype(np.float64) - harmless_before) ** 2).sum(axis=1).mean() / length**2
    return np.maximum(0, top - places[0]).mean() + np.maximum(0, places[1] - bottom).mean() + hold * moved


def coca_logits(with_safety, without, alpha):
    """Logits [..., words] of the next token with a safety prompt and without it."""
    with_safety = with_safety.astype(np.float64)
    return with_safety + alpha * (with_safety - without)


def root_mean_square_norm(rows, weight, epsilon):
    """A language model's final norm, rows [N, d]."""
    rows = rows.astype(np.float64)
    return rows / np.sqrt((rows**2).mean(axis=1, keepdims=True) + epsilon) * weight


def vlm_guard_at(guard, layer, hidden, last, shifts):
    directions, settings = number(guard, "directions", layer), guard.settings
    threshold = number(guard, "midpoint", layer) if settings.gate == "midpoint" else 0.0
    return vlm_guard_edit(hidden, last, directions, settings.alpha, threshold, settings.project)


def refusal_direction_at(guard, layer, hidden, last, shifts):
    direction = number(guard, "direction", layer)
    fires = not guard.settings.condition or cosine(last, direction) > number(guard, "theta", layer)
    return hidden + guard.settings.alpha * fires * direction


def tbop_at(guard, layer, hidden, last, shifts):
    rows = number(guard, "directions", layer)
    return hidden - guard.settings.alpha * hidden @ rows.T @ rows


def nullsteer_at(guard, layer, hidden, last, shifts):
    push = (last @ number(guard, "probe", layer)) * number(guard, "refusal_direction", layer)
    return hidden + guard.settings.alpha * push


def inferaligner_at(guard, layer, hidden, last, shifts):
    """The gate by the model's own vector s, what is added by theta: an aligned model's s, else its own."""
    own = number(guard, "direction", layer).astype(np.float64)
    added = number(guard, "aligned_direction", layer) if guard.settings.vectors_from else own
    if guard.settings.scale == "unit":
        added = added / np.sqrt(added @ added)
    threshold = guard.settings.threshold
    threshold = number(guard, "midpoint", layer) if threshold is None else threshold
    fires = last @ own / np.sqrt(own @ own) > threshold
    return hidden + guard.settings.alpha * fires * added


def jrs_rem_removed(shift, direction, threshold):
    """[d] each: the part of h(q, img) - h(q) along the direction, where its share of the shift is large enough."""
    along = shift @ direction / np.sqrt(direction @ direction)
    return (along / np.sqrt(shift @ shift) > threshold) * along * direction / np.sqrt(direction @ direction)


def jrs_rem_at(guard, layer, hidden, last, shifts):
    if shifts is None:
        return hidden
    shift = shifts["image"] if guard.settings.shown == "unguarded" else last - shifts["text"]
    removed = jrs_rem_removed(shift, number(guard, "direction", layer), guard.settings.threshold)
    return hidden - guard.settings.alpha * removed


def mars_at(guard, layer, hidden, last, shifts):
    """A step towards the harmful mean, by how much nearer to it than to the harmless one the re-centred state lies."""
    settings, direction = guard.settings, number(guard, "direction", layer).astype(np.float64)
    safe, between = number(guard, "harmless_mean", layer), np.sqrt(direction @ direction)
    centred = last.astype(np.float64) - (0 if shifts is None else number(guard, "image_shift", layer))
    nearer = ((centred - safe) ** 2).sum() - ((centred - safe - direction) ** 2).sum()
    past = nearer / (2 * between) + (0.5 - settings.threshold) * between
    dose = min(settings.alpha * max(past, 0.0), settings.trust * between)
    return hidden + dose * direction / between


def shiftdc_at(guard, layer, hidden, last, shifts):
    if shifts is None:
        return hidden
    taken_back = shiftdc_taken_back(shifts["caption"], number(guard, "safety_direction", layer))
    return hidden - guard.settings.alpha * taken_back


def cmrm_at(guard, layer, hidden, last, shifts):
    if shifts is None:
        return hidden
    shift = shifts["blank"] if guard.settings.level == "sample" else number(guard, "shift", layer)
    return hidden - guard.settings.alpha * shift


def conditional_refusal_at(guard, layer, hidden, last, shifts):
    """Where the gate reads this layer alone."""
    weights, direction = number(guard, "weights", 0), number(guard, "direction", layer)
    if last @ weights - number(guard, "offsets", 0) <= guard.gate().threshold:
        return hidden
    length = np.sqrt(direction @ direction)
    unit = direction / length
    room = max(0.0, number(guard, "farthest", layer) - last @ unit) if guard.settings.bounded else np.inf
    return hidden + min(guard.settings.alpha * length, room) * unit


def number(guard, name, layer):
    """One of a guard's fitted numbers at a layer."""
    return guard.tensors[name][layer].numpy()


EDITS = {
    "vlm_guard": vlm_guard_at,
    "cmrm": cmrm_at,
    "cmrm_sample": cmrm_at,
    "shiftdc": shiftdc_at,
    "refusal_direction": refusal_direction_at,
    "tbop": tbop_at,
    "nullsteer": nullsteer_at,
    "conditional_refusal": conditional_refusal_at,
    "inferaligner": inferaligner_at,
    "jrs_rem": jrs_rem_at,
    "mars": mars_at,
}


def shifts_at(subject, guard, query, layer):
    """The query's own shifts at a layer as `expected_edit` takes them, recorded without a guard; None: no image."""
    if not query.all_images:
        return None
    shown, blank, text = (
        subject.record([q])[0, layer] for q in (query, query.with_blank_images(), query.without_images())
    )
    shifts = {"blank": (blank - text).numpy(), "image": (shown - text).numpy(), "text": text.numpy()}
    if guard.name == "shiftdc":
        shifts["caption"] = (shown - subject.record(guard.captioned(subject, [query]))[0, layer]).numpy()
    return shifts


def expected_edit(guard, layer, hidden, last, shifts):
    """What each guard makes of hidden states [T, d] of one query, last [d] its last prompt token.

    shifts: {"blank": h(q, img') - h(q), "image": h(q, img) - h(q), "caption": h(q, img) - h(q, caption)}, and "text",
    h(q), of this query at this layer, or None for a query without image.
    """
    return EDITS[guard.name](guard, layer, hidden, last, shifts)
