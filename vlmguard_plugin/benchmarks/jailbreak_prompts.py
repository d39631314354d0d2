"""Jailbreak prompts that people wrote for text models, beside any pictures or alone, with forbidden questions or not.

Source: the authors' repository, TrustAIRLab/JailbreakLLMs (MIT), folder `data`: `jailbreak_prompts.csv` (666, columns
prompt, jailbreak, platform, source, community_name, ...) and `questions.csv` (390, columns content_policy_name and
question). CMRM put 330 jailbreak prompts beside pictures of COCO; which ones is not known, so n=330 is not its set.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Callable, Mapping

from vlmguard_plugin.benchmarks.benchmark import Benchmark, Download
from vlmguard_plugin.benchmarks.picture import check_picture, pictures_in
from vlmguard_plugin.benchmarks.row import BenchmarkError, Reading, Row, SourceMissing
from vlmguard_plugin.benchmarks.table import collect, need_columns, read_csv, read_lines, whole

FILE = "jailbreak_prompts.csv"
PLACEHOLDER = re.compile(r"\[(?:insert|your) prompt here\\?\]", re.IGNORECASE)
"""Where a prompt says that the question goes. Others, as "[insert x]", are part of a prompt's own examples."""


def read_pictured(
    source: Path, images: Path | None = None, questions: Path | None = None, n: int | None = None
) -> Reading:
    """Jailbreak prompts, each beside a picture: prompt i gets picture i of the folder, sorted by name, and after
    the last one the first again (our convention).

    images: a folder of pictures, for instance COCO's val2017. Else as `read_text_only`.
    """
    if images is None:
        raise BenchmarkError(
            "JailbreakPrompts has no pictures of its own; give images, a folder of any, or take JailbreakPrompts_text"
        )
    pictures = pictures_in(Path(images))

    def picture_of(number: int) -> tuple[Path, ...]:
        picture = pictures[number % len(pictures)]
        check_picture(picture)
        return (picture,)

    return read_prompts(Path(source), questions, n, picture_of)


def read_text_only(source: Path, questions: Path | None = None, n: int | None = None) -> Reading:
    """Jailbreak prompts as text alone, with the ids that they have beside pictures.

    source: jailbreak_prompts.csv, or a folder that holds it or the folder data with it; ids are the prompts' numbers,
    from 1. n: the first n prompts; default: all. questions: a csv with a column question, or a text file with one a
    line; prompt i gets question i, and after the last one the first again (our convention): in the place that the
    prompt marks by "[insert prompt here]", else after the prompt, as in the authors' paper. Without questions the
    prompt stands alone.
    """
    return read_prompts(Path(source), questions, n, lambda number: ())


def read_prompts(
    source: Path, questions: Path | None, n: int | None, picture_of: Callable[[int], tuple[Path, ...]]
) -> Reading:
    """Rows of the csv. picture_of: the pictures that go with a prompt's number, from 0."""
    if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
        raise BenchmarkError(f"n is {n!r}; give a whole number of prompts, at least 1")
    path = next((base / FILE for base in (source, source / "data") if (base / FILE).is_file()), source)
    if path.is_dir():
        raise SourceMissing(f"no {FILE} in {source} or its folder data; give that file")
    columns, records = read_csv(path)
    need_columns(path, columns, ("prompt",))
    asked = read_questions(Path(questions)) if questions is not None else [("", "")]
    return collect(
        path,
        (
            (line, partial(row_of, number, cells, *asked[number % len(asked)], picture_of))
            for number, (line, cells) in enumerate(records[:n])
        ),
    )


def read_questions(path: Path) -> list[tuple[str, str]]:
    """[(question, policy that forbids it)] of a csv or text file."""
    if path.suffix.lower() != ".csv":
        return [(text, "") for _, text in read_lines(path)]
    columns, records = read_csv(path)
    need_columns(path, columns, ("question",))
    return [
        (cells["question"], cells.get("content_policy_name", "")) for _, cells in records if whole(cells)["question"]
    ]


def row_of(
    number: int, cells: Mapping[str, str], question: str, policy: str, picture_of: Callable[[int], tuple[Path, ...]]
) -> Row:
    """One prompt, its number from 0, with a question or ("") alone."""
    if whole(cells).get("jailbreak", "").lower() not in ("", "true", "1"):
        raise BenchmarkError(f"jailbreak is {cells['jailbreak']!r}; only jailbreak prompts are read")
    images = picture_of(number)
    return Row(
        id=str(number + 1),
        request=combined(cells["prompt"], question),
        images=images,
        category=policy or cells.get("community_name", ""),
        harmful=True,
        pair=str(number + 1),
        condition="picture" if images else "text",
        intent=question,
    )


def combined(prompt: str, question: str) -> str:
    """A prompt with the question in the places that it marks, else after it."""
    if not question:
        return prompt
    if PLACEHOLDER.search(prompt):
        return PLACEHOLDER.sub(lambda _: question, prompt)
    return f"{prompt}\n{question}"


AUTHORS = "https://raw.githubusercontent.com/TrustAIRLab/JailbreakLLMs/2dbd7bbc25f1b156552678f451bddbc787cd679f/data/"
jailbreak_prompts = partial(
    Benchmark,
    kind="safety",
    licence="MIT; the pictures' own",
    harmful="every row (our convention: a prompt alone asks for the rules to be dropped, not yet for harm)",
    attack="the answer plays the part that the prompt asks for, or, with a question, answers it",
    judge="LLaMA-3-8B-Instruct in CMRM; in the prompts' own paper a language model that labels answers",
    downloads=(
        Download(AUTHORS + FILE, FILE, "6f0ccbea6c0118d4d563e885ae4c459980943c44b57fd66d6fbe7c869ab61e6b"),
        Download(
            AUTHORS + "questions.csv",
            "questions.csv",
            "0d1e5cae6eb755f31103809ee45cfc537e9e2d92b5171f08704bae7de82081c3",
        ),
    ),
)
SOURCE = "github.com/TrustAIRLab/JailbreakLLMs, data/jailbreak_prompts.csv"

BENCHMARKS = {
    "JailbreakPrompts": jailbreak_prompts(
        read_pictured,
        source=f"{SOURCE}; pictures from any folder",
        changed="which picture and which question go with a prompt: CMRM does not say",
    ),
    "JailbreakPrompts_text": jailbreak_prompts(
        read_text_only, source=SOURCE, changed="which question goes with a prompt"
    ),
}
