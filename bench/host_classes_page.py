"""What the survey of host classes found, as a page of the docs."""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from typing import Iterable

from vlmguard_plugin.hosts.vlmeval.host_facts import host_version

WITH_STAND_IN = "works with a stand-in"
ORDER = ("works", WITH_STAND_IN, "refused", "the class fails", "not tried")


@dataclass(frozen=True)
class Row:
    """A name of `supported_VLM`: its class, what came out (ORDER), and why, or how."""

    name: str
    kind: str
    outcome: str
    why: str = ""


def page(rows: Iterable[Row]) -> str:
    """The table, in Markdown."""
    rows = list(rows)
    names, kinds = Counter(row.outcome for row in rows), {}
    for row in rows:
        kinds.setdefault(row.kind, []).append(row)
    classes = Counter(min((row.outcome for row in of_kind), key=ORDER.index) for of_kind in kinds.values())
    versions = ", ".join(
        [f"VLMEvalKit {host_version()}", *(f"{package} {version(package)}" for package in ("transformers", "torch"))]
        + [f"Python {platform.python_version()}"]
    )
    lines = [
        "# VLMEvalKit's model classes under a guard",
        "",
        f"Made by `python bench/host_classes.py --markdown docs/host-classes.md` on {date.today()} ({versions}, CPU).",
        "The host's classes are the real ones, around random tiny models of the architectures that they ask",
        "transformers for. Each was fitted on (`refusal_direction`, four pairs of requests) and asked with and",
        "without a picture. It **works** where the edited states of its pictured request, by its own `generate`, are",
        "those of the guard's formula, the answer changes, and `<model>_none` answers as the class by itself. Real",
        "checkpoints were not at hand, nor code that is loaded from the hub.",
        "",
        "| | classes | names |",
        "|---|---|---|",
        *(f"| {outcome} | {classes[outcome]} | {names[outcome]} |" for outcome in ORDER),
        f"| together | {len(kinds)} | {len(rows)} |",
        "",
        "- **works with a stand-in**: the class is real; in the place of the code that it loads from the hub stands",
        "  ours, with the same interface.",
        "- **refused**: in one line, before anything is answered. Guards on prompts and answers need no fit, and work.",
        "- **the class fails**: unguarded too, with these versions.",
        "- **in batches**, **one by one**: how the rows to come are asked; four rows in a batch, of other pictures,",
        "  sizes and lengths, were answered word for word as one by one.",
        "",
        "A class counts where the best of its names does. What is said of text alone and of engines is explained in",
        "[hosts.md](hosts.md#guards-on-vlmevalkits-own-classes).",
    ]
    for outcome in ORDER:
        lines += ["", f"## {outcome[0].upper()}{outcome[1:]}", "", "| class | names | |", "|---|---|---|"]
        groups: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            if row.outcome == outcome:
                groups.setdefault((row.kind, row.why), []).append(row.name)
        for (kind, why), of_group in sorted(groups.items(), key=lambda group: (group[0][0].lower(), group[0][1])):
            shown = ", ".join(of_group[:3]) + (f" and {len(of_group) - 3} more" if len(of_group) > 3 else "")
            lines.append(f"| `{kind}` | {shown} | {why} |")
    return "\n".join(lines) + "\n"
