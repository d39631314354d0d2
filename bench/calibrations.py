"""What a calibration asks of a model and costs: a part of the bench."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any, Iterator
from unittest.mock import PropertyMock, patch

from costs import TINY, built, subject_of
from random_llava import SHAPES, random_anchors
from timing import Row

import vlmguard_plugin as vg
from vlmguard_plugin.calibration.calibrate import calibrate
from vlmguard_plugin.calibration.measured import Measured

PAIRS = 8


def calibration(model: str, guards: tuple[str, ...], **_: Any) -> Iterator[Row]:
    """Calibration of guards that act only where a gate fires, as it is / with every request answered at every point.

    Eight held-out pairs beside pictures and the guard's own grid; the guards one after the other, as by
    `vlmguard fit a b c --calibrate`, so that the first takes the unguarded model's answers for all. `answers`: as it
    is, of how many. One run each: CPU seconds, of this process.
    """
    subject, shared = subject_of(model), Measured()
    anchors = random_anchors(SHAPES[TINY], 2 * PAIRS) if model == TINY else vg.load_anchors().split(2 * PAIRS)[0]
    for name in guards:
        guard = built(name, model)
        if not built(name, model).fit(subject, anchors).acts_where_fired:
            continue
        found: dict[bool, tuple[int, float, int]] = {}
        for whole in (False, True):
            with ExitStack() as stack:
                if whole:
                    acts = patch.object(type(guard), "acts_where_fired", PropertyMock(return_value=False))
                    stack.enter_context(acts)
                answers: list[int] = []
                stack.enter_context(patch.object(subject, "generate", counted(subject.generate, answers)))
                began = time.process_time()
                done = calibrate(guard, subject, anchors, measured=Measured() if whole else shared)
                points = len(done.facts["calibration"]["points"])
                found[whole] = sum(answers), time.process_time() - began, points
        (asked, seconds, points), (most, in_full, _) = found[False], found[True]
        yield {
            "guard": name,
            "points": points,
            "answers": f"{asked} of {most}",
            "share": f"{asked / most:.2f}",
            "CPU s": f"{seconds:.3g}",
            "CPU s in full": f"{in_full:.3g}",
            "CPU": f"{seconds / in_full:.2f}",
        }


def counted(generate: Any, answers: list[int]) -> Any:
    """`generate`, which leaves how many answers of more than one token it gave."""

    def noted(queries: Any, *args: Any, **named: Any) -> Any:
        if named.get("max_new_tokens") != 1:
            answers.append(len(queries))
        return generate(queries, *args, **named)

    return noted
