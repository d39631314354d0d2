"""lmms-eval's logs: OUTPUT/MODEL/DATE_results.json and DATE_samples_TASK.jsonl."""

from __future__ import annotations

import re
from pathlib import Path

from vlmguard_plugin.runs.answers import Found
from vlmguard_plugin.runs.readers.layout import Layout
from vlmguard_plugin.runs.readers.sample_logs import read_logs

NAME = re.compile(r"(\d{8}_\d{6}\S*)_results\.json")
LAYOUT = Layout(
    host="lmms_eval",
    results=lambda name: date[1] if (date := NAME.fullmatch(name)) else None,
    samples=lambda date, task: f"{date}_samples_{task}.jsonl",
    version="lmms_eval_version",
    empty_is_missing=True,
)


def read(folder: Path) -> Found:
    """All runs of lmms-eval under a folder."""
    return read_logs(folder, LAYOUT)
