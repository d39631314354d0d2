"""Benchmarks: original files -> common rows -> the host's TSV. The package ships no foreign data.

prepare("FigStep_Tiny", "FigStep/data")             # writes $LMUData/FigStep_Tiny.tsv
prepare("AdvBench_blank", download_source("AdvBench_blank"))  # from benchmarks.sources
prepare("Requests_mine_picture", "mine.csv", images="my_pictures")
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable

from vlmguard_plugin.benchmarks import (
    ch3ef,
    figstep,
    hades,
    holisafe,
    jailbreak_prompts,
    jailbreakv,
    lvlm_safer,
    mcq,
    mis,
    mm_harmful_bench,
    mm_safetybench,
    mossbench,
    mssbench,
    msts,
    request_sets,
    requests,
    siuo,
    spa_vl,
    vlguard,
    vlsafe,
    vlsbench,
    vscbench,
    xstest,
)  # fmt: skip
from vlmguard_plugin.benchmarks.benchmark import Benchmark, Download
from vlmguard_plugin.benchmarks.condition import FORM, LISTED_CONDITIONS, parse_condition
from vlmguard_plugin.benchmarks.requests import in_condition
from vlmguard_plugin.benchmarks.row import BadRow, BenchmarkError, Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.tsv import (
    KINDS,
    OF_VLMEVALKIT,
    lmu_data,
    open_prepared,
    read_sidecar,
    read_tsv,
    sidecar_path,
    write_tsv,
)
from vlmguard_plugin.reading import read_json

__all__ = [
    "BENCHMARKS", "BadRow", "Benchmark", "BenchmarkError", "Download", "KINDS", "MODULES", "Prepared", "Reading", "Row",
    "OF_VLMEVALKIT", "SourceMissing", "describe", "find_benchmark", "grouped", "lmu_data", "open_prepared", "prepare",
    "read_sidecar", "read_tsv",
    "write_tsv",
]  # fmt: skip


MODULES = (
    figstep, mm_safetybench, mm_harmful_bench, vlsafe, jailbreakv, jailbreak_prompts, request_sets, xstest, holisafe,
    siuo, mssbench, vlsbench, mossbench, vlguard, msts, vscbench, lvlm_safer, mis, hades, spa_vl, ch3ef, mcq,
)  # fmt: skip
"""One file a benchmark (or a family that shares its format), each with its own names in `BENCHMARKS`."""

BENCHMARKS: dict[str, Benchmark] = {
    name: benchmark for module in MODULES for name, benchmark in module.BENCHMARKS.items()
}
"""Data sets with a name of their own. `Requests_<NAME>_<condition>` and `MCQ_<NAME>` take any file of the user's."""

OWN_REQUESTS = re.compile(r"Requests_[A-Za-z0-9_-]+")
USERS_REQUESTS = Benchmark(
    requests.read, "safety", "the user's file", "the user's", "column harmful or label, or the option harmful"
)
OWN_MCQ = re.compile(r"MCQ_[A-Za-z0-9_-]+")
OWN_NAMES = "Requests_<NAME>_<condition>, MCQ_<NAME>"


@dataclass(frozen=True)
class Prepared:
    """A written data set. path: its TSV. rows: how many it holds. bad: the rows left out, with reasons."""

    path: Path
    rows: int
    bad: tuple[BadRow, ...]


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of a data set's name; BenchmarkError lists the names there are."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    stem, _, condition = name.rpartition("_")
    known = USERS_REQUESTS if OWN_REQUESTS.fullmatch(stem) else BENCHMARKS.get(f"{stem}_text")
    if known is not None and (known is USERS_REQUESTS or "condition" in known.fixed):
        return in_condition(known, parse_condition(condition).name)
    if OWN_MCQ.fullmatch(name):
        return Benchmark(mcq.read_csv_file, "mcq", "the user's file", "the user's", "no row")
    near = difflib.get_close_matches(name, BENCHMARKS, n=3)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    labels = ", ".join(label for label, _ in grouped(BENCHMARKS))
    raise BenchmarkError(
        f"benchmark {name!r} is unknown; {meant}{'Choose' if near else 'choose'} one of {labels}, {OWN_NAMES} "
        f"(condition: {FORM})"
    )


def grouped(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Names that differ in their condition alone, together: [(as one name, the names)].

    "AdvBench_<condition>" stands for a set that has every condition, "X_{text,blank}" for one that has some.
    """
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        stem, _, condition = name.rpartition("_")
        if stem and condition in LISTED_CONDITIONS:
            groups.setdefault(stem + "_", {})[condition] = name
        else:
            groups[name] = {"": name}
    labelled = []
    for stem, members in groups.items():
        if len(members) == 1:
            label = next(iter(members.values()))
        elif set(members) == set(LISTED_CONDITIONS):
            label = f"{stem}<condition>"
        else:
            label = f"{stem}{{{','.join(members)}}}"
        labelled.append((label, list(members.values())))
    return labelled


def describe(name: str) -> dict[str, Any]:
    """All that is known of a data set, ready for JSON. rows: as its sidecar says, None where it is not prepared."""
    benchmark = find_benchmark(name)
    rows = rows_ready(name)
    return {
        "name": name,
        "kind": benchmark.kind,
        "ready": rows is not None,
        "rows": rows,
        "licence": benchmark.licence,
        "harmful": benchmark.harmful,
        "downloadable": bool(benchmark.downloads),
        "source": benchmark.source,
        "attack": benchmark.attack,
        "judge": benchmark.judge,
        "changed": benchmark.changed,
        "options": benchmark.options(),
        "groups": {group: list(categories) for group, categories in benchmark.groups.items()},
        "downloads": [download.url for download in benchmark.downloads],
    }


def rows_ready(name: str) -> int | None:
    """How many rows the prepared data set in $LMUData has, by its sidecar; None where it is not there or damaged."""
    path = lmu_data() / f"{name}.tsv"
    if not path.is_file() or not sidecar_path(path).is_file():
        return None
    try:
        facts = read_json(sidecar_path(path))
    except ValueError:
        return None
    rows = facts.get("rows") if isinstance(facts, dict) else None
    return rows if isinstance(rows, int) else None


def prepare(name: str, source: str | Path, out_dir: str | Path | None = None, **options: Any) -> Prepared:
    """Turn a benchmark's original files into OUT_DIR/NAME.tsv (and its sidecar) for VLMEvalKit.

    source: the original file or folder. out_dir: $LMUData where None. options: as the benchmark's reader takes.
    Rows that can't be used are left out and reported; BenchmarkError where none is left.
    """
    benchmark = find_benchmark(name)
    for option in options:
        if option not in benchmark.options():
            known = ", ".join(benchmark.options()) or "no options"
            raise BenchmarkError(f"{name} has no option {option!r}; it takes {known}")
    if not Path(source).exists():
        raise SourceMissing(f"{source} is not there; get {name} from {benchmark.source} and give its path")
    reading = benchmark.read(Path(source), **benchmark.fixed, **options)
    if not reading.rows and not reading.bad:
        raise BenchmarkError(f"{source} holds no rows at all; give the benchmark's original file")
    if not reading.rows:
        raise BenchmarkError(
            f"none of the {len(reading.bad)} rows of {source} can be used; the first: {reading.bad[0]}"
        )
    folder = Path(out_dir) if out_dir is not None else lmu_data()
    path = write_tsv(reading.rows, folder / f"{name}.tsv", benchmark.kind, benchmark.source, benchmark.licence)
    return Prepared(path, len(reading.rows), reading.bad)
