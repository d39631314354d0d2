"""Hidden states as guards measure them: of anchors for a fit, and of the query at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.lazy import torch
from vlmguard_plugin.query import Query
from vlmguard_plugin.subjects.base import Subject

if TYPE_CHECKING:
    from torch import Tensor


def check_finite(states: Tensor, names: Callable[[int], str]) -> Tensor:
    """The states [N, L, d]; ValueError, naming the decoder layers and the requests, where some are not finite.

    names: what the request of a row is called.
    """
    finite = torch.isfinite(states).all(dim=2)
    if not bool(finite.all()):
        layers = (~finite.all(dim=0)).nonzero().flatten().tolist()
        rows = (~finite.all(dim=1)).nonzero().flatten().tolist()
        others = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        raise ValueError(
            f"the model's hidden states after decoder layers {layers[:8]} are not finite on {names(rows[0])}{others}; "
            "load it in bfloat16 or float32 (float16 overflows in many models), or mend the checkpoint"
        )
    return states


def anchors_called(side: str, requests: Sequence[str]) -> Callable[[int], str]:
    """What the anchors of one side are called in an error, by row."""
    return lambda row: f"{side} anchor {row + 1} ({requests[row][:60]!r})"


def record_anchors(
    subject: Subject, anchors: Anchors, guard: str, progress: bool, as_query: Callable[[str], Query] = Query
) -> tuple[Tensor, Tensor]:
    """Text-only states of the harmful and of the harmless anchors, [N, L, d] each. as_query: how they are put."""
    label = f"fit {guard}: " if progress else None
    harmful, harmless = (
        check_finite(
            subject.record([as_query(text) for text in requests], progress=label and f"{label}{side} anchors"),
            anchors_called(side, requests),
        )
        for side, requests in (("harmful", anchors.harmful), ("harmless", anchors.harmless))
    )
    return harmful, harmless


def check_own_states(subject: Subject) -> None:
    """RuntimeError while a guard is on the model: what is measured then are not the model's own states."""
    if subject.is_edited:
        raise RuntimeError(
            "the states of a query can't be measured while another guard is on the model; leave it first, or compose "
            "the two by name, as in vlm_guard+shiftdc"
        )


def of_pictured(
    subject: Subject, queries: Sequence[Query] | None, guard: str, measure: Callable[[list[Query]], Tensor]
) -> Tensor:
    """What `measure` makes of the queries with an image, [L, d] each; zero for the others: [queries, L, d].

    Raises ValueError where the queries are not known, RuntimeError while a guard is on the model.
    """
    if queries is None:
        raise ValueError(f"{guard} of the query at hand; use guard.respond, or guard.on(subject, queries)")
    check_own_states(subject)
    values = torch.zeros(len(queries), subject.num_layers, subject.hidden_size)
    pictured = [index for index, query in enumerate(queries) if query.all_images]
    if pictured:
        values[pictured] = measure([queries[index] for index in pictured])
    return values


def text_of_pictured(subject: Subject, queries: Sequence[Query] | None, guard: str) -> Tensor:
    """`of_pictured` of the same requests as text alone: [queries, L, d]."""
    return of_pictured(
        subject, queries, guard, lambda shown: subject.record([query.without_images() for query in shown])
    )


def record_shifts(
    subject: Subject,
    queries: Sequence[Query],
    image: str,
    label: str | None,
    names: Callable[[int], str] = lambda row: f"query {row + 1}",
) -> tuple[Tensor, Tensor]:
    """Shift of each query's state by a meaningless image, and its text-only state: both [N, L, d], the model's own."""
    check_own_states(subject)
    text = subject.record([query.without_images() for query in queries], progress=label and label + "text")
    blank = [query.with_blank_images(image) for query in queries]
    pictured = subject.record(blank, progress=label and f"{label}with {image} image")
    text = check_finite(text, names)
    return check_finite(pictured, lambda row: f"{names(row)} beside a {image} image") - text, text


def record_anchor_shifts(
    subject: Subject, anchors: Anchors, image: str, guard: str, progress: bool
) -> tuple[Tensor, Tensor]:
    """`record_shifts` of the harmful anchors, then of the harmless ones: both [2N, L, d]."""
    queries = [Query(text) for text in anchors.harmful + anchors.harmless]
    pairs = len(anchors.pairs)
    harmful, harmless = anchors_called("harmful", anchors.harmful), anchors_called("harmless", anchors.harmless)
    return record_shifts(
        subject,
        queries,
        image,
        f"fit {guard}: " if progress else None,
        lambda row: harmful(row) if row < pairs else harmless(row - pairs),
    )
