"""What guards cost on a model: parts of the bench that need it loaded."""

from __future__ import annotations

import resource
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Sequence

import click
import torch
from random_llava import SHAPES, random_queries, random_subject
from timing import Row, Way, side_by_side

import vlmguard_plugin as vg
from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.demo.build import build_demo_vlm
from vlmguard_plugin.demo.measures.beside import Beside
from vlmguard_plugin.demo.measures.requests import demo_requests
from vlmguard_plugin.demo.settings import GUARD_SETTINGS
from vlmguard_plugin.demo.vlms import DEMO_VLMS
from vlmguard_plugin.guards.core.registry import guard_classes
from vlmguard_plugin.guards.core.representation import RepresentationGuard
from vlmguard_plugin.subjects.loading import load_subject

NEED_MORE = ("none", "visual_prompt", "eta", "moderated")  # nothing to measure, trained first, need other models
EDITING = tuple(
    name for name, guard in guard_classes().items() if issubclass(guard, RepresentationGuard) and name not in NEED_MORE
)
OTHER = tuple(name for name in guard_classes() if name not in (*EDITING, *NEED_MORE))
TINY = "tiny"
FIT_BATCH = 8
MEMORY_PAIRS = (8, 32, 128)


def check_known(parts: Iterable[str], known: Iterable[str], guards: Iterable[str]) -> None:
    """ClickException for parts of a bench, or guards, that there are not."""
    unknown = [part for part in parts if part not in known]
    unknown += [name for name in guards if name not in EDITING + OTHER]
    if unknown:
        raise click.ClickException(
            f"there is no {', '.join(unknown)}; parts are {', '.join(known)}; guards are {', '.join(EDITING + OTHER)}"
        )


def subject_of(model: str, batch_size: int = 8) -> vg.HuggingFaceSubject:
    """A demo VLM, or a tiny random one to try the bench with."""
    if model == TINY:
        return random_subject(SHAPES[TINY], "cpu", torch.float32, batch_size)
    return load_subject(build_demo_vlm(model), batch_size=batch_size)


def queries_of(model: str, count: int) -> list[vg.Query]:
    """Requests beside a picture each: the demo's own beside shapes, or random ones."""
    if model == TINY:
        return random_queries(SHAPES[TINY], count)
    beside = Beside("shape")
    return [
        vg.Query(request.text, beside.images(number)) for number, request in enumerate((demo_requests() * 2)[:count])
    ]


def built(name: str, model: str) -> vg.Guard:
    """A guard under the settings found for the model, where there are any."""
    return vg.build_guard(name, **GUARD_SETTINGS.get(model, {}).get(name, {}))


def generation(
    model: str, guards: tuple[str, ...], batches: tuple[int, ...], tokens: int, rounds: int, **_: Any
) -> Iterator[Row]:
    """Guarded / unguarded generation, fitted on 8 anchor pairs; `s`: median seconds of the unguarded one.

    Of guards that edit hidden states: `generate` on inputs encoded before, with as many new tokens on either side, what
    the guard decides beforehand included. Of the others, which ask in other words or several times: the whole answer,
    which may be shorter or longer than the unguarded one. `floor`: CPU time of the passes that a guard's definition
    asks for (captions, judgements, longer prompts, states of this very query), asked of the unguarded model with
    nothing of the guard's on it, and of the answer, / of the unguarded answer: no way of doing the same costs less.
    """
    subject = subject_of(model)
    anchors = vg.load_anchors().split(8)[0]
    for name in guards:
        guard = built(name, model).fit(subject, anchors)
        for batch in batches:
            subject.batch_size = batch
            queries = queries_of(model, batch)
            inputs = subject.encode(queries)
            ways = guarded_and_not(guard, subject, queries, inputs, tokens)
            row = {"guard": name, "batch": batch, **side_by_side(ways, rounds)}
            yield {**row, "floor": floor_of(guard, subject, ways, rounds)}


def floor_of(guard: vg.Guard, subject: vg.HuggingFaceSubject, ways: tuple[Way, Way], rounds: int) -> str:
    """What the passes that a guard asks for cost by themselves, as a share of the unguarded answer. ways: see there."""
    asked = passes_asked_for(subject, ways[0])
    if guard.name in EDITING:
        asked.append(ways[1])
    if asked == [ways[1]]:
        return "1"

    def alone() -> None:
        for ask in asked:
            ask()

    return str(side_by_side((alone, ways[1]), rounds)["CPU"]).partition(" ")[0]


