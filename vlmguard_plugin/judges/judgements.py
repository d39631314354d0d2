"""Judgements on disk, so that no answer is judged twice and a run that was stopped goes on where it was.

OUTPUT_DIR/vlmguard-judgements/JUDGE.jsonl, one judgement a line: case (a digest of everything the judge sees, the
answer among it), judge, version, label, reason, raw. Answers are not repeated here, but a judge's raw output may quote
them: the files belong with the predictions and are as private as these.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Iterator, Mapping, Sequence, TypedDict

from filelock import FileLock
from tqdm import tqdm

from vlmguard_plugin.files import check_writable
from vlmguard_plugin.judges.base import Case, Judge, JudgeError, Judgement, decide
from vlmguard_plugin.reading import json_lines

FOLDER = "vlmguard-judgements"
NOT_JUDGED = "not judged yet"
BATCH = 16
"""Answers judged before they are written down: what a process that is killed may lose."""


class Entry(TypedDict):
    """One line of a file of judgements. case: a case's digest; the rest as `Judge` and `Judgement` have it."""

    case: str
    judge: str
    version: str
    label: str
    reason: str
    raw: str


def case_digest(case: Case) -> str:
    """What makes two cases the same to a judge: request, intent, picture in words, harm, answer."""
    seen = {name: value for name, value in asdict(case).items() if name != "lost"}
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


class Judgements:
    """The judgements kept with a work directory of the host."""

    def __init__(self, work_dir: str | Path) -> None:
        self.folder = Path(work_dir) / FOLDER
        self.known: dict[tuple[str, str], dict[str, Judgement]] = {}
        """What has been read or judged so far, by judge and version, then by case digest."""
        self._sizes: dict[str, int] = {}  # of each judge's file when it was read or added to

    def file(self, judge: str) -> Path:
        """Where a judge's judgements lie; characters that a file name can't have are written as a dash and a digest."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", judge)
        if plain != judge:
            plain += f"-{hashlib.sha256(judge.encode()).hexdigest()[:6]}"
        return self.folder / f"{plain}.jsonl"

    def names(self) -> list[str]:
        """The judges that have judgements here."""
        return sorted({entry["judge"] for path in self.folder.glob("*.jsonl") for entry in entries(path)})

    def versions(self, judge: str) -> list[str]:
        """The versions of a judge that have judgements here."""
        return sorted({entry["version"] for entry in entries(self.file(judge))})

    def read(self, judge: str, version: str | None = None) -> dict[str, Judgement]:
        """By case digest, what a judge said. version: None takes each case's latest."""
        return {
            entry["case"]: Judgement(entry["label"], entry["raw"], entry["reason"])
            for entry in entries(self.file(judge))
            if version in (None, entry["version"])
        }

    def said_by(self, judge: str) -> dict[str, Judgement]:
        """By case digest, what a judge has said before. Raises JudgeError for one that has no judgements here."""
        known = self.read(judge)
        if not known:
            there = ", ".join(self.names()) or "none yet"
            raise JudgeError(
                f"no judgements by {judge!r} in {self.folder} (judges there: {there}); "
                f"run `vlmguard judge {self.folder.parent} --judge {judge}` first"
            )
        return known

    def judged(self, judge: Judge, cases: Sequence[Case], progress: bool = False) -> list[Judgement]:
        """Judgements of all cases: those kept, then the others, written down batch by batch as they are made.

        A failed judgement is not kept: the next call asks again. Of several processes that judge at once each waits
        while another judges a batch, and asks for nothing that another has been told. OSError, before anything is
        asked, where nothing can be kept.
        """
        known = self.known_by(judge)
        digests = [case_digest(case) for case in cases]
        missing = {digest: case for digest, case in zip(digests, cases) if digest not in known}
        todo = list(missing)
        made: dict[str, Judgement] = {}
        if todo:
            check_writable(self.file(judge.name))
        with tqdm(total=len(todo), desc=f"judge {judge.name}", unit="answer", disable=not progress or not todo) as bar:
            for start in range(0, len(todo), BATCH):
                with self.alone(judge.name):
                    known = self.known_by(judge)
                    batch = [digest for digest in todo[start : start + BATCH] if digest not in known]
                    judgements = dict(zip(batch, decide(judge, [missing[digest] for digest in batch])))
                    made |= judgements
                    kept = {digest: judgement for digest, judgement in judgements.items() if not judgement.failed}
                    self.append(judge, kept)
                    known |= kept
                bar.update(len(todo[start : start + BATCH]))
        return [known[digest] if digest in known else made[digest] for digest in digests]

    def known_by(self, judge: Judge) -> dict[str, Judgement]:
        """By case digest, what is kept of this judge and version; read again where another process has added to it."""
        path, key = self.file(judge.name), (judge.name, judge.version)
        size = path.stat().st_size if path.is_file() else 0
        if key not in self.known or self._sizes.get(judge.name) != size:
            self.known = {known: judgements for known, judgements in self.known.items() if known[0] != judge.name}
            self.known[key] = self.read(judge.name, judge.version)
            self._sizes[judge.name] = size
        return self.known[key]

    @contextmanager
    def alone(self, judge: str) -> Iterator[None]:
        """A context in which no other process adds judgements of this judge."""
        path = self.file(judge)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            yield

    def append(self, judge: Judge, judgements: Mapping[str, Judgement]) -> None:
        """Add judgements, by case digest, inside of `alone`. OSError names the file."""
        path = self.file(judge.name)
        records = [
            Entry(
                case=digest,
                judge=judge.name,
                version=judge.version,
                label=judgement.label,
                reason=judgement.reason,
                raw=judgement.raw,
            )
            for digest, judgement in judgements.items()
        ]
        lines = [json.dumps(entry, ensure_ascii=False) for entry in records]
        try:
            with path.open("ab+") as stream:
                if stream.seek(0, 2):
                    stream.seek(-1, 2)
                    torn = stream.read(1) != b"\n"  # a process was killed while it wrote
                    stream.write(b"\n" * torn)
                stream.write("".join(line + "\n" for line in lines).encode("utf-8", "replace"))
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        if (judge.name, judge.version) in self.known:
            self._sizes[judge.name] = path.stat().st_size


def entries(path: Path) -> Iterator[Entry]:
    """The whole lines of a file of judgements; a torn one (its writer was killed) is passed over."""
    if not path.is_file():
        return
    for _, entry in json_lines(path):
        try:
            Judgement(entry["label"])
        except (ValueError, KeyError, TypeError):
            continue
        if all(isinstance(entry.get(name), str) for name in Entry.__annotations__):
            yield entry
