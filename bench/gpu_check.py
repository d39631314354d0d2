"""What guards do and cost on a GPU: one command, no network, some minutes.

    python bench/gpu_check.py --markdown docs/benchmarks-gpu.md --json gpu.json

On a machine without a GPU the same runs on the CPU with a small shape (--device cpu --shape tiny), to try the script.
Every part's figures are printed and written as soon as they are there.
"""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path

import click
import torch
import transformers
from costs import EDITING, check_known
from gpu_parts import PARTS
from random_llava import SHAPES
from report import Report, batch_sizes
from timing import Row, table

import vlmguard_plugin as vg

GOALS = (
    "vlm_guard", "cmrm", "refusal_direction", "tbop", "nullsteer", "conditional_refusal", "cmrm_sample", "shiftdc",
    "ecso",
)  # fmt: skip
"""Guards whose cost there is a goal for."""
OVERHEAD = 0.6
"""Share of the minutes by which the overhead is measured, as far as it comes: the other parts need the rest."""


def machine(device: str) -> Row:
    return {
        "device": torch.cuda.get_device_name() if device != "cpu" else platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "vlmguard_plugin": vg.__version__,
    }


@click.command()
@click.option("--device", default="cuda", show_default=True)
@click.option("--shape", "shape_name", type=click.Choice(list(SHAPES)), default="llava-1.5-7b", show_default=True)
@click.option("--parts", default=",".join(PARTS), show_default=True)
@click.option("--guards", default=",".join(GOALS), show_default=True)
@click.option("--batches", default="1,8,32,64", show_default=True)
@click.option("--tokens", type=click.IntRange(1), default=8, show_default=True, help="New tokens of a timed answer.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--minutes",
    type=click.FloatRange(0),
    default=8.0,
    show_default=True,
    help="Parts that would begin later are left out, and named.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--markdown", "markdown_file", type=click.Path(dir_okay=False, path_type=Path))
def main(device, shape_name, parts, guards, batches, tokens, rounds, minutes, json_file, markdown_file):
    """Check the guards on a GPU and measure what they cost there."""
    begin = time.perf_counter()
    if device != "cpu" and not torch.cuda.is_available():
        raise click.ClickException(f"--device is {device!r} but torch sees no GPU; give --device cpu --shape tiny")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    chosen = tuple(guards.split(","))
    check_known(parts.split(","), PARTS, chosen)
    given = {
        "device": device,
        "shape": SHAPES[shape_name],
        "dtype": torch.bfloat16,
        "batches": batch_sizes(batches),
        "tokens": tokens,
        "rounds": rounds,
        "until": begin + 60 * minutes * OVERHEAD,
    }
    editing = tuple(name for name in chosen if name in EDITING)
    facts = {"machine": machine(device), "command": " ".join(sys.argv)}
    page = ["# Figures from a GPU\n", table([facts["machine"]]), f"Command: `python {' '.join(sys.argv)}`\n"]
    report = Report(facts, page, json_file, markdown_file)
    print("\n".join(page), flush=True)
    for name in parts.split(","):
        if time.perf_counter() - begin > 60 * minutes:
            report.leave_out(name)
            continue
        started, part = time.perf_counter(), PARTS[name]
        rows = part(**given, guards=chosen if name == "overhead" else editing)
        report.part(name, name, part.__doc__.strip() + "\n", rows)
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
        if device != "cpu":
            torch.cuda.empty_cache()
    if report.found["left out"]:
        print(f"left out, after {minutes} minutes: {', '.join(report.found['left out'])}", flush=True)
    report.end()


if __name__ == "__main__":
    main()
