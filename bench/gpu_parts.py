"""The parts of the GPU check: each gives its figures as rows, one after the other."""

from __future__ import annotations

import statistics
import time
import warnings
from contextlib import nullcontext
from functools import partial
from typing import Any, Callable, Iterator

import torch
from costs import EDITING, guarded_and_not
from random_llava import SHAPES, Shape, random_anchors, random_queries, random_subject
from report import NoTime
from timing import TIMES, Row, side_by_side

import vlmguard_plugin as vg
from vlmguard_plugin.demo.build import demo_folder
from vlmguard_plugin.demo.measures.beside import Beside
from vlmguard_plugin.demo.measures.figures import in_words
from vlmguard_plugin.demo.measures.refusals import refusals
from vlmguard_plugin.demo.measures.requests import demo_requests
from vlmguard_plugin.demo.settings import GUARD_SETTINGS
from vlmguard_plugin.demo.vlms import DEMO_VLMS
from vlmguard_plugin.subjects.loading import load_subject

DEMO_GUARDS = ("vlm_guard", "cmrm", "conditional_refusal")


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def seconds(device: str, work: Callable[..., Any], *args: Any, **named: Any) -> float:
    """How long the work takes, until the device is done with it."""
    synchronize(device)
    begin = time.perf_counter()
    work(*args, **named)
    synchronize(device)
    return time.perf_counter() - begin


def fitted(names: tuple[str, ...], subject: vg.HuggingFaceSubject, shape: Shape, pairs: int) -> dict[str, vg.Guard]:
    """The guards under their default settings, fitted on anchors of random words."""
    anchors = random_anchors(shape, pairs)
    return {name: vg.build_guard(name).fit(subject, anchors) for name in names}


def guarded_states(guard: vg.Guard, subject: vg.HuggingFaceSubject, queries: list[vg.Query]) -> torch.Tensor:
    with guard.on(subject, queries):
        return subject.record(queries)


def same(device: str, **_: Any) -> Iterator[Row]:
    """Tiny models: states and answers on the device against the CPU's. Guards are fitted on the CPU's model."""
    shape = SHAPES["tiny"]
    queries = random_queries(shape, 6)
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        cpu, other = (random_subject(shape, "cpu", dtype, len(queries)) for _ in range(2))
        other.model.to(device)
        for guard_name, guard in fitted(EDITING, cpu, shape, 6).items():
            here, there = (guarded_states(guard, subject, queries) for subject in (cpu, other))
            answers = [guard.respond(subject, queries, max_new_tokens=8) for subject in (cpu, other)]
            yield {
                "guard": guard_name,
                "dtype": name,
                "largest state": round(float(here.abs().max()), 2),
                "largest difference": float(f"{(here - there).abs().max():.2g}"),
                "equal answers": f"{sum(a == b for a, b in zip(*answers))} of {len(queries)}",
            }


def overhead(
    device: str,
    shape: Shape,
    dtype: torch.dtype,
    batches: tuple[int, ...],
    tokens: int,
    rounds: int,
    guards: tuple[str, ...],
    until: float,
    **_: Any,
) -> Iterator[Row]:
    """Time of an answer, guarded / unguarded, one after the other, which is first in turn.

    Of guards that edit: of what a guard decides beforehand and `generate`, the inputs being encoded before; of the
    others, which ask in other words or several times, of the whole answer. Prefill: the same with one new token. The
    largest batch comes first, and rows that there is no time for are left out.
    """
    subject = random_subject(shape, device, dtype, 1)
    made = fitted(guards, subject, shape, 8)
    for batch in (max(batches), *(size for size in batches if size != max(batches))):
        subject.batch_size = batch
        queries = random_queries(shape, batch)
        inputs = subject.encode(queries)
        for name, guard in made.items():
            for kind, new in (("generation", tokens), ("prefill", 1)):
                if time.perf_counter() > until:
                    raise NoTime(f"overhead of {name} at batch {batch}, {kind}, and what comes after")
                ways = guarded_and_not(guard, subject, queries, inputs, new)
                try:
                    times = side_by_side(ways, rounds, partial(synchronize, device))
                except torch.OutOfMemoryError:  # a smaller batch comes after it
                    times = dict.fromkeys(TIMES, "out of memory")
                yield {"guard": name, "batch": batch, "what": f"{kind}, {new} new", **times}


