"""Does it see: exact answers to questions about held-out pictures."""

from __future__ import annotations

from vlmguard_plugin.demo.measures.figures import Figure, share
from vlmguard_plugin.demo.questions import QUESTION_KINDS, questions, score
from vlmguard_plugin.query import Query
from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject


def sees(subject: HuggingFaceSubject, per_kind: int = 120) -> dict[str, Figure]:
    """Share of exact answers by kind of question, open and multiple choice, on held-out pictures."""
    asked = questions("held_out", 2 * per_kind * len(QUESTION_KINDS))
    queries = [Query(visual.prompt, (visual.picture.image(),)) for visual in asked]
    answers = subject.generate(queries, max_new_tokens=16, progress="sees")
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
