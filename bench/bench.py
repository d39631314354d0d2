"""What guards and commands cost, side by side in one run: a table for each part.

    make bench                                              # docs/benchmarks.md and benchmarks.json
    python bench/bench.py --parts generation --guards cmrm --batches 8

On a GPU use bench/gpu_check.py. Figures are printed, and the files written, as they come.
"""

from __future__ import annotations

import os
import platform
import sys
from datetime import date
from pathlib import Path

import click
import torch
import transformers
from calibrations import calibration
from commands import board, hosts, start
from costs import EDITING, MODELS, OTHER, check_known, fit, generation, memory
from engines import engines
from host_models import own_models
from report import Report, batch_sizes
from timing import Row, table

import vlmguard_plugin as vg

PARTS = {
    part.__name__: part for part in (start, generation, fit, memory, calibration, hosts, own_models, board, engines)
}
OF_ALL_GUARDS = ("generation",)
MEMORY_GUARDS = ("vlm_guard", "cmrm", "tbop")


def machine() -> Row:
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "vlmguard_plugin": vg.__version__,
        "date": date.today().isoformat(),
    }


def processor() -> str:
    """The processor's name, and whether it multiplies matrices of bfloat16 in hardware."""
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    names = [line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")]
    return (names[0] if names else platform.machine()) + (", AMX" if "amx_bf16" in told else "")


@click.command()
@click.option("--parts", default=",".join(PARTS), show_default=True)
@click.option("--model", type=click.Choice(MODELS), default="demo_vlm", show_default=True)
@click.option("--guards", default=",".join(EDITING + OTHER), show_default=True)
@click.option("--batches", default="1,8,32", show_default=True)
@click.option("--tokens", type=click.IntRange(1), default=32, show_default=True, help="New tokens of an answer.")
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Pairs of times, after one that warms up."
)
@click.option("--answers", type=click.IntRange(1), default=50_000, show_default=True, help="Of board.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--markdown", "markdown_file", type=click.Path(dir_okay=False, path_type=Path))
def main(
    parts: str,
    model: str,
    guards: str,
    batches: str,
    tokens: int,
    rounds: int,
    answers: int,
    json_file: Path | None,
    markdown_file: Path | None,
) -> None:
    """Measure what guards and commands cost, as ratios side by side."""
    chosen = tuple(guards.split(","))
    check_known(parts.split(","), PARTS, chosen)
    sizes = batch_sizes(batches)
    given = {"model": model, "batches": sizes, "tokens": tokens, "rounds": rounds, "answers": answers}
    command = f"python bench/bench.py {' '.join(sys.argv[1:])}".strip()
    facts = {"machine": machine(), "command": command}
    page = [HEAD, table([facts["machine"]]), f"    {command}\n"]
    report = Report(facts, page, json_file, markdown_file)
    click.echo("\n".join(page[1:]))
    for name in parts.split(","):
        part = PARTS[name]
        of = chosen if name in OF_ALL_GUARDS else tuple(guard for guard in chosen if guard in EDITING)
        of = tuple(guard for guard in of if guard in MEMORY_GUARDS) if name == "memory" else of
        title = name.replace("_", " ").capitalize()
        report.part(name, title, paragraphs(part.__doc__ or ""), part(**given, guards=of))
    report.end()


def paragraphs(text: str) -> str:
    """A docstring without its indentation."""
    return "\n".join(line.strip() for line in text.strip().splitlines()) + "\n"


HEAD = """# What guards and commands cost

Written by [`bench/bench.py`](../bench/bench.py) (`make bench`); on a GPU: [benchmarks-gpu.md](benchmarks-gpu.md).
Ratios are of two ways to do the same, one after the other in turn: the median of the pairs (from six pairs on with its
95% interval, else least to most), of wall time and of CPU time, which says more where a machine is shared. `fastest`:
the fastest of the one / the fastest of the other.
"""

if __name__ == "__main__":
    main()
