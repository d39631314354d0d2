"""Boards of every kind, from prediction files: plain, withheld, with seeds, of several hosts, with hostile names."""

import json
import os

import pandas
from rich.console import Console

from helpers.prediction_rows import LOST, NO, YES, write
from vlmguard_plugin.leaderboard import leaderboard, show
from vlmguard_plugin.runs.facts import RunFacts, Session, facts_file, record

HARMFUL = {"harmful": [1] * 4 + [0] * 2}
DONE = Session("2026-01-01T00:00:00+00:00", 12.0, 6, 60)
GUARDED = RunFacts(
    "vlmevalkit", "0.0.20", "m_cmrm", "org/m", "fp-1", "cmrm", {"alpha": 0.5, "layers": [1, 2]}, "cmrm-9"
)
NASTY = "=m|`x`<b>[red]*_\x1b[31m"


def two(
    folder, answers=(YES, NO, NO, NO, YES, NO), base=(YES, YES, YES, NO, YES, YES), name="m", dataset="Set", **columns
):
    """A model and its guarded one on six items."""
    write(folder, name, dataset, list(base), **(HARMFUL | columns))
    return write(folder, f"{name}_cmrm", dataset, list(answers), **(HARMFUL | columns))


def plain(folder):
    two(folder)


def nothing_in_common(folder):
    write(folder, "m", "Set", [YES] * 2, harmful=[1, 1])
    write(folder, "m_cmrm", "Set", [NO], harmful=[1]).rename(folder / "keep.xlsx")
    frame = pandas.read_excel(folder / "keep.xlsx").assign(question="Another?")
    (folder / "keep.xlsx").unlink()
    frame.to_excel(folder / "m_cmrm" / "m_cmrm_Set.xlsx", index=False)


def withheld(folder):
    two(folder, answers=[LOST] * 6)


def one_answer_unknown(folder):
    write(folder, "m", "Set", [LOST], harmful=[1])


def shared_requests_and_categories(folder):
    two(folder, intent=["a", "a", "b", "b", "c", "c"], category=["x", "y", "x", "y", "x", "y"])


def with_seeds(folder):
    for seed in (1, 2, 3):
        path = two(folder / f"seed-{seed}", answers=[YES] * seed + [NO] * (4 - seed) + [YES, NO])
        record(facts_file(path), RunFacts(**{**vars(GUARDED), "seed": seed, "sessions": ()}), DONE, False)


def seed_folders(folder):
    return [folder / f"seed-{seed}" for seed in (1, 2, 3)]


def failed_alone(folder):
    place = folder / "m_cmrm"
    place.mkdir(parents=True)
    (place / "status.json").write_text(
        json.dumps({"datasets": {"Set": {"status": "infer", "error_message": "out of memory"}}})
    )


def several_hosts(folder):
    two(folder)
    place = folder / "logs"
    place.mkdir()
    samples = [
        {"doc_id": n, "doc_hash": f"d{n}", "filtered_resps": ["x"], "metrics": ["acc"], "acc": float(n % 2)}
        for n in range(4)
    ]
    (place / "samples_quiz_2026-01-02T03-04-05.000001.jsonl").write_text(
        "".join(json.dumps(one) + "\n" for one in samples)
    )
    results = {
        "results": {"quiz": {}},
        "configs": {"quiz": {}},
        "config": {"model": "hf", "model_args": {"pretrained": "org/m"}},
        "lm_eval_version": "0.4.13",
    }
    (place / "results_2026-01-02T03-04-05.000001.json").write_text(json.dumps(results))


def hostile(folder):
    two(folder, name=NASTY + "\udce9", dataset="-Set\u202e", suffix=".json", category=["@sum(1)", "[b]x"] * 3)


BOARDS = [
    plain,
    nothing_in_common,
    withheld,
    one_answer_unknown,
    shared_requests_and_categories,
    with_seeds,
    failed_alone,
    several_hosts,
]


def board_of(make, folder):
    make(folder)
    return leaderboard(seed_folders(folder) if make is with_seeds else folder)


def shown(board, width=120):
    console = Console(width=width, record=True, file=open(os.devnull, "w"))
    show(board, console)
    return console.export_text()