def memory(
    device: str, shape: Shape, dtype: torch.dtype, batches: tuple[int, ...], guards: tuple[str, ...], **_: Any
) -> Iterator[Row]:
    """Largest memory of the GPU while answering, in GiB, weights included."""
    if device == "cpu":
        return
    subject = random_subject(shape, device, dtype, 1)
    made: dict[str, vg.Guard | None] = {"unguarded": None, **fitted(guards, subject, shape, 8)}
    for batch in batches[-1:]:
        subject.batch_size = batch
        queries = random_queries(shape, batch)
        for name, guard in made.items():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            answer = partial(guard.respond, subject) if guard else subject.generate
            answer(queries, max_new_tokens=4)
            yield {"guard": name, "batch": batch, "GiB": round(torch.cuda.max_memory_allocated() / 2**30, 3)}


def fit(device: str, shape: Shape, dtype: torch.dtype, rounds: int, **_: Any) -> Iterator[Row]:
    """Fitting on 32 anchor pairs at batch 8, against bare forward passes over the same prompts."""
    subject = random_subject(shape, device, dtype, 8)
    anchors = random_anchors(shape, 32)
    requests = [vg.Query(text) for text in anchors.harmful + anchors.harmless]
    blank = [query.with_blank_images("white") for query in requests]

    def bare(queries: list[vg.Query]) -> None:  # 64 requests, then the same beside a blank image: no batch holds both
        for start in range(0, len(queries), 8):
            with torch.no_grad():
                subject.model(**subject.encode(queries[start : start + 8]), use_cache=False, logits_to_keep=1)

    for name, passes in (("vlm_guard", requests), ("cmrm", requests + blank)):
        took: list[tuple[float, float]] = []
        for _turn in range(rounds + 1):
            alone = seconds(device, bare, passes)
            took.append((seconds(device, vg.build_guard(name).fit, subject, anchors), alone))
        ratios = sorted(fitting / alone for fitting, alone in took[1:])
        yield {
            "guard": name,
            "fit, seconds": round(statistics.median(pair[0] for pair in took[1:]), 3),
            "bare passes, seconds": round(statistics.median(pair[1] for pair in took[1:]), 3),
            "ratio": round(statistics.median(ratios), 3),
            "least": round(ratios[0], 3),
            "most": round(ratios[-1], 3),
        }


def waits(device: str, shape: Shape, dtype: torch.dtype, guards: tuple[str, ...], **_: Any) -> Iterator[Row]:
    """How often the program waits for the GPU, per decoded token and once an answer (torch's own sync warnings)."""
    if device == "cpu":
        return
    subject = random_subject(shape, device, dtype, 8)
    queries = random_queries(shape, 8)

    def answer(inputs: Any, new: int) -> None:
        with torch.no_grad():
            subject.model.generate(**inputs, do_sample=False, max_new_tokens=new)

    def counted(inputs: Any, new: int) -> int:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                answer(inputs, new)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(warning.message) for warning in caught)

    def profiled(inputs: Any, new: int) -> tuple[int, int, float]:
        """Waits, kernels started, and milliseconds that the GPU was at work."""
        with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as profile:
            answer(inputs, new)
        averages = profile.key_averages()
        calls = {event.key: event.count for event in averages}
        busy = sum(event.self_device_time_total for event in averages if event.device_type.name == "CUDA") / 1e3
        waiting = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
        starting = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx")
        return sum(calls.get(key, 0) for key in waiting), sum(calls.get(key, 0) for key in starting), busy

    made: dict[str, vg.Guard | None] = {"unguarded": None, **fitted(guards, subject, shape, 8)}
    for name, guard in made.items():
        with guard.on(subject, queries) if guard else nullcontext():
            inputs = subject.encode(queries)
            answer(inputs, 2)
            short, long = (counted(inputs, new) for new in (2, 6))
            ran_short, ran_long = (profiled(inputs, new) for new in (2, 6))
        stream_waits, kernels, busy = ((after - before) / 4 for before, after in zip(ran_short, ran_long))
        yield {
            "guard": name,
            "waits a token": (long - short) / 4,
            "waits in the prefill": short - (long - short) / 4,
            "stream waits a token": stream_waits,
            "kernels a token": kernels,
            "GPU ms a token": round(busy, 3),
            "GPU ms of the prefill": round(ran_short[2] - busy, 3),
        }


