"""What an engine gives and costs beside transformers: states, answers and tokens a CPU second, guarded and not.

    python bench/engines.py demo_vlm --guard vlm_guard --dtype float32

One process, one thread a core as $OMP_NUM_THREADS says; CPU seconds are those of this process, so that others on the
machine count little. On a GPU they say little too; the wall's seconds stand beside. Rows come as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib.util import find_spec
from typing import Any, Iterator

import click
from PIL import Image
from timing import Row

from vlmguard_plugin.environment import ENGINES, TRANSFORMERS, VLLM
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


def engines(model: str, guards: tuple[str, ...], tokens: int, **_: Any) -> Iterator[Row]:
    """vLLM beside transformers (batches of 12), 24 prompts, half of them beside a picture, in the device's precision.

    states apart: largest difference, over the largest state. answers equal: to those of transformers, of 24; in
    bfloat16 the engines round at other places, so some take another word. Nothing without vLLM, or of the tiny model,
    whose heads are too narrow for it. docs/vllm.md has more.
    """
    if model == "tiny" or find_spec("vllm") is None:
        return
    guard = guards[0] if guards else "none"
    words = (sys.executable, __file__, model, "--guard", guard, "--tokens", str(tokens))
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)  # vLLM changes the process it runs in
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            yield dict(json.loads(line))


def measured(
    model: str, guard: str, dtype: str | None, prompts: int, tokens: int, batch: int, compiled: bool
) -> Iterator[Row]:
    """A row for each engine, without a guard and under one."""
    asked, answers, states = queries(prompts), {}, {}
    for engine in ENGINES:
        options: dict[str, Any] = {"enforce_eager": not compiled} if engine == VLLM else {}
        size = batch if engine == TRANSFORMERS else None
        spec = GuardSpec(model, guard, dtype=dtype, engine=engine, batch_size=size, engine_options=options)
        subject = spec.load_subject()
        fitted = spec.fitted_guard(subject)
        states[engine] = subject.record(asked)
        fitted.respond(subject, asked[:2], max_new_tokens=2)
        for name in dict.fromkeys(("none", guard)):
            counted, cpu, wall = subject.generated_tokens, time.process_time(), time.perf_counter()
            given = {"max_new_tokens": tokens}
            answers[engine, name] = (
                subject.generate(asked, **given) if name == "none" else fitted.respond(subject, asked, **given)
            )
            count = subject.generated_tokens - counted
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            own, other = states[TRANSFORMERS], states[engine]
            apart = float((own - other).abs().max() / own.abs().max())
            same = sum(a == b for a, b in zip(answers[TRANSFORMERS, name], answers[engine, name]))
            yield {
                "dtype": str(subject.dtype).removeprefix("torch."),
                "engine": engine + (", compiled" if compiled and engine == VLLM else ""),
                "guard": name,
                "tokens": count,
                "a CPU second": f"{count / cpu:.1f}",
                "a second": f"{count / wall:.1f}",
                "states apart": "" if engine == TRANSFORMERS else f"{apart:.0e}",
                "answers equal": "" if engine == TRANSFORMERS else same,
            }


@click.command()
@click.argument("model")
@click.option("--guard", default="vlm_guard", show_default=True)
@click.option("--dtype", help="Default: what the device computes well.")
@click.option("--prompts", default=24, show_default=True)
@click.option("--tokens", default=32, show_default=True)
@click.option("--batch", default=12, show_default=True, help="Of transformers.")
@click.option("--compiled", is_flag=True, help="Let vLLM compile the model.")
def main(model: str, guard: str, dtype: str | None, prompts: int, tokens: int, batch: int, compiled: bool) -> None:
    """Print a row for each engine and guard, and how far vLLM's agree with transformers'."""
    for row in measured(model, guard, dtype, prompts, tokens, batch, compiled):
        click.echo(json.dumps(row))


if __name__ == "__main__":
    main()
