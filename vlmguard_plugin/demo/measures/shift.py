"""How far pictures shift the hidden states, by decoder layer."""

from __future__ import annotations

from typing import Sequence

from torch import Tensor
from torch.nn.functional import cosine_similarity

from vlmguard_plugin.demo.measures.beside import Beside
from vlmguard_plugin.demo.measures.figures import Figure
from vlmguard_plugin.demo.measures.requests import Request
from vlmguard_plugin.query import Query
from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject


def shift(subject: HuggingFaceSubject, requests: Sequence[Request], conditions: Sequence[Beside]) -> dict[str, Figure]:
    """How pictures move the hidden state of the last prompt token, by layer.

    size: length of the mean shift over the mean length of the text-only state. same way: cosine of the harmful
    and the harmless requests' mean shifts. towards harmful: cosine of the mean shift with the text-only gap
    (mean harmful state minus mean harmless state). gap kept, gap turned: length of the gap with the picture over
    its length without, and the cosine of the two.
    """
    harmful = [number for number, request in enumerate(requests) if request.harmful]
    harmless = [number for number, request in enumerate(requests) if not request.harmful]
    if not harmful or not harmless:
        raise ValueError("the shift is measured on harmful and harmless requests; this set has only one of them")
    text = subject.record([Query(request.text) for request in requests], progress="text")  # [N, L, d]
    gap = text[harmful].mean(0) - text[harmless].mean(0)  # [L, d]
    figures: dict[str, Figure] = {}
    for beside in conditions:
        queries = [Query(request.text, beside.images(number)) for number, request in enumerate(requests)]
        shown = subject.record(queries, progress=beside.name)
        moved = shown - text
        gap_shown = shown[harmful].mean(0) - shown[harmless].mean(0)
        figures |= {
            f"size, {beside.name}": numbers(moved.mean(0).norm(dim=-1) / text.norm(dim=-1).mean(0)),
            f"same way, {beside.name}": numbers(
                cosine_similarity(moved[harmful].mean(0), moved[harmless].mean(0), dim=-1)
            ),
            f"towards harmful, {beside.name}": numbers(cosine_similarity(moved.mean(0), gap, dim=-1)),
            f"gap kept, {beside.name}": numbers(gap_shown.norm(dim=-1) / gap.norm(dim=-1)),
            f"gap turned, {beside.name}": numbers(cosine_similarity(gap_shown, gap, dim=-1)),
        }
    return figures


def numbers(values: Tensor) -> list[float]:
    """A tensor [L] as a list, to four decimals."""
    return [round(value, 4) for value in values.tolist()]
