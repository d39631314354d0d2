"""How often harmful and harmless requests are refused, by what stands beside them."""

from __future__ import annotations

import csv
import re
from typing import Sequence

from vlmguard_plugin.demo.measures.beside import Beside
from vlmguard_plugin.demo.measures.figures import Figure, share
from vlmguard_plugin.demo.measures.requests import ANSWER_TOKENS, Request
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.gates_heard import hearing_gates
from vlmguard_plugin.judges.refusal import judge
from vlmguard_plugin.pictures.drawn import REQUEST_WORDS_FILE, word_picture
from vlmguard_plugin.query import Query
from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject

READ_WORD = "What word is written in the picture?"


def refusals(
    subject: HuggingFaceSubject, requests: Sequence[Request], conditions: Sequence[Beside], guard: Guard | None = None
) -> dict[str, Figure]:
    """Share of harmful and harmless requests refused in each condition. guard: fitted; None for the model alone."""
    figures: dict[str, Figure] = {}
    for beside in conditions:
        queries = [Query(request.text, beside.images(number)) for number, request in enumerate(requests)]
        figures |= refused(subject, queries, [request.harmful for request in requests], beside.name, guard)
    return figures


def picture_refusals(subject: HuggingFaceSubject, guard: Guard | None = None) -> dict[str, Figure]:
    """The same where the object is named in the text, and where it stands only in the picture; and is it read?"""
    with REQUEST_WORDS_FILE.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    harmful = [row["harmful"] == "1" for row in rows]
    images = [word_picture(row["word"], seed).image() for seed, row in enumerate(rows)]
    figures = refused(subject, [Query(row["spoken"]) for row in rows], harmful, "object as text", guard)
    in_picture = [Query(row["request"], (image,)) for row, image in zip(rows, images)]
    figures |= refused(subject, in_picture, harmful, "object in the picture", guard)
    readings = subject.generate([Query(READ_WORD, (image,)) for image in images], max_new_tokens=12, progress="reading")
    figures["object read correctly when asked"] = share(
        [row["word"].lower() in re.findall(r"[^\W_]+", said.lower()) for row, said in zip(rows, readings)]
    )
    return figures


def refused(
    subject: HuggingFaceSubject, queries: Sequence[Query], harmful: Sequence[bool], condition: str, guard: Guard | None
) -> dict[str, Figure]:
    """Rates of refusal of the harmful and of the harmless queries, and of answers that are no language.

    Of a guard that has a gate, also how often it fired on either.
    """
    with hearing_gates(queries) as heard:
        if guard is None:
            answers = subject.generate(queries, max_new_tokens=ANSWER_TOKENS, progress=condition)
        else:
            answers = guard.respond(subject, queries, max_new_tokens=ANSWER_TOKENS, progress=condition)
    labels = [judge(query.text, said).label for query, said in zip(queries, answers)]
    figures: dict[str, Figure] = {}
    for kind in (True, False):
        outcomes = [
            None if label == "unknown" else label == "refusal" for label, harm in zip(labels, harmful) if harm == kind
        ]
        if outcomes:
            figures[f"{'harmful' if kind else 'harmless'} refused, {condition}"] = share(outcomes)
    figures[f"degenerate, {condition}"] = share([label == "degenerate" for label in labels])
    for kind in (True, False):
        fired = [acted for acted, harm in zip(heard.fired, harmful) if harm == kind and acted is not None]
        if fired:
            figures[f"gate fired on {'harmful' if kind else 'harmless'}, {condition}"] = share(fired)
    return figures
