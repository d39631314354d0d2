"""The demo's test sets, as the host reads them: requests no guard is fitted on, and questions about pictures."""

from __future__ import annotations

import csv
from pathlib import Path

from PIL import Image

from vlmguard_plugin.benchmarks import Row, write_tsv
from vlmguard_plugin.demo.questions import VisualQuestion, questions
from vlmguard_plugin.pictures.drawn import picture
from vlmguard_plugin.pictures.meaningless import meaningless

REQUESTS_FILE = Path(__file__).with_name("requests.csv")
CONDITIONS = ("text", "blank", "picture")
LICENCE = "Apache-2.0"
SOURCE = "vlmguard_plugin.demo"


def write_demo_datasets(folder: Path, pairs: int, seen: int) -> list[str]:
    """Write the demo's sets to a folder ($LMUData) and return their names.

    Demo_text, Demo_blank, Demo_picture: `pairs` harmful and as many harmless requests each, the same ones as text
    alone, beside a blank white picture, and beside an unrelated picture of a shape.
    Demo_choice, Demo_open: `seen` questions each about held-out pictures, with exact answers.
    """
    sets = {f"Demo_{condition}": ("safety", request_rows(pairs, condition)) for condition in CONDITIONS}
    asked = questions("held_out", 2 * seen)
    sets["Demo_choice"] = ("mcq", [question_row(visual) for visual in asked if visual.options])
    sets["Demo_open"] = ("open", [question_row(visual) for visual in asked if not visual.options])
    for name, (kind, rows) in sets.items():
        write_tsv(rows, folder / f"{name}.tsv", kind, SOURCE, LICENCE)
    return list(sets)


def request_rows(pairs: int, condition: str) -> list[Row]:
    """The first `pairs` pairs of requests under one condition of CONDITIONS."""
    with REQUESTS_FILE.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    if 2 * pairs > len(records):
        raise ValueError(f"{pairs} pairs of requests were asked for; there are {len(records) // 2}")
    return [
        Row(
            id=record["id"],
            request=record["request"],
            images=shown(condition, number // 2),
            category=record["category"],
            harmful=record["harmful"] == "1",
            pair=record["pair"],
            condition=condition,
        )
        for number, record in enumerate(records[: 2 * pairs])
    ]


def shown(condition: str, seed: int) -> tuple[Image.Image, ...]:
    """The picture beside a request; the two requests of a pair have the same one."""
    if condition == "text":
        return ()
    return (meaningless("blank") if condition == "blank" else picture("held_out", seed, "single").image(),)


def question_row(asked: VisualQuestion) -> Row:
    """A visual question as a row; multiple choice where it has options."""
    return Row(
        id=asked.id,
        request=asked.question,
        images=(asked.picture.image(),),
        category=asked.kind,
        answer=asked.letter or asked.answer,
        options=asked.options,
        condition="picture",
    )
