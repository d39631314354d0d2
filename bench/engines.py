"""What an engine gives and costs beside transformers: states, answers and tokens a CPU second, guarded and not.

    python bench/engines.py demo_vlm --guard vlm_guard --dtype float32

One process, one thread a core as $OMP_NUM_THREADS says; CPU seconds are those of this process, so that others on the
machine count little. On a GPU they say little too; the wall's seconds stand beside.
"""

from __future__ import annotations

import time
from typing import Any

import click
from PIL import Image

from vlmguard_plugin.environment import ENGINES
from vlmguard_plugin.hosts.guard_spec import GuardSpec
from vlmguard_plugin.query import Query

WORDS = ("cake", "kite", "boat", "lamp", "chair", "song", "fence", "letter", "bike", "river", "coat", "clock")
COLOURS = ("red", "green", "blue", "yellow", "white", "black", "gray", "pink", "brown", "orange", "purple", "navy")


def queries(count: int) -> list[Query]:
    """Requests of many lengths, every other one beside a picture."""
    kinds = (
        "What is a {}?",
        "How do people make a {} at home, step by step?",
        "Write two sentences about a {} and me.",
    )
    made = []
    for number in range(count):
        text = kinds[number % 3].format(WORDS[number // 2 % 12]) + " Say it well." * (number // 24)
        picture = Image.new("RGB", (224, 224), COLOURS[number // 2 % 12])
        made.append(Query(text, (picture,) if number % 2 else ()))
    return made


@click.command()
@click.argument("model")
@click.option("--guard", default="vlm_guard", show_default=True)
@click.option("--dtype", default="float32", show_default=True)
@click.option("--prompts", default=24, show_default=True)
@click.option("--tokens", default=32, show_default=True)
@click.option("--batch", default=12, show_default=True, help="Of transformers.")
@click.option("--compiled", is_flag=True, help="Let vLLM compile the model.")
def main(model: str, guard: str, dtype: str, prompts: int, tokens: int, batch: int, compiled: bool) -> None:
    """Print a row for each engine and guard, and how far vLLM's agree with transformers'."""
    asked, answers, states = queries(prompts), {}, {}
    for engine in ENGINES:
        options: dict[str, Any] = {"enforce_eager": not compiled} if engine == "vllm" else {}
        size = batch if engine == "transformers" else None
        spec = GuardSpec(model, guard, dtype=dtype, engine=engine, batch_size=size, engine_options=options)
        subject = spec.load_subject()
        fitted = spec.fitted_guard(subject)
        states[engine] = subject.record(asked)
        fitted.respond(subject, asked[:2], max_new_tokens=2)
        for name in ("none", guard):
            counted, cpu, wall = subject.generated_tokens, time.process_time(), time.perf_counter()
            given = {"max_new_tokens": tokens}
            answers[engine, name] = (
                subject.generate(asked, **given) if name == "none" else fitted.respond(subject, asked, **given)
            )
            count = subject.generated_tokens - counted
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            print(
                f"{dtype} {engine} {name}: {count} tokens, {count / cpu:.1f} a CPU second, {count / wall:.1f} a second"
            )
    one, other = (states[engine] for engine in ENGINES)
    print(f"{dtype} states: largest difference {float((one - other).abs().max() / one.abs().max()):.1e} of the largest")
    for name in ("none", guard):
        equal = sum(a == b for a, b in zip(*(answers[engine, name] for engine in ENGINES)))
        print(f"{dtype} {name}: {equal} of {prompts} answers equal")


if __name__ == "__main__":
    main()
