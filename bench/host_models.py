"""What models of VLMEvalKit's own cost under a guard: a part of the bench on its real classes, with tiny weights."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Iterator
from unittest.mock import patch

from timing import Row, side_by_side

NAMES = ("Qwen2-VL-2B-Instruct", "llava-onevision-qwen2-0.5b-ov-hf", "InternVL2-1B")
ROWS = 16
TOKENS = 32


def own_models(rounds: int, **_: Any) -> Iterator[Row]:
    """Rows that a guarded model of the host's own is asked for, in batches / one by one; `s`: seconds one by one.

    VLMEvalKit's classes around tiny random models, 16 rows of 32 new tokens, in this process: the weights cost
    nothing, so that what is saved is what is done once a pass, whatever the model's size; reading pictures twice, and
    putting the tensors together, is what is paid for it.
    """
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    here = Path(__file__).parent
    sys.path[:0] = [str(here.parent / "tests")]
    from host_classes import anchors, registered
    from tiny_hub import tiny_hub

    from vlmguard_plugin.hosts.vlmeval.wrapped import GuardedHost

    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            place = Path(folder)
            with tiny_hub({"": registered(name, "Tiny", place) or ""}), patch("tiny_hub.TOKENS", TOKENS):
                data, hosts = rows_of(place), {}
                for size in (1, 8):
                    variables = {"VLMGUARD_BATCH_SIZE": str(size), "VLMGUARD_CACHE": folder}
                    with patch.dict(os.environ, variables):
                        hosts[size] = GuardedHost("Tiny", "vlm_guard", anchors=str(anchors(place)), use_vllm=False)
                ways = partial(gone_through, hosts[8], data), partial(gone_through, hosts[1], data)
                yield {"model": f"{name}_vlmguard", "batch": 8, "rows": ROWS, **side_by_side(ways, rounds)}


def rows_of(place: Path) -> Any:
    """A data set as the host hands it to a model: requests beside a picture each."""
    import pandas
    from PIL import Image

    rows = []
    for number in range(ROWS):
        file = place / f"{number}.png"
        Image.linear_gradient("L").rotate(20 * number).resize((60, 50)).convert("RGB").save(file)
        rows.append((str(file), "What is this?" + " Say it in full." * (number % 3)))
    data = SimpleNamespace(
        data=pandas.DataFrame(rows, columns=["file", "question"]), dataset_name="Rows", force_use_dataset_prompt=True
    )
    data.build_prompt = lambda row: [
        {"type": "image", "value": row["file"]},
        {"type": "text", "value": row["question"]},
    ]
    return data


class Handed:
    """What the host hands a model once a data set: a method of the set."""

    def __init__(self, data: Any) -> None:
        self.__self__ = data

    def __call__(self, row: Any) -> list[str]:
        return [row["file"]]


def gone_through(host: Any, data: Any) -> None:
    """The host's loop."""
    host.set_dump_image(Handed(data))
    for place in range(len(data.data)):
        host.generate(data.build_prompt(data.data.iloc[place]), dataset="Rows")
