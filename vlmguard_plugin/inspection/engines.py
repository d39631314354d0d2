"""How far a model's states are apart on two engines, and whether a guard's gate decides alike on both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.calibration.calibrate import SIDES, queries_of
from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.guards.core.gates_heard import hearing_gates
from vlmguard_plugin.query import Query

if TYPE_CHECKING:
    from torch import Tensor

    from vlmguard_plugin.engines.vllm.subject import VLLMSubject
    from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject

PAIRS = 8
"""Anchor pairs that are put to both engines, as text and beside pictures."""
KEYS = ("fitted_on", "compared_with", "dtypes", "requests", "text", "pictures", "by_layer", "gate_alike")


@dataclass(frozen=True)
class Seen:
    """What an engine gives: states [N, L, d] of the queries' last prompt tokens, and by guard whether gates fired.

    engine: its name. dtype: of the weights.
    """

    engine: str
    dtype: str
    states: Tensor
    fired: Mapping[str, list[bool | None]]


def queries_compared(anchors: Anchors) -> tuple[list[Query], list[Query]]:
    """The first anchors as text, and the same ones beside pictures."""
    some = Anchors(anchors.pairs[:PAIRS])
    pictured = [query for side in SIDES for query in queries_of(some, side)]
    return [Query(query.text) for query in pictured], pictured


def seen_on(subject: HuggingFaceSubject | VLLMSubject, guards: Mapping[str, Guard], anchors: Anchors) -> Seen:
    """What a subject's engine gives. guards: fitted on this model, by name; WrongModel for one of another."""
    text, pictured = queries_compared(anchors)
    queries = [*text, *pictured]
    fired: dict[str, list[bool | None]] = {}
    for name, guard in guards.items():
        guard.check_fits(subject)
        with hearing_gates(queries) as heard:
            if guard.has_gate and not guard.looks_at_answers:
                guard.respond(subject, queries, max_new_tokens=1)
        fired[name] = heard.fired
    dtype = str(subject.dtype).removeprefix("torch.")
    return Seen(subject.engine, dtype, subject.record(queries), fired)


def difference(own: Seen, other: Seen, guard: str) -> dict[str, Any]:
    """What guard.json says of two engines. own: the one that the guard was fitted on.

    text, pictures: the largest difference of a state's number over the largest number of its layer, among requests as
    text and beside pictures; by_layer: among all. gate_alike: requests on which the guard's gates decided alike; None
    where it has none.
    """
    apart = (own.states - other.states).abs().amax(dim=2) / own.states.abs().amax(dim=(0, 2))  # [N, L]
    of_text = apart[: len(apart) // 2]
    decided = [(a, b) for a, b in zip(own.fired[guard], other.fired[guard]) if a is not None]
    return {
        "fitted_on": own.engine,
        "compared_with": other.engine,
        "dtypes": [own.dtype, other.dtype],
        "requests": len(apart),
        "text": float(of_text.max()),
        "pictures": float(apart[len(of_text) :].max()),
        "by_layer": apart.amax(dim=0).tolist(),
        "gate_alike": sum(a == b for a, b in decided) if decided else None,
    }


def in_words(found: Mapping[str, Any]) -> str:
    """The same as a sentence."""
    dtypes: Sequence[str] = found["dtypes"]
    gate = "" if found["gate_alike"] is None else f"; its gate decides alike on {found['gate_alike']}"
    return (
        f"states on {found['compared_with']} ({dtypes[1]}) differ from those on {found['fitted_on']} ({dtypes[0]}) by "
        f"at most {found['text']:.1e} as text and {found['pictures']:.1e} beside pictures of a layer's largest, on "
        f"{found['requests']} requests{gate}"
    )
