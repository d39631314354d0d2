"""lm-evaluation-harness's logs: OUTPUT/MODEL/results_DATE.json and samples_TASK_DATE.jsonl."""

from __future__ import annotations

import re
from pathlib import Path

from vlmguard_plugin.runs.answers import Found
from vlmguard_plugin.runs.readers.layout import Layout
from vlmguard_plugin.runs.readers.sample_logs import read_logs

NAME = re.compile(r".*?(\d{4}-\d{2}-\d{2}T\S+)\.json")
LAYOUT = Layout(
    host="lm_eval",
    results=lambda name: date[1] if (date := NAME.fullmatch(name)) else None,
    samples=lambda date, task: f"samples_{task}_{date}.jsonl",
    version="lm_eval_version",
)


def read(folder: Path) -> Found:
    """All runs of lm-evaluation-harness under a folder."""
    return read_logs(folder, LAYOUT)
