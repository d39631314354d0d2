"""What of a subject is out of a guard's reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from vlmguard_plugin.guards.core.base import Guard


def check_reach(guards: Sequence[Guard], subject: Subject) -> None:
    """ValueError for a subject that can't do what one of these guards needs."""
    kind = type(subject).__name__
    contrasting = [guard.name for guard in guards if guard.contrast is not None]
    if contrasting and not getattr(subject, "contrasts", False):
        raise ValueError(
            f"guard {contrasting[0]!r} contrasts logits, which a {kind} keeps to itself; put it on the checkpoint (a "
            "model of `vlmguard list` with engine=transformers, or a HuggingFaceSubject), or use self_reminder"
        )
    drawing = [guard.name for guard in guards if guard.draws]
    if drawing and not getattr(subject, "draws", False):
        raise ValueError(
            f"guard {drawing[0]!r} goes on with one of several beginnings of an answer, and a {kind} gives whole "
            "answers alone; put it on the checkpoint (a model of `vlmguard list` with engine=transformers, or a "
            "HuggingFaceSubject), or use ecso"
        )
