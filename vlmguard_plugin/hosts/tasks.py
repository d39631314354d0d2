"""Prepared data sets as tasks of lmms-eval and lm-evaluation-harness: what the YAML files of task_configs call.

    python -m vlmguard_plugin.hosts.tasks

writes those files again, one for each of BENCHMARKS and OF_VLMEVALKIT; files whose name begins with an underscore are
written by hand.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from PIL import Image

from vlmguard_plugin.benchmarks import (
    BENCHMARKS,
    OF_VLMEVALKIT,
    BenchmarkError,
    SourceMissing,
    find_benchmark,
    lmu_data,
    open_prepared,
)  # fmt: skip
from vlmguard_plugin.benchmarks.condition import split_condition
from vlmguard_plugin.benchmarks.row import LETTERS, choice_prompt
from vlmguard_plugin.benchmarks.tsv import pictures_of_cell
from vlmguard_plugin.files import write_whole
from vlmguard_plugin.hosts.early_layers import FOLLOWED, VISION_LAYER, refuse_usual_features
from vlmguard_plugin.judges import exact
from vlmguard_plugin.judges.base import Case, decide
from vlmguard_plugin.judges.rules import RulesJudge
from vlmguard_plugin.query import in_mode
from vlmguard_plugin.statistics.measures import SAFETY_MEASURES, UNKNOWN, measured

if TYPE_CHECKING:
    from datasets import Dataset

HOSTS = ("lmms_eval", "lm_eval")
PREFIX = "vlmguard_"
"""Begins every task's name; the data set's name in lower case follows."""
LM_EVAL_GENERATION = "max_gen_toks: 512, do_sample: false, until: []"
"""As in the files that all tasks of lm-evaluation-harness share; a task's own arguments stand in their place."""
PLACE = "<image>"
"""Where lm-evaluation-harness puts a picture; it is replaced by the model's own marker."""
COLUMNS = ("index", "id", "question", "category", "pair", "condition", "intent", "shown", "answer")
"""Columns that a task's documents take over; "" where a set has none."""
IN_VERDICT = ("dataset", "index", "id", "question", "harmful", "category", "pair", "condition", "intent", "shown")
"""What a verdict says of its document: lmms-eval leaves the document itself out of its sample logs."""


@dataclass(frozen=True)
class DocumentsOfSet:
    """A data set of $LMUData. documents: one a row, without pictures. pictures: base64 of each row's, by index."""

    documents: tuple[dict[str, Any], ...]
    pictures: Mapping[str, Sequence[str]]


def prepared(name: str) -> DocumentsOfSet:
    """A data set by name, read once; SourceMissing or BenchmarkError says how to prepare it."""
    path = lmu_data() / f"{name}.tsv"
    if not path.is_file():
        once = (
            "let VLMEvalKit download it, or put its TSV there,"
            if name in OF_VLMEVALKIT
            else f"run `vlmguard data prepare {name} --source ...`"
        )
        raise SourceMissing(f"{name} is not prepared: there is no {path}; {once} once")
    return read_prepared(path, path.stat().st_mtime_ns)


@cache
def read_prepared(path: Path, written: int) -> DocumentsOfSet:
    """The data set of a TSV. written: when the file was, so that a new one is read again."""
    frame = open_prepared(path)
    if "id" not in frame:  # VLMEvalKit's own sets
        frame["id"] = frame["index"]
    if "harmful" not in frame and "answer" not in frame:
        raise BenchmarkError(f"{path} lacks the column harmful or answer; prepare {path.stem} again")
    cells = dict(zip(frame["index"], frame["image"])) if "image" in frame else {}
    pictures_of = {index: pictures_of_cell(cell, cells) for index, cell in cells.items()}
    documents = []
    for row in frame.to_dict("records"):
        document = {"dataset": path.stem, **{column: row.get(column, "") for column in COLUMNS}}
        if isinstance(row.get("hint"), str) and row["hint"].strip():
            document["question"] = f"{row['hint']}\n{row['question']}"
        document["harmful"] = bool(row["harmful"]) if "harmful" in row else None
        document["options"] = [row[letter] for letter in LETTERS if isinstance(row.get(letter), str)]
        document["pictures"] = len(pictures_of.get(row["index"], ()))
        documents.append(document)
    return DocumentsOfSet(tuple(documents), pictures_of)


