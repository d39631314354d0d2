"""What VLMEvalKit's own evaluation has left beside a prediction file: its figures, and its scores of single answers.

Figures stand in MODEL_DATASET[_JUDGE]_(acc|score).(csv|xlsx|tsv|json), scores of answers in tables with the columns
index and one of SCORES. Scores are taken only where they belong to these very answers: the same questions with the same
predictions, and, where there is a figure that is a mean of them, the mean that it says.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Mapping, Sequence

import pandas

from vlmguard_plugin.reading import read_json
from vlmguard_plugin.runs.answers import OutputError, costs_itself_alone
from vlmguard_plugin.runs.host_rules import OTHER_MEANS, first_index, is_circular
from vlmguard_plugin.runs.readers.tables import FORMATS, read_table
from vlmguard_plugin.runs.rows import Lost, text
from vlmguard_plugin.runs.scoring import HostScores

MISSING = ("", "nan", "none", "null", "na", "n/a", "<na>", "#n/a")
"""What a table's reader takes for no answer."""
CONVERTED = ("=", "{=", "mailto:", "internal:", "external:", "file:", "http://", "https://", "ftp://")
"""What an answer begins with of which a workbook makes a formula or a link."""
LONGEST_CELL = 32_767
FIGURES = re.compile(r"_(?:acc|score)$")
NAMES = (
    "overall", "final score norm", "relative score (main)", "aacc", "accuracy", "acc", "average", "avg acc", "cider",
    "bleu", "rouge_l", "f1_score", "perception", "reasoning",
)  # fmt: skip
"""Of a file of figures, in lower case, those that stand for the whole set; the first that is there is its score."""
WHOLE = ("overall", "all", "average")
"""What the row of the whole set is called, in each column of a table of figures that tells its rows apart ..."""
UNNAMED = ("none", "nan", "")
"""... or is not called there."""
SCORES = ("hit", "score", "verifier_match", "eval_score")
SCORED = re.compile(r"_(?:result|results|auxmatch|judged?|scores?|detailed_results|gpt-?\d\S*|chatgpt\S*)$")
WHOLE_NUMBER = re.compile(r"-?\d+\.0")
ROUNDED = 0.0006
"""Figures are written with one decimal of a percentage at least."""


def files_beside(path: Path, ends: re.Pattern[str]) -> list[Path]:
    """Tables whose names go on from a prediction file's, with such an end; beside it and where it really lies."""
    places = dict.fromkeys([path.parent, path.resolve().parent])
    return [
        file
        for place in places
        for file in sorted(place.iterdir())
        if file.suffix in FORMATS
        and file.stem.startswith(f"{path.stem}_")
        and ends.search(file.stem)
        and file.is_file()
    ]


def figures_beside(path: Path) -> tuple[dict[str, float], Path | None]:
    """The host's figures of a whole set by name, its score first, and their file; nothing where it left none."""
    for file in files_beside(path, FIGURES):
        try:
            with costs_itself_alone():
                found = figures_in(read_json(file) if file.suffix == ".json" else read_table(file))
        except OutputError:
            continue  # a file that is damaged tells no figure; the answers are scored all the same
        if found:
            return found, file
    return {}, None


def figures_in(content: Any) -> dict[str, float]:
    """The figures of a whole set in a table or a JSON object, in the order of NAMES."""
    if isinstance(content, pandas.DataFrame):
        content = whole_row(content)
    if not isinstance(content, Mapping):
        return {}
    lower = {str(name).strip().lower(): (str(name), value) for name, value in content.items()}
    found = [(lower[name][0], first_number(lower[name][1])) for name in NAMES if name in lower]
    return {name: value for name, value in found if value is not None}


def whole_row(table: pandas.DataFrame) -> Mapping[str, Any]:
    """The row of a table of figures that is about the whole set; none where several are and no one says so."""
    rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    if len(rows) == 1:
        return rows[0]
    called = [{name: str(value).strip().lower() for name, value in row.items()} for row in rows]
    keys = [
        name
        for name in (called[0] if called else ())
        if len({row[name] for row in called}) > 1
        and any(first_number(row[name]) is None and row[name] not in UNNAMED for row in called)
    ]
    for row, names in zip(rows, called):
        told = {names[name] for name in keys}
        if told & set(WHOLE) and told <= {*WHOLE, *UNNAMED}:
            return row
    return {}


def first_number(value: object) -> float | None:
    """A finite number, or the first of a list (BLEU-1 of four); None for anything else."""
    if isinstance(value, list) and value:
        value = value[0]
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number is caught
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def scores_beside(
    path: Path, rows: Sequence[Mapping[str, Any]], dataset: str, figures: Mapping[str, float]
) -> HostScores | None:
    """The host's own scores of the answers in a prediction file; None where it left none that belong to them."""
    predictions = {text(row["index"]): kept_words(row["prediction"]) for row in rows}
    if is_circular(dataset):
        groups = {text(row["index"]): text(row.get("g_index")) or first_index(text(row["index"])) for row in rows}
        predictions = {index: said for index, said in predictions.items() if groups[index] == index}
    for file in files_beside(path, SCORED):
        if FIGURES.search(file.stem) and file.suffix == ".json":
            continue
        try:
            with costs_itself_alone():
                found = scores_in(read_table(file), predictions)
        except OutputError:
            continue  # as above
        if found and (dataset in OTHER_MEANS or belongs(list(found.values()), figures)):
            return HostScores(found, file.stem[len(path.stem) + 1 :], are_figure=bool(figures))
    return None


def kept_words(prediction: object) -> str | None:
    """A prediction as the host's tables repeat it; None where reading and writing has made another text of it.

    The host reads its workbook without what `converted_cells` restores, and takes "None" and an empty cell for "nan".
    """
    words = "" if isinstance(prediction, Lost) else text(prediction)
    changed = words.strip().lower() in MISSING or len(words) >= LONGEST_CELL or words.startswith(CONVERTED)
    return None if changed else words


def scores_in(table: pandas.DataFrame, predictions: Mapping[str, str | None]) -> dict[str, float] | None:
    """Scores by index; None where a table holds none, or none of these answers. predictions: `kept_words` by index."""
    column = next((name for name in SCORES if name in table.columns), None)
    if column is None or "index" not in table.columns:
        return None
    scores: dict[str, float] = {}
    for row in table.to_dict("records"):
        index, score = text(row["index"]), as_score(row[column])
        said = predictions.get(index, "")
        repeated = (
            "prediction" not in row or said is None or as_read_back(text(row["prediction"])) == as_read_back(said)
        )
        if score is None or not repeated:
            return None
        scores[index] = score
    return scores if set(scores) == set(predictions) else None


def as_read_back(prediction: str) -> str:
    """A prediction without what reading a column of numbers adds: where a cell is missing, "3" is "3.0"."""
    return prediction[:-2] if WHOLE_NUMBER.fullmatch(prediction) else prediction


def as_score(value: object) -> float | None:
    """A score of one answer, 0 to 1; None for anything else."""
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return float(value.strip().lower() == "true")
    number = first_number(value)
    return number if number is not None and 0 <= number <= 1 else None


def belongs(scores: Sequence[float], figures: Mapping[str, float]) -> bool:
    """Whether scores of answers give the host's figure, as their mean in shares of 1 or of 100; also without one."""
    return not figures or agrees(sum(scores) / len(scores), next(iter(figures.values())))


def agrees(share: float, figure: float) -> bool:
    """Whether a share (0 to 1) is a figure, given in shares of 1 or of 100, but for rounding."""
    return min(abs(share - figure), abs(share - figure / 100)) <= ROUNDED
