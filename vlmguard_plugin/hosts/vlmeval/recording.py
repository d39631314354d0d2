"""Facts of runs, written beside the host's predictions while it answers, and the refusal of video."""

from __future__ import annotations

import json
import os
import pickletools
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, Callable, Iterator

import pandas
from vlmeval.smp import dump, get_pred_file_path, get_rank_and_world_size, load

from vlmguard_plugin.files import write_whole
from vlmguard_plugin.hosts.early_layers import refuse_usual_features
from vlmguard_plugin.hosts.guarded import Meter, Spent, no_video
from vlmguard_plugin.hosts.vlmeval.host_facts import HOST, facts_of_host_model, host_version
from vlmguard_plugin.hosts.vlmeval.kept_answers import (
    check_kept_answers,
    facts_of_kept,
    identity_before_loading,
    loaded_identity,
)
from vlmguard_plugin.hosts.vlmeval.models import guarded_host, guarded_vlm
from vlmguard_plugin.reading import in_line, read_json
from vlmguard_plugin.runs.check_costs import CheckCostsOf, costs_added, costs_since
from vlmguard_plugin.runs.facts import RunFacts, Session, facts_file, name_run, read_facts, record
from vlmguard_plugin.runs.gate_counts import GateCounts, added, without

FAILED = "Failed to obtain answer"  # how the host marks a row without an answer


def register_inference(inference: Any) -> None:
    """Record each data set that `vlmeval.inference` (or `inference_mt`) answers, with whichever model."""
    name = "infer_data_job_mt" if inference.__name__.endswith("_mt") else "infer_data_job"
    setattr(inference, name, recorded(inference, getattr(inference, name)))


def register_video(inference: Any) -> None:
    """Refuse video sets with our models, before one is loaded."""
    job = inference.infer_data_job_video

    @wraps(job)
    def without_ours(model: Any, *arguments: Any, **named: Any) -> Any:
        given = signature(job).bind(model, *arguments, **named).arguments
        if is_ours(model, inference):
            raise ValueError(no_video(given["model_name"], given["dataset"].dataset_name))
        return job(model, *arguments, **named)

    inference.infer_data_job_video = without_ours


def is_ours(model: Any, inference: Any) -> bool:
    """Whether a model, or the name of one, is a GuardedVLM or a GuardedHost."""
    if isinstance(model, str):
        return getattr(inference.supported_VLM.get(model), "func", None) in (guarded_vlm, guarded_host)
    return hasattr(type(model), "run_facts")


def recorded(inference: Any, job: Callable[..., Any]) -> Callable[..., Any]:
    """The host's job with a record kept of it; what goes wrong with the record costs one line, never the run.

    TypeError, at registration, for a job of another form than 0.0.20's, which is then left alone.
    """
    lacks = [name for name in ("model", "work_dir", "model_name", "dataset") if name not in signature(job).parameters]
    lacks += [name for name in ("supported_VLM", "infer_data") if not hasattr(inference, name)]
    if lacks:
        raise TypeError(
            f"{inference.__name__}.{job.__name__} has no {', '.join(lacks)}, so what its runs spend can't be recorded"
        )

    @wraps(job)
    def job_with_record(*arguments: Any, **named: Any) -> Any:
        given = signature(job).bind(*arguments, **named).arguments
        refuse_usual_features(given["dataset"].dataset_name, is_ours(given["model"], inference))
        run = DatasetRun(given["work_dir"], given["model_name"], given["dataset"].dataset_name)
        run.begin()
        try:
            with run.watching(inference, given["model"]):
                result = job(*arguments, **named)
        except BaseException as error:  # an interrupt too: it goes on as it came
            run.end(in_line(error))
            raise
        run.end(None)
        return result

    return job_with_record


def set_aside_damaged(path: Path) -> None:
    """Rename a file of the host's answers so far that was left half written: it would end at it again and again.

    The pickle is looked through, not loaded.
    """
    if not path.is_file():
        return
    try:
        with path.open("rb") as pickled:
            for _ in pickletools.genops(pickled):
                pass
    except Exception as error:  # noqa: BLE001 - whatever its opcodes are not
        with suppress(FileNotFoundError):  # another process was first
            os.replace(path, path.with_name(f"{path.name}.damaged"))
            print(
                f"vlmguard: {path} was left half written ({in_line(error)}), so its rows are answered again; it is "
                f"kept as {path.name}.damaged",
                file=sys.stderr,
            )


