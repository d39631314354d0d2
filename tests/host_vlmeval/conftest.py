"""A place for VLMEvalKit's own, unchanged command."""

import pytest
from helpers.vlmeval_command import ten_requests, tiny_place
from PIL import Image

from vlmguard_plugin.benchmarks import Row, prepare, write_tsv


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny LLaVA, a small set of each kind in $LMUData, small anchors, and the environment that points to them."""
    place = tmp_path_factory.mktemp("host")
    environment = tiny_place(place)
    mine = ten_requests(place / "mine.csv")
    for condition in ("text", "blank"):
        prepare(
            f"Requests_mine_{condition}",
            mine,
            out_dir=place / "data",
            **({"size": 28} if condition == "blank" else {}),
        )
    picture = Image.new("RGB", (30, 30), "red")
    rows = [
        Row(str(i), f"Which number comes after {i}?", (picture,), answer="AB"[i % 2], options=("one", "None"))
        for i in range(4)
    ]
    write_tsv(rows, place / "data" / "MCQ_tiny.tsv", "mcq", "the tests", "Apache-2.0")
    return place, environment
