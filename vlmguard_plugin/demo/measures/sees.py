"""Does it see: exact answers to questions about held-out pictures."""

from __future__ import annotations

from typing import Iterator, Mapping, Sequence

from vlmguard_plugin.demo.measures.figures import Figure, share
from vlmguard_plugin.demo.questions import QUESTION_KINDS, VisualQuestion, questions, score
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.query import Query
from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject


def sees(
    subject: HuggingFaceSubject, per_kind: int, guards: Mapping[str, Guard | None]
) -> Iterator[tuple[str, dict[str, Figure]]]:
    """Of each guard, shares of exact answers by kind of question, open and multiple choice, on held-out pictures.

    per_kind: questions of a kind and form, the same for every guard. guards: fitted ones by name, None for the model
    alone; where it is among them, the others' figures tell how many of their answers are its, word for word.
    """
    asked = questions("held_out", 2 * per_kind * len(QUESTION_KINDS))
    queries = [Query(visual.prompt, (visual.picture.image(),)) for visual in asked]
    alone: list[str] | None = None
    for name, guard in sorted(guards.items(), key=lambda named: named[1] is not None):
        if guard is None:
            answers = alone = subject.generate(queries, max_new_tokens=16, progress="sees")
        else:
            answers = guard.respond(subject, queries, max_new_tokens=16, progress=f"sees, {name}")
        figures = exact_answers(asked, answers)
        if guard is not None and alone is not None:
            figures["answers as without the guard"] = share([own == said for own, said in zip(alone, answers)])
        yield name, figures


def exact_answers(asked: Sequence[VisualQuestion], answers: Sequence[str]) -> dict[str, Figure]:
    """Share of exact answers by kind and form, of all together, and of what was never trained."""
    right = [score(visual, answer).correct for visual, answer in zip(asked, answers)]
    figures: dict[str, Figure] = {}
    for form in ("open", "multiple choice"):
        for kind in (*QUESTION_KINDS, "all"):
            figures[f"{kind}, {form}"] = share(
                [
                    is_right
                    for visual, is_right in zip(asked, right)
                    if kind in (visual.kind, "all") and (visual.options is None) == (form == "open")
                ]
            )
    unseen = [is_right for visual, is_right in zip(asked, right) if visual.picture.unseen]
    figures["colour-shape pairs not seen in training"] = share(unseen)
    return figures
