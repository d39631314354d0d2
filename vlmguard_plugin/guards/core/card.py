"""The page that goes with a shared guard, in Markdown: what it is, was fitted on, and was found to do."""

from __future__ import annotations

import json
from typing import Any, Mapping, Sequence

from vlmguard_plugin.reading import visible

TAGS = ("safety", "vision-language", "steering", "vlmguard_plugin")
RATES = {
    "harmful_refused": "harmful refused",
    "harmless_refused": "harmless refused",
    "degenerate": "degenerate",
}
"""What a calibration measures at each of its points, and the heading of its column."""


def model_card(
    name: str,
    summaries: Sequence[tuple[str, str]],
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
    *,
    needs_fit: bool = True,
    place: str = "PLACE",
    base_model: str | None = None,
    figure: str | None = None,
) -> str:
    """The text of README.md.

    name, settings, facts: of the guard. summaries: (name, what it is) of each guard that it is made of.
    needs_fit: whether it belongs to one model. place: where it can be had, as `vlmguard pull` takes it.
    base_model: the hub's name of the model that it was fitted on. figure: the file beside it that draws the
    calibration.
    """
    model = facts["model"]
    head = ["---", "library_name: vlmguard_plugin", f"tags: {json.dumps(list(TAGS))}"]
    head += [f"base_model: {json.dumps(base_model)}"] if base_model else []
    fitted = [
        ("model", f"`{cell(base_model)}`" if base_model else "not named"),
        ("model's fingerprint", f"`{cell(model['fingerprint'])}`"),
        ("decoder layers, width", f"{model['num_layers']}, {model['hidden_size']}"),
        *layers_edited(facts),
        ("anchor pairs", facts["anchors"]["pairs"]),
        ("anchors' sha256", f"`{cell(facts['anchors'].get('sha256', 'not known'))}`"),
    ]
    parts = [
        "\n".join([*head, "---"]),
        f"# `{name}`, a {'fitted ' if needs_fit else ''}guard",
        *(visible(f"`{part}`: {said}" if len(summaries) > 1 else said) for part, said in summaries),
        "A guard makes a vision-language model safer while it answers. "
        + (
            "This one belongs to the model it was fitted on and works with no other. "
            if needs_fit
            else "This one has nothing to fit and works with any model; what was measured holds for the model below. "
        )
        + "It is loaded by `vlmguard_plugin`, as numbers (safetensors) and facts (JSON), without running any code.",
        "## Use it",
        f"```\nvlmguard pull {place} --out my-guard\nVLMGUARD_GUARD_DIR=my-guard ...   # your host's own command\n```",
        f'```python\nimport vlmguard_plugin as vg\n\nguard = vg.Guard.from_pretrained("{place}", subject)\n'
        "answers = guard.respond(subject, queries)\n```",
        "## What it was fitted on" if needs_fit else "## What it was saved beside",
        table(("", ""), fitted),
        "## Settings",
        table(("setting", "value"), [(f"`{key}`", f"`{cell(json.dumps(value))}`") for key, value in settings.items()]),
        "## Over-refusal that it was held to",
        *held_to(facts, figure),
    ]
    return "\n\n".join(parts) + "\n"


def layers_edited(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows that name the layers edited, by each part of a composition."""
    of_parts = {part: own for part, own in facts.get("parts", {}).items() if isinstance(own, Mapping)}
    return [
        (f"layers edited by `{cell(part)}`" if part else "layers edited",
         ", ".join(map(str, own.get("edited_layers", ()))) or "none")
        for part, own in (of_parts or {"": facts}).items()
    ]  # fmt: skip


def held_to(facts: Mapping[str, Any], figure: str | None) -> list[str]:
    """The paragraphs about calibration: of the guard, and of each part of a composition that has one."""
    calibrations = {"": facts.get("calibration")}
    calibrations |= {
        part: own.get("calibration") for part, own in facts.get("parts", {}).items() if isinstance(own, Mapping)
    }
    paragraphs = [
        text
        for part, calibration in calibrations.items()
        if calibration
        for text in ([f"### `{part}`"] if part else []) + about(calibration)
    ]
    if not paragraphs:
        return [
            "None: it was not calibrated, so how many harmless requests it makes the model refuse has not been "
            "measured. `vlmguard fit --calibrate` does so."
        ]
    if figure:
        paragraphs.append(f"![Harmful against harmless requests refused, for every setting tried]({figure})")
    return [
        *paragraphs,
        "Rates in percent with 95% Wilson intervals, on held-out anchors beside pictures, judged by rules.",
    ]


def about(calibration: Mapping[str, Any]) -> list[str]:
    """What one calibration was bound to, what it chose, and all that it measured."""
    unguarded, chosen = calibration["unguarded"], calibration["chosen"]
    bound = 100 * calibration["bound"]
    most = 100 * unguarded["harmless_refused"] + bound
    if chosen is None:
        outcome = "No setting that was tried is within it; the settings above were left as they were."
    else:
        best = next(point for point in calibration["points"] if point["settings"] == chosen)
        outcome = (
            f"The settings chosen refuse {rate(best, 'harmful_refused')} of harmful and "
            f"{rate(best, 'harmless_refused')} of harmless anchors; the unguarded model refuses "
            f"{rate(unguarded, 'harmful_refused')} and {rate(unguarded, 'harmless_refused')}."
        )
    rows = [("*unguarded*", *(rate(unguarded, key) for key in RATES))]
    for point in calibration["points"]:
        words = ", ".join(f"{key}={json.dumps(value)}" for key, value in point["settings"].items()) or "as given"
        mark = "**" if point["settings"] == chosen else ""
        rows.append((f"{mark}`{cell(words)}`{mark}", *(rate(point, key) for key in RATES)))
    return [
        f"At most {bound:g} points more than the unguarded model: {most:.1f}% of {calibration['pairs']} harmless "
        f"anchors. {outcome}",
        table(("settings", *RATES.values()), rows),
    ]


def rate(point: Mapping[str, Any], key: str) -> str:
    """A point's rate in percent with its interval; degenerate answers are counted on both sides' requests."""
    from vlmguard_plugin.statistics.rates import wilson

    answers = point["n"] * (2 if key == "degenerate" else 1)
    low, high = wilson(round(point[key] * answers), answers)
    return f"{100 * point[key]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def table(heading: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) if rows else "None."


def cell(text: Any) -> str:
    """Text in one line that ends no cell and no code."""
    return visible(str(text)).replace("|", "\\|").replace("`", "'")