def harmless(step: Callable[..., None]) -> Callable[..., None]:
    """A step of a DatasetRun that never fails: what goes wrong is one line on stderr, and no further step is taken."""

    @wraps(step)
    def taken(run: DatasetRun, *arguments: Any) -> None:
        if not run.broken:
            try:
                step(run, *arguments)
            except Exception as error:  # noqa: BLE001 - the host's run matters more than ours, whatever this is
                run.broken = True
                print(
                    f"vlmguard: what {run.name} spent on {run.dataset} could not be written down ({in_line(error)})",
                    file=sys.stderr,
                )

    return taken


@dataclass
class ProcessShare:
    """What one process has done. error: why it failed, in one line."""

    seconds: float | None
    answers: int | None
    tokens: int | None
    error: str | None = None
    empty: int | None = None
    gates: GateCounts | None = None
    checks: CheckCostsOf | None = None


class DatasetRun:
    """One model on one data set, as this process sees it; the first process writes for all.

    The others leave their share in a file beside the predictions before the host's barrier, so that no process waits
    for another on our account. A model is known once it is loaded; until then an earlier run's facts stand.
    """

    def __init__(self, work_dir: str, model: str, dataset: str) -> None:
        self.work_dir, self.name, self.dataset = work_dir, model, dataset
        self.started = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self.broken = False
        self.facts: RunFacts | None = None
        self.meter: Meter | None = None
        self.seconds, self.answers, self.empty = 0.0, 0, 0  # by the host's own calls, as far as they are counted
        self.before = Spent()  # what the model's meter said when it was met
        self.counted, self._within = True, False

    @harmless
    def begin(self) -> None:
        """Look for answers of earlier sessions, before there are any of this one."""
        self.rank, self.processes = get_rank_and_world_size()
        predictions = Path(get_pred_file_path(self.work_dir, self.name, self.dataset, use_env_format=True))
        parts = [f"{rank}{self.processes}_{self.dataset}.pkl" for rank in range(self.processes)]
        earlier = [
            predictions,
            *(Path(self.work_dir, name) for name in (f"{self.name}_{self.dataset}_PREV.pkl", *parts)),
        ]
        # what another process may be writing by now is not touched
        set_aside_damaged(Path(self.work_dir, parts[self.rank]))
        if not predictions.exists():  # where they are, the host writes these anew
            set_aside_damaged(earlier[1])
        self.path, self.kept = facts_file(predictions), any(path.exists() for path in earlier)
        self.facts_before = facts_of_kept(self.path, self.dataset) if self.kept else self.path
        if self.rank == 0 and self.facts_before != self.path and self.facts_before.is_file():
            write_whole(self.path, self.facts_before.read_text(encoding="utf-8"))
        if self.rank == 0 and predictions.exists():
            self.replace_damaged(predictions)
        if self.rank > 0:
            self.share_file(self.rank).unlink(missing_ok=True)  # an earlier run's
        elif not self.kept:
            self.write(
                RunFacts(host=HOST, host_version=host_version(), model=self.name),
                "running",
                ProcessShare(None, None, None),
            )

    def replace_damaged(self, predictions: Path) -> None:
        """Put an empty table in the place of a prediction file that was left half written, which is kept beside it.

        The host would end at it, in this run and in every further one. The place is not left empty, since the other
        processes look there meanwhile, and wait for this one where something is.
        """
        try:
            load(str(predictions))
        except Exception as error:  # noqa: BLE001 - readers of four formats raise of every kind
            kept = predictions.with_name(f"{predictions.name}.damaged")
            os.replace(predictions, kept)
            dump(pandas.DataFrame({"index": [], "prediction": []}), str(predictions))
            print(
                f"vlmguard: {predictions} can't be read ({in_line(error)}), so its rows are answered again; it is kept "
                f"as {kept.name}",
                file=sys.stderr,
            )

    @contextmanager
    def watching(self, inference: Any, model: Any) -> Iterator[None]:
        """While open, the model is watched as soon as it is there; then this process leaves its share."""
        models, infer_data = inference.supported_VLM, inference.infer_data

        def loaded(**named: Any) -> Any:
            built = models[self.name](**named)
            self.check_kept(loaded_identity(built, self.name))
            self.watch(built, stack)
            return built

        def infer_and_share(*arguments: Any, **named: Any) -> Any:
            result = infer_data(*arguments, **named)
            self.leave_share(None)
            return result

        with ExitStack() as stack:
            stack.callback(vars(inference).update, supported_VLM=models, infer_data=infer_data)
            if isinstance(model, str):
                self.check_kept(identity_before_loading(models.get(model)))
                inference.supported_VLM = {self.name: loaded}
            else:
                self.check_kept(loaded_identity(model, self.name))
                self.watch(model, stack)
            inference.infer_data = infer_and_share
            yield

    def check_kept(self, now: dict[str, Any]) -> None:
        """ValueError where answers that are kept were given under other facts than these; see kept_answers."""
        if self.kept and not self.broken:
            check_kept_answers(self.facts_before, self.name, self.dataset, now)

    @harmless
    def watch(self, model: Any, stack: ExitStack) -> None:
        """Time and count the model's answers until the stack is closed; the run is written down as running."""
        if isinstance(getattr(model, "meter", None), Meter):
            self.meter, self.before = model.meter, model.meter.total()
        self.counted = not getattr(model, "is_api", False)  # those are asked from several threads
        for name in ("generate", "chat") if self.counted else ():
            if callable(getattr(model, name, None)):
                own = vars(model).get(name)
                stack.callback(vars(model).pop if own is None else vars(model).__setitem__, name, own)
                setattr(model, name, self.timed(getattr(model, name)))
        facts = (
            model.run_facts(self.name) if hasattr(type(model), "run_facts") else facts_of_host_model(model, self.name)
        )
        if self.rank > 0:
            name_run(self.path, facts)
        else:
            self.facts = facts
            self.write(facts, "running", ProcessShare(None, None, None))

    def timed(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        """The host's call for an answer; one inside another is not counted."""

        @wraps(ask)
        def asked(*arguments: Any, **named: Any) -> Any:
            if self._within:
                return ask(*arguments, **named)
            started, self._within = time.perf_counter(), True
            try:
                answer = ask(*arguments, **named)
            finally:
                self._within = False
                self.seconds += time.perf_counter() - started
            self.answers += FAILED not in str(answer)
            self.empty += answer == ""
            return answer

        return asked

    def share(self, error: str | None) -> ProcessShare:
        """What this process has done so far. A model of ours knows its own seconds and tokens."""
        if not self.counted:
            return ProcessShare(None, None, None, error)
        if self.meter is None:
            return ProcessShare(self.seconds, self.answers, None, error, self.empty)
        now = self.meter.total()
        tokens = None if now.tokens is None else now.tokens - (self.before.tokens or 0)
        gates, checks = without(now.gates, self.before.gates), costs_since(now.checks, self.before.checks)
        return ProcessShare(now.seconds - self.before.seconds, self.answers, tokens, error, self.empty, gates, checks)

    def share_file(self, rank: int) -> Path:
        """Where a process leaves its share."""
        return self.path.with_name(f".{self.path.stem}-{rank}of{self.processes}.json")

    @harmless
    def leave_share(self, error: str | None) -> None:
        """The share of a process that is not the first, where that one finds it."""
        if self.rank > 0:
            write_whole(self.share_file(self.rank), json.dumps(asdict(self.share(error))))

    @harmless
    def end(self, error: str | None) -> None:
        """Write down how it ended; every process but the first leaves its share."""
        if self.rank > 0:
            if error is not None:
                self.leave_share(error)
            return
        together = sum_of([self.share(error), *(self.taken_share(rank) for rank in range(1, self.processes))])
        facts = self.facts or next(reversed(read_facts(self.path)), None)
        if facts is not None:  # else the answers are older than these records
            self.write(facts, "complete" if together.error is None else "failed", together)

    def taken_share(self, rank: int) -> ProcessShare:
        """Another process's share, taken away; an unknown one where it left none."""
        path = self.share_file(rank)
        if not path.is_file():
            return ProcessShare(None, None, None)
        share = ProcessShare(**read_json(path))
        path.unlink()
        return share

    def write(self, facts: RunFacts, status: str, share: ProcessShare) -> None:
        """Write this session down, in the place of what it has written before."""
        session = Session(self.started, processes=self.processes, status=status, **asdict(share))
        record(self.path, facts, session, self.kept)


def sum_of(shares: list[ProcessShare]) -> ProcessShare:
    """Of several processes: the longest time, all answers and tokens, the first error; None where one is unknown."""

    def over(name: str, together: Callable[[list[Any]], Any]) -> Any:
        values = [getattr(share, name) for share in shares]
        return None if None in values else together(values)

    errors = [share.error for share in shares if share.error is not None]
    amounts = {name: over(name, sum) for name in ("answers", "tokens", "empty")}
    gates = None if amounts["answers"] is None else added(share.gates for share in shares)
    checks = None if amounts["answers"] is None else costs_added(share.checks for share in shares)
    error = errors[0] if errors else None
    return ProcessShare(over("seconds", max), error=error, gates=gates, checks=checks, **amounts)