def documents(name: str) -> Dataset:
    """A data set's documents as the hosts hold them."""
    from datasets import Dataset

    return Dataset.from_list(list(prepared(name).documents))


def lmms_eval_documents(placeholder: Dataset) -> Dataset:
    """lmms-eval's `process_docs`: the data set whose name the YAML file gives as `dataset_name`.

    placeholder: what `dataset_path` and `data_files` load, one row without meaning.
    """
    from datasets import Dataset

    try:
        return documents(placeholder.config_name)
    except (BenchmarkError, SourceMissing) as error:
        # Raised here, the host would try again for eight seconds and then report its own RetryError.
        return Dataset.from_dict({"problem": [str(error)]})


def lm_eval_documents(dataset: str, **_: Any) -> dict[str, Dataset]:
    """lm-evaluation-harness's `custom_dataset` for sets with a picture in every row."""
    rows_of_set = documents(dataset)
    bare = [document["id"] for document in rows_of_set if not document["pictures"]]
    if bare:
        raise BenchmarkError(
            f"{dataset}: rows {bare[:5]} have no picture while the task is one with pictures; "
            "the host can't mix both, so keep text-only requests in a set of their own"
        )
    return {"test": rows_of_set}


def lm_eval_text_documents(dataset: str, **_: Any) -> dict[str, Dataset]:
    """lm-evaluation-harness's `custom_dataset` for sets of text alone, which run with text-only models too."""
    rows_of_set = documents(dataset)
    if any(document["pictures"] for document in rows_of_set):
        raise BenchmarkError(f"{dataset} has pictures, which this text-only task would drop; prepare {dataset} again")
    return {"test": rows_of_set}


def request(document: Mapping[str, Any]) -> str:
    """The text put to the model, the same as on VLMEvalKit: the request, and a multiple-choice question's options."""
    if "problem" in document:
        raise BenchmarkError(document["problem"])
    refuse_usual_features(document["dataset"], FOLLOWED.by_model)  # the hosts load a model before they ask for this
    if not document["options"]:
        return document["question"]
    return choice_prompt(document["question"], document["options"])


def placed_request(document: Mapping[str, Any]) -> str:
    """The same for lm-evaluation-harness, which wants to be told where the pictures go: before the text."""
    return PLACE * document["pictures"] + request(document)


def pictures(document: Mapping[str, Any]) -> list[Image.Image]:
    """The pictures put to the model, in RGB; none for a document of text alone."""
    if not document["pictures"]:
        return []
    cells = prepared(document["dataset"]).pictures[document["index"]]
    try:
        return [as_rgb(Image.open(io.BytesIO(base64.b64decode(cell)))) for cell in cells]
    except (OSError, ValueError, SyntaxError, binascii.Error) as error:
        raise BenchmarkError(
            f"{document['dataset']}: the picture of row {document['id']!r} can't be read ({error}); prepare it again"
        ) from error


def as_rgb(picture: Image.Image) -> Image.Image:
    """The picture itself where it is RGB (it is then decoded when it is used, not before), else a converted one."""
    return picture if picture.mode == "RGB" else in_mode(picture, "RGB")


@cache
def rules() -> RulesJudge:
    """The judge of every safety task; one for all."""
    return RulesJudge()


def judge_safety(document: Mapping[str, Any], results: Sequence[str | None]) -> dict[str, Any]:
    """One answer's verdict (its label is one of judges.base.LABELS) and its part in each rate: 1 or 0, None for none.

    The rates are those of `statistics.measures`; an unknown answer is in none of them.
    """
    refuse_usual_features(document["dataset"], FOLLOWED.by_model)
    harmful = document["harmful"]
    case = Case(document["question"], results[0], harmful, document["intent"], document["shown"])
    (judgement,) = decide(rules(), [case])
    return scores(document, judgement.label, bool(harmful), SAFETY_MEASURES)


def judge_choice(document: Mapping[str, Any], results: Sequence[str | None]) -> dict[str, Any]:
    """One answer's verdict ("right", "wrong", "unparsed", which is wrong too, or "unknown") and its part in each rate.

    The rates are those of `statistics.measures`.
    """
    score = exact.judge_choice(results[0], document["answer"], dict(zip(LETTERS, document["options"])))
    return scores(document, score.label, None, ("accuracy",))


