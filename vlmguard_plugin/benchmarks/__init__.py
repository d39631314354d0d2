"""Benchmarks: original files -> common rows -> the host's TSV. The package ships no foreign data.

prepare("FigStep_Tiny", "FigStep/data")             # writes $LMUData/FigStep_Tiny.tsv
prepare("MaliciousInstruct_blank", "MaliciousInstruct.txt")
prepare("Requests_mine_noise", "mine.csv")
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping

from . import figstep, mcq, requests
from .picture import CONDITIONS
from .row import BadRow, BenchmarkError, Reading, Row, SourceMissing
from .tsv import KINDS, lmu_data, read_sidecar, read_tsv, write_tsv

__all__ = [
    "BENCHMARKS", "BadRow", "Benchmark", "BenchmarkError", "KINDS", "Prepared", "Reading", "Row", "SourceMissing",
    "find_benchmark", "lmu_data", "prepare", "read_sidecar", "read_tsv", "write_tsv",
]  # fmt: skip


@dataclass(frozen=True)
class Benchmark:
    """How one data set is read.

    read: original files -> Reading. kind: "safety", "mcq" or "open". source: where its authors publish it.
    licence: of the original data. harmful: how harmful rows are known. fixed: options that its name settles.
    """

    read: Callable[..., Reading]
    kind: str
    source: str
    licence: str
    harmful: str
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def options(self) -> list[str]:
        """Names of the options that `prepare` takes for this data set."""
        return [name for name in inspect.signature(self.read).parameters if name != "source" and name not in self.fixed]


FIGSTEP = dict(kind="safety", source="github.com/ThuCCSLab/FigStep, folder data", licence="MIT", harmful="every row")
MALICIOUS = dict(
    kind="safety",
    source="github.com/Princeton-SysML/Jailbreak_LLM, MaliciousInstruct.txt",
    licence="none stated by its authors",
    harmful="every row",
)

BENCHMARKS: dict[str, Benchmark] = {
    "FigStep": Benchmark(figstep.read, **FIGSTEP, fixed={"tiny": False}),
    "FigStep_Tiny": Benchmark(figstep.read, **FIGSTEP, fixed={"tiny": True}),
    **{
        f"MaliciousInstruct_{condition}": Benchmark(
            requests.read, **MALICIOUS, fixed={"condition": condition, "harmful": True}
        )
        for condition in ("text", *CONDITIONS)
    },
    "ScienceQA_Local": Benchmark(
        mcq.read_scienceqa,
        "mcq",
        "github.com/lupantech/ScienceQA, as json with a folder of images",
        "CC BY-NC-SA 4.0",
        "no row",
    ),
    "MMBench_Samples": Benchmark(
        mcq.read_mmbench, "mcq", "github.com/open-compass/MMBench, folder samples", "Apache-2.0", "no row"
    ),
}
"""Data sets with a name of their own. `Requests_<NAME>_<condition>` and `MCQ_<NAME>` take any file of the user's."""

OWN_REQUESTS = re.compile(rf"Requests_[A-Za-z0-9_-]+_(?P<condition>text|{'|'.join(CONDITIONS)})")
OWN_MCQ = re.compile(r"MCQ_[A-Za-z0-9_-]+")


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
    own = OWN_REQUESTS.fullmatch(name)
    if own:
        marks = "column harmful or label, or the option harmful"
        return Benchmark(
            requests.read, "safety", "the user's file", "the user's", marks, {"condition": own["condition"]}
        )
    if OWN_MCQ.fullmatch(name):
        return Benchmark(mcq.read_csv_file, "mcq", "the user's file", "the user's", "no row")
    own_names = f"Requests_<NAME>_<{'|'.join(('text', *CONDITIONS))}>, MCQ_<NAME>"
    raise BenchmarkError(f"benchmark {name!r} is unknown; choose one of {', '.join(BENCHMARKS)}, {own_names}")


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
    if not reading.rows:
        raise BenchmarkError(
            f"none of the {len(reading.bad)} rows of {source} can be used; the first: {reading.bad[0]}"
        )
    folder = Path(out_dir) if out_dir is not None else lmu_data()
    path = write_tsv(reading.rows, folder / f"{name}.tsv", benchmark.kind, benchmark.source, benchmark.licence)
    return Prepared(path, len(reading.rows), reading.bad)
