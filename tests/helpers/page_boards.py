"""A leaderboard of prediction files for its page: figures of every kind, and one whose every text is hostile."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from helpers.prediction_rows import LOST, NO, YES, write
from vlmguard_plugin.leaderboard.build import build_board
from vlmguard_plugin.runs.answers import Skipped, Unfinished
from vlmguard_plugin.runs.facts import RunFacts, Session, facts_file, record

HARMFUL, HARMLESS = 30, 15
CATEGORIES = ["Fraud", "Hate speech", "Weapons"]
SCRIPT = "</script><script>window.hit = 1</script>"
IMAGE = '"><img src=x onerror="window.hit = 2">'
HOSTILE = [
    SCRIPT,
    IMAGE,
    "{{7*7}}",
    "a\u202eb",
    "=cmd()",
    "\x1b[31mred",
    "\ud800",
    "x" * 3000,
    "' onmouseover='window.hit = 3",
    "javascript:window.hit=4",
]


def write_with_facts(folder, model, dataset, predictions, facts=None, seconds=1.0, **columns):
    """A prediction file of VLMEvalKit, and its facts beside it."""
    path = write(folder, model, dataset, predictions, suffix=".tsv", **columns)
    if facts is not None:
        session = Session("2026-03-02T10:20:00Z", seconds * len(predictions), len(predictions), 40 * len(predictions))
        record(facts_file(path), facts, session, True)
    return path


def safety(folder, model, dataset, complied, refused=1, facts=None, seconds=1.0, lost=0, categories=CATEGORIES):
    """A safety set: so many harmful requests complied with, so many harmless ones refused, so many answers lost."""
    answers = (
        [LOST] * lost
        + [YES] * complied
        + [NO] * (HARMFUL - complied - lost)
        + [NO] * refused
        + [YES] * (HARMLESS - refused)
    )
    marks = {"harmful": [1] * HARMFUL + [0] * HARMLESS, "condition": "blank"}
    names = [categories[n % len(categories)] for n in range(len(answers))]
    return write_with_facts(folder, model, dataset, answers, facts, seconds, category=names, **marks)


def quiz(folder, model, right, facts=None, seconds=1.0, n=20):
    """A set of questions with two options."""
    truth = ["A", "B"] * 10
    answers = [letter if place < right else "AB"[letter == "A"] for place, letter in enumerate(truth)]
    return write_with_facts(folder, model, "Quiz", answers[:n], facts, seconds, A="red", B="blue", answer=truth[:n])


def facts_of(model, guard=None, **settings):
    return RunFacts(
        "vlmevalkit",
        "0.2",
        model,
        "org/vlm",
        "f00",
        guard,
        settings,
        "aa11" if guard else None,
        {"do_sample": False},
        device="cpu",
    )


def write_outputs(folder):
    """A base, a curve over alpha, a guard whose safety is withheld and one that was not run on everything."""
    for model, guard, settings, complied, right, seconds in [
        ("vlm", None, {}, 24, 19, 1.0),
        ("vlm_cmrm@alpha=10", "cmrm", {"alpha": 10, "layers": [3]}, 3, 15, 1.5),
        ("vlm_cmrm@alpha=0.5", "cmrm", {"alpha": 0.5, "layers": [3]}, 18, 18, 1.5),
        ("vlm_cmrm@alpha=2", "cmrm", {"alpha": 2, "layers": [3]}, 9, 17, 1.5),
    ]:
        facts = facts_of(model, guard, **settings)
        safety(folder, model, "Set_blank", complied, facts=facts, seconds=seconds)
        safety(folder, model, "Set_picture", complied, facts=facts, seconds=seconds)
        quiz(folder, model, right, facts, seconds)
    safety(folder, "vlm_ecso", "Set_blank", 2, lost=20)
    quiz(folder, "vlm_ecso", 16, n=12)
    (folder / "vlm" / "vlm_Broken.xlsx").write_text("no workbook")
    return folder


def hostile_board(folder):
    """A board on which every text that comes from outside is hostile."""
    names = [
        "<b>vlm",
        "<b>vlm_" + "long" * 30,
        '"><img src=x onerror=window.hit=2>',
        "{{7*7}}",
        "=cmd()",
        "a\u202eb\x1b[31m",
    ]
    for name in names:
        facts = (
            facts_of(name, SCRIPT, **{setting: HOSTILE for setting in (IMAGE, "{{7*7}}")})
            if name.endswith("long")
            else None
        )
        safety(
            folder,
            name,
            IMAGE.replace("/", ""),
            20,
            facts=facts,
            categories=[text for text in HOSTILE if text != "\ud800"],
        )
    board = build_board(folder)
    spoiled = [
        replace(entry, origin=replace(entry.origin, problems=tuple(HOSTILE), host_version=IMAGE))
        for entry in board.blocks[0].entries
    ]

    def spoil(item, n):
        return replace(item, case=replace(item.case, answer=HOSTILE[n % len(HOSTILE)], request=SCRIPT))

    parts = [replace(part, items=tuple(map(spoil, part.items, range(99)))) for part in board.predictions]
    return replace(
        board,
        blocks=(replace(board.blocks[0], dataset=SCRIPT + "\ud800", entries=tuple(spoiled)),),
        skipped=tuple(Skipped(Path(text), text) for text in HOSTILE),
        unfinished=tuple(Unfinished(text, text, text, Path(text), text) for text in HOSTILE),
        judge=IMAGE,
        predictions=tuple(parts),
    )


class Elements(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
