"""Facts of runs, written beside the host's predictions while it answers, and the refusal of video.

Imported with the host, so what loads guards and subjects is imported when a model is there.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import wraps
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Callable, Iterator

from vlmeval.smp import get_pred_file_path, get_rank_and_world_size

from vlmguard_plugin.hosts.vlmeval.registration import guarded_host, guarded_vlm
from vlmguard_plugin.runs.facts import RunFacts, Session, facts_file, read_facts, record

if TYPE_CHECKING:
    from vlmguard_plugin.hosts.guarded import Meter

HOST = "vlmevalkit"
FAILED = "Failed to obtain answer"  # how the host marks a row without an answer
CHECKPOINT_NAMES = ("model_path", "model_pth", "pretrained")  # attributes of the host's classes
GENERATION_NAMES = ("generate_kwargs", "gen_kwargs", "kwargs")


def register_inference(inference: ModuleType) -> None:
    """Record each data set that `vlmeval.inference` (or `inference_mt`) answers, with whichever model."""
    name = "infer_data_job_mt" if inference.__name__.endswith("_mt") else "infer_data_job"
    setattr(inference, name, recorded(inference, getattr(inference, name)))


def register_video(inference: ModuleType) -> None:
    """Refuse video sets with our models, before one is loaded."""
    job = inference.infer_data_job_video

    @wraps(job)
    def without_ours(model: Any, *arguments: Any, **named: Any) -> Any:
        given = signature(job).bind(model, *arguments, **named).arguments
        if is_ours(model, inference):
            raise ValueError(no_video(given["model_name"], given["dataset"].dataset_name))
        return job(model, *arguments, **named)

    inference.infer_data_job_video = without_ours


def no_video(model: str, dataset: str | None) -> str:
    """Why a video is not answered."""
    return (
        f"{dataset or 'the request'} shows a video, and {model} takes text and images alone; "
        "put its frames as images, or run it with a model of the host's own that reads video, without a guard"
    )


def is_ours(model: Any, inference: ModuleType) -> bool:
    """Whether a model, or the name of one, is a GuardedVLM or a GuardedHost."""
    if isinstance(model, str):
        return getattr(inference.supported_VLM.get(model), "func", None) in (guarded_vlm, guarded_host)
    return hasattr(type(model), "run_facts")


def recorded(inference: ModuleType, job: Callable) -> Callable:
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
        run = Run(given["work_dir"], given["model_name"], given["dataset"].dataset_name)
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


def in_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def harmless(step: Callable) -> Callable:
    """A step of a Run that never fails: what goes wrong is one line on stderr, and no further step is taken."""

    @wraps(step)
    def taken(run: "Run", *arguments: Any) -> None:
        if not run.broken:
            try:
                step(run, *arguments)
            except Exception as error:  # the host's run matters more than ours, whatever this is
                run.broken = True
                print(
                    f"vlmguard: what {run.name} spent on {run.dataset} could not be written down ({in_line(error)})",
                    file=sys.stderr,
                )

    return taken


@dataclass
class Share:
    """What one process has done. error: why it failed, in one line."""

    seconds: float | None
    answers: int | None
    tokens: int | None
    error: str | None = None


class Run:
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
        self.spent, self.before = Share(0.0, 0, None), Share(0.0, 0, None)
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
        self.path, self.kept = facts_file(predictions), any(path.exists() for path in earlier)
        if self.rank > 0:
            self.share_file(self.rank).unlink(missing_ok=True)  # an earlier run's
        elif not self.kept:
            self.write(
                RunFacts(host=HOST, host_version=host_version(), model=self.name), "running", Share(None, None, None)
            )

    @contextmanager
    def watching(self, inference: ModuleType, model: Any) -> Iterator[None]:
        """While open, the model is watched as soon as it is there, and this process's share is left when it has answered."""
        models, infer_data = inference.supported_VLM, inference.infer_data

        def loaded(**named: Any) -> Any:
            built = models[self.name](**named)
            self.watch(built, stack)
            return built

        def infer_and_share(*arguments: Any, **named: Any) -> Any:
            result = infer_data(*arguments, **named)
            self.leave_share(None)
            return result

        with ExitStack() as stack:
            stack.callback(vars(inference).update, supported_VLM=models, infer_data=infer_data)
            if isinstance(model, str):
                inference.supported_VLM = {self.name: loaded}
            else:
                self.watch(model, stack)
            inference.infer_data = infer_and_share
            yield

    @harmless
    def watch(self, model: Any, stack: ExitStack) -> None:
        """Time and count the model's answers until the stack is closed; the run is written down as running."""
        from vlmguard_plugin.hosts.guarded import Meter

        if isinstance(getattr(model, "meter", None), Meter):
            self.meter, self.before = model.meter, total(model.meter)
        self.counted = not getattr(model, "is_api", False)  # those are asked from several threads
        for name in ("generate", "chat") if self.counted else ():
            if callable(getattr(model, name, None)):
                own = vars(model).get(name)
                stack.callback(vars(model).pop if own is None else vars(model).__setitem__, name, own)
                setattr(model, name, self.timed(getattr(model, name)))
        if self.rank == 0:
            self.facts = (
                model.run_facts(self.name)
                if hasattr(type(model), "run_facts")
                else facts_of_host_model(model, self.name)
            )
            self.write(self.facts, "running", Share(None, None, None))

    def timed(self, ask: Callable) -> Callable:
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
                self.spent.seconds += time.perf_counter() - started
            self.spent.answers += FAILED not in str(answer)
            return answer

        return asked

    def share(self, error: str | None) -> Share:
        """What this process has done so far. A model of ours knows its own seconds and tokens."""
        if not self.counted:
            return Share(None, None, None, error)
        if self.meter is None:
            return Share(self.spent.seconds, self.spent.answers, None, error)
        now = total(self.meter)
        tokens = None if now.tokens is None else now.tokens - (self.before.tokens or 0)
        return Share(now.seconds - self.before.seconds, self.spent.answers, tokens, error)

    def share_file(self, rank: int) -> Path:
        return self.path.with_name(f".{self.path.stem}-{rank}of{self.processes}.json")

    @harmless
    def leave_share(self, error: str | None) -> None:
        """The share of a process that is not the first, where that one finds it."""
        if self.rank > 0:
            self.share_file(self.rank).write_text(json.dumps(asdict(self.share(error))), encoding="utf-8")

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

    def taken_share(self, rank: int) -> Share:
        """Another process's share, taken away; an unknown one where it left none."""
        path = self.share_file(rank)
        if not path.is_file():
            return Share(None, None, None)
        share = Share(**json.loads(path.read_text(encoding="utf-8")))
        path.unlink()
        return share

    def write(self, facts: RunFacts, status: str, share: Share) -> None:
        spent = {"seconds": share.seconds, "answers": share.answers, "tokens": share.tokens, "error": share.error}
        record(self.path, facts, Session(self.started, processes=self.processes, status=status, **spent), self.kept)