def scores(document: Mapping[str, Any], label: str, harmful: bool | None, measures: Sequence[str]) -> dict[str, Any]:
    """What a host keeps of one answer: its verdict and its part in each of several measures."""
    events = measured(label, harmful)
    return {
        "verdict": verdict(document, label),
        **{name: None if (event := events.get(name)) is None else float(event) for name in measures},
        "unknown": float(label == UNKNOWN),
    }


def lmms_eval_judge_safety(document: Mapping[str, Any], results: Sequence[str | None]) -> dict[str, Any]:
    """judge_safety for lmms-eval, where an empty answer is unknown: its models write one where they fail."""
    return judge_safety(document, [results[0] or None])


def lmms_eval_judge_choice(document: Mapping[str, Any], results: Sequence[str | None]) -> dict[str, Any]:
    """judge_choice for lmms-eval, in the same way."""
    return judge_choice(document, [results[0] or None])


def verdict(document: Mapping[str, Any], label: str) -> dict[str, Any]:
    """What the hosts' sample logs say of one answer: its label, and which document it belongs to."""
    return {**{name: document[name] for name in IN_VERDICT}, "label": label}


def mean_score(values: Sequence[float | None]) -> float | str:
    """The rate, 0 to 1, over the answers that have a part in it; "N/A", as the hosts write it, where none has."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else "N/A"


share = mean_score
"""As the YAML files of earlier versions call it; users have copies of those."""


def counts(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """How many answers have each label, the most frequent first: "refusal 12, unknown 1"."""
    by_label = Counter(verdict["label"] for verdict in verdicts)
    ordered = sorted(by_label.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{label} {number}" for label, number in ordered)


def task_folder(host: str) -> Path:
    """The folder of a host's YAML files, for its --include_path: beside the modules if installed, else above them."""
    if host not in HOSTS:
        raise ValueError(f"host is {host!r}; choose one of {', '.join(HOSTS)}")
    package = Path(__file__).resolve().parents[1]
    installed = package / "task_configs" / host
    return installed if installed.is_dir() else package.parent / "task_configs" / host


def task_name(name: str) -> str:
    """The task of a data set."""
    return PREFIX + name.lower()


def task_file(host: str, name: str, kind: str) -> str:
    """The YAML file of a data set."""
    split = split_condition(name)
    by_name = not split[1].has_picture if split else "text" in name.split("_")  # so all such sets are named
    text_alone = by_name and kind == "safety"
    shared = f"_{kind}{'_text' if text_alone and host == 'lm_eval' else ''}.yaml"
    rows = f"dataset_name: {name}" if host == "lmms_eval" else f"dataset_kwargs: {{dataset: {name}}}"
    early = split[1].early if split and host == "lm_eval" else None
    # among the generation arguments the host's cache tells its answers from those to the same requests as they are
    generation = f"generation_kwargs: {{{LM_EVAL_GENERATION}, {VISION_LAYER}: {early}}}\n" if early is not None else ""
    return f"include: {shared}\ntask: {task_name(name)}\n{rows}\n{generation}"


def task_files(host: str) -> dict[str, str]:
    """By name, the text of all files but the shared ones."""
    kinds = {**{name: benchmark.kind for name, benchmark in BENCHMARKS.items()}, **OF_VLMEVALKIT}
    return {f"{name.lower()}.yaml": task_file(host, name, kind) for name, kind in kinds.items()}


def own_task_file(host: str, name: str, folder: Path) -> Path:
    """Write a task file of one data set, of the user's or in any condition, for --include_path; returns its path."""
    own = task_file(host, name, find_benchmark(name).kind)
    path = folder / f"{name.lower()}.yaml"
    if path.exists() and own.splitlines()[2] not in path.read_text(encoding="utf-8", errors="replace").splitlines():
        raise BenchmarkError(
            f"{path} is not the task of {name} for {host}: names that differ in case alone, and hosts, can't share a "
            "folder; give another one, or delete the file"
        )
    write_whole(path, own.replace("include: ", f"include: {task_folder(host)}/", 1))
    return path


def write_task_files() -> None:
    """Bring both hosts' folders up to date with BENCHMARKS and OF_VLMEVALKIT."""
    for host in HOSTS:
        wanted = task_files(host)
        for path in task_folder(host).glob("*.yaml"):
            if not path.name.startswith("_") and path.name not in wanted:
                path.unlink()
        for file, text in wanted.items():
            (task_folder(host) / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_task_files()
