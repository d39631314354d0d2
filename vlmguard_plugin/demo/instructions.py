"""Harmless instructions, for training and held out."""

from __future__ import annotations

import csv
from pathlib import Path

INSTRUCTIONS_FILE = Path(__file__).parent / "instructions.csv"
HELD_OUT_EVERY = 10  # every tenth instruction is kept for measuring


def instructions(split: str) -> list[str]:
    """The harmless instructions of a split: every tenth is held out for measuring."""
    with INSTRUCTIONS_FILE.open(newline="", encoding="utf-8") as opened:
        every = [row["instruction"] for row in csv.DictReader(opened)]
    return [text for number, text in enumerate(every) if (number % HELD_OUT_EVERY == 0) == (split == "held_out")]