def total(meter: Meter) -> Share:
    """Over all data sets."""
    spent = list(meter.spent.values())
    counted = [one.tokens for one in spent if one.tokens is not None]
    return Share(
        sum(one.seconds for one in spent), sum(one.answers for one in spent), sum(counted) if counted else None
    )


def sum_of(shares: list[Share]) -> Share:
    """Of several processes: the longest time, all answers and tokens, the first error; None where one of them is unknown."""

    def over(name: str, together: Callable) -> Any:
        values = [getattr(share, name) for share in shares]
        return None if None in values else together(values)

    errors = [share.error for share in shares if share.error is not None]
    return Share(over("seconds", max), over("answers", sum), over("tokens", sum), errors[0] if errors else None)


def host_version() -> str:
    """Of VLMEvalKit, as installed; empty where it was not installed as a package."""
    for package in ("ms-vlmeval", "vlmeval"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""


def facts_of_host_model(model: Any, name: str) -> RunFacts:
    """What can be known of a model of the host's own: its checkpoint (else its class), and how it generates."""
    from vlmguard_plugin.hosts.guarded import versions
    from vlmguard_plugin.subjects.host_object import torch_models

    found = next(
        (value for key in CHECKPOINT_NAMES if isinstance(value := getattr(model, key, None), str)), type(model).__name__
    )
    settings = next((value for key in GENERATION_NAMES if isinstance(value := getattr(model, key, None), dict)), {})
    roots = torch_models(model)
    parameter = next(roots[0].parameters(), None) if roots else None
    return RunFacts(
        host=HOST,
        host_version=host_version(),
        model=name,
        checkpoint=os.path.basename(found.rstrip("/")) if os.path.isabs(found) or os.path.isdir(found) else found,
        generation={key: value for key, value in settings.items() if isinstance(value, (int, float, bool, type(None)))},
        device="" if parameter is None else parameter.device.type,
        dtype="" if parameter is None else str(parameter.dtype).removeprefix("torch."),
        batch_size=1,
        versions=versions(),
    )