def compiled(device: str, **_: Any) -> Iterator[Row]:
    """Compiled and CUDA-graph models under a guard: the same scores as without compiling, or refused."""
    shape = SHAPES["tiny"]
    queries = random_queries(shape, 4)

    def tokens(subject: vg.HuggingFaceSubject, guard: vg.Guard | None, **generation: Any) -> torch.Tensor:
        with guard.on(subject, queries) if guard else nullcontext(), torch.no_grad():
            out = subject.model.generate(
                **subject.encode(queries),
                do_sample=False,
                max_new_tokens=8,
                output_scores=True,
                return_dict_in_generate=True,
                **generation,
            )
        return torch.stack(out.scores).float().cpu()

    def compiled_forward(subject: vg.HuggingFaceSubject, **options: Any) -> None:
        subject.model.forward = torch.compile(subject.model.forward, **options)

    def warm(subject: vg.HuggingFaceSubject, **options: Any) -> None:
        compiled_forward(subject, **options)
        tokens(subject, None)

    def layers(subject: vg.HuggingFaceSubject) -> None:
        for layer in subject.decoder.layers:
            layer.compile()
        tokens(subject, None)

    ways: dict[str, tuple[Callable[[vg.HuggingFaceSubject], Any], dict[str, Any]]] = {
        "static cache (compiled by transformers on a GPU)": (lambda subject: None, {"cache_implementation": "static"}),
        "static cache, run unguarded first": (
            lambda subject: tokens(subject, None, cache_implementation="static"),
            {"cache_implementation": "static"},
        ),
        "torch.compile(forward), then guarded": (compiled_forward, {}),
        "torch.compile(forward), run unguarded, then guarded": (warm, {}),
        "layers compiled one by one, run unguarded, then guarded": (layers, {}),
        "CUDA graphs (reduce-overhead), run unguarded, then guarded": (
            lambda subject: warm(subject, mode="reduce-overhead"),
            {},
        ),
    }
    for what, (prepare, generation) in ways.items():
        torch._dynamo.reset()
        subject = random_subject(shape, device, torch.float32, 4)
        guard = vg.build_guard("refusal_direction", alpha=2.0).fit(subject, random_anchors(shape, 6))
        plain, right = tokens(subject, None), tokens(subject, guard)
        begin = time.perf_counter()
        try:
            prepare(subject)
            got = tokens(subject, guard, **generation)
        except Exception as error:  # noqa: BLE001  # whatever a compiler raises is this part's result
            outcome = f"refused: {type(error).__name__}: {str(error).splitlines()[0][:160]}"
        else:
            far, moved = float((got - right).abs().max()), float((plain[0] - right[0]).abs().max())
            verdict = "right" if far < 1e-3 < moved else "WRONG"
            outcome = (
                f"{verdict}: scores at most {far:.1e} from the guarded ones, where the guard moves them by {moved:.1e}"
            )
        yield {"what": what, "outcome": outcome, "seconds": round(time.perf_counter() - begin, 1)}


def demo(device: str, **_: Any) -> Iterator[Row]:
    """The demo VLMs that were built on this machine: refusals beside shapes, and the time of the answers."""
    for model in DEMO_VLMS:
        folder = demo_folder(model)
        if not folder.is_dir():
            continue
        subject = load_subject(folder, batch_size=240, device=device)
        requests, conditions = demo_requests(), [Beside("shape")]
        refusals(subject, requests[:8], conditions)  # warms up
        guards = {name: vg.build_guard(name, **GUARD_SETTINGS[model].get(name, {})) for name in DEMO_GUARDS}
        alone = 0.0
        for name, guard in {"unguarded": None, **guards}.items():
            guard = guard.fit(subject, vg.load_anchors()) if guard else None
            synchronize(device)
            begin = time.perf_counter()
            figures = refusals(subject, requests, conditions, guard)
            took = time.perf_counter() - begin
            alone = alone or took
            found = {key.split(",")[0]: in_words(figures[key]).strip() for key in figures}
            yield {"model": model, "guard": name, **found, "seconds": round(took, 2), "ratio": round(took / alone, 3)}


PARTS = {part.__name__: part for part in (same, overhead, memory, fit, waits, compiled, demo)}
