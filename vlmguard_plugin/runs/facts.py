"""What a run was: host, model, guard with its settings and fingerprint, versions, and what each data set cost.

The hosts' own files don't say, so our side of each host writes it down: beside VLMEvalKit's predictions as
MODEL_DATASET_vlmguard.json, and under "config" / "vlmguard" in the results of lmms-eval and lm-evaluation-harness.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Mapping, Sequence

from filelock import FileLock

from vlmguard_plugin.files import write_whole
from vlmguard_plugin.reading import parsed_json, read_json
from vlmguard_plugin.runs.check_costs import CheckCostsOf, are_check_costs
from vlmguard_plugin.runs.gate_counts import MOST, GateCounts, are_gate_counts

FORMAT = 1
SUFFIX = "_vlmguard.json"
TEXTS = ("host", "host_version", "model", "checkpoint", "fingerprint", "arguments", "device", "dtype", "engine")
STATUSES = ("running", "complete", "failed")


TRAINERS = re.compile(r"(?:checkpoint|epoch|step|iter)[-_]?\d+|final|last|best")
"""Names of folders that a training run makes, which say nothing without the run's own folder."""


@dataclass(frozen=True)
class Session:
    """One go at a data set; a run that was stopped and went on has several.

    started: ISO 8601, UTC. seconds: spent on answering, without loading and fitting; of several processes, the
    longest. answers: given in this session. tokens: generated for them, captions and second looks of a guard
    included; None where nobody counted. processes: of the run. status: STATUSES. error: why it failed. empty: how many
    of the answers have no character, which a workbook can't tell from lost ones; None where nobody counted. gates: how
    often the guard's gate fired on this session's requests; None where it has none. checks: what a guard model beside
    the subject has cost, its seconds among those above; None without one.
    """

    started: str
    seconds: float | None
    answers: int | None
    tokens: int | None = None
    processes: int = 1
    status: str = "complete"
    error: str | None = None
    empty: int | None = None
    gates: GateCounts | None = None
    checks: CheckCostsOf | None = None