def passes_asked_for(subject: vg.HuggingFaceSubject, way: Way) -> list[Way]:
    """What a way asks the subject, as the same questions to the unguarded model."""
    asked: list[Way] = []

    def noted(ask: Callable[..., Any]) -> Callable[..., Any]:
        def note(queries: Sequence[vg.Query], edits: Any = None, **named: Any) -> Any:
            if queries:
                asked.append(partial(ask, queries, **named))
            return ask(queries, edits, **named)

        return note

    own = subject.record, subject.generate
    subject.record, subject.generate = map(noted, own)
    try:
        way()
    finally:
        del subject.record, subject.generate
    return asked


def guarded_and_not(
    guard: vg.Guard, subject: vg.HuggingFaceSubject, queries: list[vg.Query], inputs: Any, new: int
) -> tuple[Way, Way]:
    """So many new tokens under a guard, and without: of inputs that are encoded where the guard edits, else whole."""
    if guard.name in EDITING:
        return partial(generated, subject, inputs, new, guard, queries), partial(generated, subject, inputs, new)
    return (
        partial(guard.respond, subject, queries, max_new_tokens=new),
        partial(subject.generate, queries, max_new_tokens=new),
    )


def generated(
    subject: vg.HuggingFaceSubject,
    inputs: Any,
    new: int,
    guard: vg.Guard | None = None,
    queries: list[vg.Query] | None = None,
) -> None:
    """So many new tokens to inputs and no fewer, under a guard if there is one."""
    with guard.on(subject, queries or []) if guard else nullcontext(), torch.no_grad():
        subject.model.generate(**inputs, do_sample=False, max_new_tokens=new, min_new_tokens=new)


def fit(model: str, guards: tuple[str, ...], rounds: int, **_: Any) -> Iterator[Row]:
    """Fit / bare forward passes over the same prompts, 8 anchor pairs in batches of 8; `s`: seconds of the passes.

    Bare: encoded and run through the model once, with logits of the last token alone.
    """
    subject = subject_of(model, FIT_BATCH)
    anchors = vg.load_anchors().split(8)[0]
    for name in guards:
        recorded = recorded_in_fit(built(name, model), subject, anchors)
        if not recorded:
            continue
        ways = (partial(built(name, model).fit, subject, anchors), partial(bare_passes, subject, recorded))
        yield {"guard": name, "prompts": len(recorded), **side_by_side(ways, rounds)}


def recorded_in_fit(guard: vg.Guard, subject: Any, anchors: Anchors) -> list[vg.Query]:
    """Fit, and tell which prompts were recorded for it."""
    recorded: list[vg.Query] = []
    own = subject.record

    def record(queries: list[vg.Query], *args: Any, **named: Any) -> Any:
        recorded.extend(queries)
        return own(queries, *args, **named)

    subject.record = record
    try:
        guard.fit(subject, anchors)
    finally:
        del subject.record
    return recorded


def bare_passes(subject: vg.HuggingFaceSubject, queries: list[vg.Query]) -> None:
    for images in (False, True):  # a batch of both is a batch of the longer ones
        own = [query for query in queries if bool(query.images) == images]
        for start in range(0, len(own), FIT_BATCH):
            with torch.no_grad():
                inputs = subject.encode(own[start : start + FIT_BATCH])
                subject.model(**inputs, use_cache=False, logits_to_keep=1)


def memory(model: str, guards: tuple[str, ...], **_: Any) -> Iterator[Row]:
    """Largest memory of a process while it fits on so many anchor pairs.

    In MiB above its largest before, with the model loaded and one batch recorded.
    """
    for name in guards:
        grown = {}
        for pairs in MEMORY_PAIRS:
            command = [sys.executable, str(Path(__file__)), model, name, str(pairs)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            grown[f"{pairs} pairs"] = done.stdout.strip().splitlines()[-1]
        yield {"guard": name, **grown}


def print_growth(model: str, name: str, pairs: int) -> None:
    """Fit, and print by how many MiB the largest memory of this process has grown over it."""
    subject = subject_of(model, FIT_BATCH)
    every = vg.load_anchors()
    subject.record(queries_of(model, FIT_BATCH))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    built(name, model).fit(subject, every.split(pairs)[0] if pairs < len(every.pairs) else every)
    print(f"{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:.0f}")


MODELS = (TINY, *DEMO_VLMS)

if __name__ == "__main__":
    print_growth(sys.argv[1], sys.argv[2], int(sys.argv[3]))
