"""Times of two ways to do the same, one after the other in turn, so that what the machine does beside falls on both."""

from __future__ import annotations

import gc
import resource
import statistics
import time
from typing import Any, Callable, Iterator

from scipy.stats import quantile_test

Row = dict[str, Any]
Way = Callable[[], Any]
TIMES = ("s", "wall", "fastest", "CPU")
"""Columns of `side_by_side`."""


def cpu_seconds() -> float:
    """CPU time of this process, all threads, and of the programs that it has waited for."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def in_turn(ways: tuple[Way, Way], rounds: int, wait: Way | None = None) -> Iterator[tuple[list[float], list[float]]]:
    """([wall, wall], [CPU, CPU]) seconds of the two ways, a pair a round; the first round warms up and is left out.

    wait: called before each time is taken, until the device is done.
    """
    gc.collect()
    gc.disable()  # a collection takes as long as several tokens
    try:
        for turn in range(rounds + 1):
            wall, cpu = [0.0, 0.0], [0.0, 0.0]
            for way in (0, 1) if turn % 2 else (1, 0):
                if wait:
                    wait()
                began, used = time.perf_counter(), cpu_seconds()
                ways[way]()
                if wait:
                    wait()
                wall[way], cpu[way] = time.perf_counter() - began, cpu_seconds() - used
            if turn:
                yield wall, cpu
    finally:
        gc.enable()


def side_by_side(ways: tuple[Way, Way], rounds: int, wait: Way | None = None) -> Row:
    """Ratios of the first way to the second: wall time, and CPU time where a machine is shared."""
    pairs = list(in_turn(ways, rounds, wait))
    walls, cpus = ([pair[clock] for pair in pairs] for clock in (0, 1))
    return {
        "s": f"{statistics.median(second for _, second in walls):.3g}",
        "wall": spread([first / second for first, second in walls]),
        "fastest": f"{min(first for first, _ in walls) / min(second for _, second in walls):.3f}",
        "CPU": spread([first / second for first, second in cpus]),
    }


def spread(ratios: list[float]) -> str:
    """Median (95% interval of it from six on, else least to most)."""
    low, high = min(ratios), max(ratios)
    if len(ratios) >= 6:
        low, high = quantile_test(ratios, p=0.5).confidence_interval(0.95)
    return f"{statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"


def table(rows: list[Row]) -> str:
    """Rows as a Markdown table."""
    heads = list(rows[0])
    lines = [" | ".join(heads), " | ".join("---" for _ in heads)]
    lines += [" | ".join(str(row[head]) for head in heads) for row in rows]
    return "\n".join(f"| {line} |" for line in lines) + "\n"