@dataclass(frozen=True)
class RunFacts:
    """One model on one data set through one host.

    host: "vlmevalkit", "lmms_eval" or "lm_eval". model: its name there. checkpoint: hub name, or a local folder's name.
    fingerprint: of the weights. guard: registered name, None for none. settings: the guard's, as fitted; without
    a guard, of the arguments that the host's file names.
    guard_fingerprint: of the guard's name, settings and fitted numbers. generation: arguments of the model's
    `generate`, and how it was prompted. seed: of sampled decoding, else None. versions: by package.
    arguments: digest of what a model of the host's own was loaded with, paths included; "" where nobody wrote it down.
    engine: what the model ran on ("transformers", "vllm", "lmdeploy"); "" where that is not known.
    """

    host: str
    host_version: str = ""
    model: str = ""
    checkpoint: str = ""
    fingerprint: str = ""
    guard: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    guard_fingerprint: str | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    device: str = ""
    dtype: str = ""
    batch_size: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    engine: str = ""
    sessions: tuple[Session, ...] = ()
    arguments: str = ""

    @property
    def identity(self) -> dict[str, Any]:
        """What must agree for answers to belong to one run: not where, how fast or how often it ran."""
        names = (
            "host", "model", "checkpoint", "fingerprint", "arguments", "guard", "settings", "guard_fingerprint",
            "generation", "seed",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """As plain values; `from_dict` reads them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunFacts:
        """ValueError where the values are no facts of a run. Names that a later version has added are passed over."""
        try:
            own = known_values(cls, values)
            sessions = tuple(Session(**known_values(Session, session)) for session in own.pop("sessions", ()))
            facts = cls(**own, sessions=sessions)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"no facts of a run ({error})") from error
        kinds: dict[str, Any] = {
            **dict.fromkeys(TEXTS, str),
            **dict.fromkeys(("settings", "generation", "versions"), Mapping),
            **dict.fromkeys(("guard", "guard_fingerprint"), (str, type(None))),
            **dict.fromkeys(("seed", "batch_size"), (int, type(None))),
        }
        of_session: dict[str, Any] = {"started": str, "processes": int, "status": str, "error": (str, type(None))}
        wrong = [
            f"{name} is {getattr(facts, name)!r}"
            for name, kind in kinds.items()
            if not isinstance(getattr(facts, name), kind)
        ]
        wrong += [
            f"{name} of a session is {getattr(session, name)!r}"
            for session in sessions
            for name, kind in of_session.items()
            if not isinstance(getattr(session, name), kind)
        ]
        amounts = [
            (name, getattr(session, name)) for session in sessions for name in ("seconds", "answers", "tokens", "empty")
        ]
        wrong += [f"{name} of a session is {value!r}" for name, value in amounts if not is_amount(value)]
        wrong += [f"gates of a session is {each.gates!r}" for each in sessions if not are_gate_counts(each.gates)]
        wrong += [f"checks of a session is {each.checks!r}" for each in sessions if not are_check_costs(each.checks)]
        if wrong:
            raise ValueError(f"no facts of a run ({', '.join(wrong)})")
        return facts


def folder_name(path: str) -> str:
    """What a model in a folder is called: the folder's name, with the one around it where a training run made it."""
    *around, name = re.split(r"[\\/]", path.rstrip("\\/"))
    return f"{around[-1]}/{name}" if around and around[-1] and TRAINERS.fullmatch(name) else name


def digest_of(values: Any) -> str:
    """A short digest of plain values, to tell whether two are the same."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:8]


def known_values(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Of named values those that a dataclass has fields for."""
    names = {attribute.name for attribute in fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def is_amount(value: object) -> bool:
    """Whether a value is None or a number from 0 to MOST."""
    return value is None or isinstance(value, (int, float)) and 0 <= value <= MOST


def facts_file(predictions: Path) -> Path:
    """Where the facts of a prediction file of VLMEvalKit lie."""
    return predictions.with_name(predictions.stem + SUFFIX)


def read_facts(path: Path) -> tuple[RunFacts, ...]:
    """The runs whose answers a prediction file holds, the oldest first; empty where there is no file of facts.

    More than one: it went on under other settings, so its answers are mixed. ValueError for a damaged file.
    """
    if not path.is_file():
        return ()
    try:
        content = read_json(path)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}; this version reads {FORMAT}")
        return tuple(RunFacts.from_dict(run) for run in content["runs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} can't be read as facts of a run ({type(error).__name__}: {error})") from error


def record(path: Path, facts: RunFacts, session: Session, kept_answers: bool) -> None:
    """Write down a session; one with the same `started` is replaced.

    kept_answers: whether answers of earlier sessions stand beside this one's; else those are forgotten.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(".vlmguard.lock")):
        runs = readable_runs(path) if kept_answers else []
        if runs and runs[-1].identity == parsed_json(json.dumps(facts.identity)):
            earlier = [known for known in runs[-1].sessions if known.started != session.started]
            runs[-1] = replace(facts, sessions=(*earlier, session))
        else:
            runs.append(replace(facts, sessions=(session,)))
        write_runs(path, runs)


def name_run(path: Path, facts: RunFacts) -> None:
    """Say what the run under way is, where its file does not yet: of several processes, the first to know does.

    Without it, answers of one process stay without facts where it ends before the process that records is that far.
    """
    with FileLock(path.with_name(".vlmguard.lock")):
        runs = readable_runs(path)
        if runs and runs[-1].identity == RunFacts(host=runs[-1].host, model=runs[-1].model).identity:
            runs[-1] = replace(facts, sessions=runs[-1].sessions)
            write_runs(path, runs)


def readable_runs(path: Path) -> list[RunFacts]:
    """The runs of a file of facts, none where there is no file or a damaged one, which is written anew."""
    try:
        return list(read_facts(path))
    except ValueError:
        return []


def write_runs(path: Path, runs: Sequence[RunFacts]) -> None:
    """Write a file of facts; `read_facts` reads it."""
    write_whole(path, json.dumps({"format": FORMAT, "runs": [run.to_dict() for run in runs]}, indent=1))
