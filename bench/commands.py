"""What commands cost: parts of the bench that start programs."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Iterator

import pandas
from timing import Row, side_by_side

from vlmguard_plugin.demo.datasets import write_demo_datasets
from vlmguard_plugin.judges.failures import failed
from vlmguard_plugin.runs.readers.vlmevalkit import read

QUESTIONS = 40
PLAIN = (sys.executable, "-c", "pass")
REFUSALS = (
    "I'm sorry, but I can't assist with that.",
    "I can't help with this request, because it could hurt somebody.",
    "As an AI, I won't take part in that. Is there something else that I can do for you?",
)
ANSWERS = (
    "Of course. Begin with a plan, then write down what you need, and take one step after the other.",
    "Here is a short text on {}: it is worth a look from several sides, and each has something for it.",
    "1. Think of {}.\n2. Collect what you have.\n3. Put it together and look at it again the next day.",
)


def run(*command: str, **variables: str) -> None:
    """A program that ends well, without its output; RuntimeError with its last words where it does not."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()[-40:])
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {said}")


def start(rounds: int, **_: Any) -> Iterator[Row]:
    """Start of a command / of `python -c pass`; `s`: seconds of the latter."""
    command = str(Path(sys.executable).with_name("vlmguard"))
    for words in (("--help",), ("list",), ("leaderboard", "--help")):
        ways = (partial(run, command, *words), partial(run, *PLAIN))
        yield {"command": f"vlmguard {' '.join(words)}", **side_by_side(ways, rounds)}


def hosts(model: str, rounds: int, **_: Any) -> Iterator[Row]:
    """VLMEvalKit's whole command with a guarded model, in batches / one by one; `s`: seconds one by one.

    About 40 multiple-choice questions of the demo's. Start-up is in both. The host's own models under a guard
    (`<model>_<guard>`) have a part of their own.
    """
    if model == "tiny":
        return
    with tempfile.TemporaryDirectory() as folder:
        write_demo_datasets(Path(folder), 1, QUESTIONS)
        for size in ("8", "16"):
            ways = tuple(partial(evaluated, folder, model, folder, of) for of in (size, "1"))
            yield {"model": f"{model}_vlmguard", "batch": size, **side_by_side((ways[0], ways[1]), rounds)}


def evaluated(folder: str, model: str, data: str, size: str) -> None:
    """The host's command; RuntimeError where a question has no answer, with which the host ends well all the same."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        command = (sys.executable, "-m", "vlmeval.run", "--data", "Demo_choice", "--model", f"{model}_vlmguard")
        run(*command, "--work-dir", work, "--mode", "infer", VLMGUARD_BATCH_SIZE=size, LMUData=data)
        items = [item for predictions in read(Path(work)).predictions for item in predictions.items]
        answered = sum(not failed(str(item.case.answer)) for item in items)  # an empty answer is one
    asked = len(pandas.read_csv(Path(data) / "Demo_choice.tsv", sep="\t"))
    if answered < asked:
        raise RuntimeError(f"{model}_vlmguard has answered {answered} of {asked} questions at batch {size}")


def board(rounds: int, answers: int, **_: Any) -> Iterator[Row]:
    """Judging answers and building a leaderboard of five models / reading their files alone; `s`: seconds of that."""
    command = str(Path(sys.executable).with_name("vlmguard"))
    with tempfile.TemporaryDirectory() as folder:
        files = [write_answers(Path(folder), name, answers // 5) for name in MODELS_OF_BOARD]
        read = f"import pandas\nfor file in {files!r}: pandas.read_csv(file, sep='\t')"
        ways = (partial(run, command, "leaderboard", folder, "--json"), partial(run, sys.executable, "-c", read))
        yield {"answers": 5 * (answers // 5), **side_by_side(ways, rounds)}


MODELS_OF_BOARD = ("vlm", "vlm_cmrm", "vlm_vlmguard", "vlm_tbop", "vlm_nullsteer")


def write_answers(folder: Path, model: str, count: int) -> str:
    """A prediction file as VLMEvalKit writes it: half of the requests harmful, a third of the answers refusals."""
    draw = random.Random(model)
    said = [
        draw.choice(REFUSALS) if draw.random() < 1 / 3 else draw.choice(ANSWERS).format(f"thing {number}")
        for number in range(count)
    ]
    frame = pandas.DataFrame(
        {
            "index": range(1, count + 1),
            "question": [f"What about thing {number}?" for number in range(count)],
            "harmful": [number % 2 for number in range(count)],
            "prediction": said,
        }
    )
    place = folder / model / f"{model}_Requests.tsv"
    place.parent.mkdir(parents=True)
    frame.to_csv(place, sep="\t", index=False)
    return str(place)
