"""Data sets' original files from their authors' places, once their licence is accepted.

A module of its own, so that what only lists or prepares data sets loads nothing that speaks to the network.
"""

from __future__ import annotations

from pathlib import Path

from vlmguard_plugin.benchmarks import BENCHMARKS, BenchmarkError, find_benchmark
from vlmguard_plugin.benchmarks.condition import split_condition
from vlmguard_plugin.benchmarks.download import accept, fetch, read_record
from vlmguard_plugin.files import cache_directory


def download_folder(name: str) -> Path:
    """Where the files of a data set are downloaded to: names with the same files share the folder of the first."""
    benchmark = find_benchmark(name)
    if not benchmark.downloads:
        raise BenchmarkError(
            f"{name} can't be downloaded by this command; get it from {benchmark.source} "
            "and give its path with --source"
        )
    first = next(known for known in BENCHMARKS if BENCHMARKS[known].downloads == benchmark.downloads)
    split = split_condition(first)
    return cache_directory() / "benchmarks" / (split[0] if split else first)


def licence_accepted(name: str) -> bool:
    """Whether the user has accepted the licence of a data set's files, as it is now, in an earlier download."""
    return read_record(download_folder(name))["accepted"] == find_benchmark(name).licence


def accept_licence(name: str) -> None:
    """Note that the user accepts the licence of a data set's files."""
    accept(download_folder(name), find_benchmark(name).licence)


def download_source(name: str, progress: bool = False) -> Path:
    """Download a data set's files from its authors' place, unless they are there; returns the source for `prepare`.

    Who calls this accepts the licence, find_benchmark(name).licence. progress: show bars on stderr.
    """
    benchmark = find_benchmark(name)
    return benchmark.source_in(fetch(benchmark.downloads, download_folder(name), progress))
