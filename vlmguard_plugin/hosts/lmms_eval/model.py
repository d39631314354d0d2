"""lmms-eval models: a checkpoint, unguarded or guarded, through one and the same code.

A class for each name: `vlmguard` takes everything from `--model_args`, `llava_vlmguard` and the like know their model
and guard.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, Callable, ClassVar, Iterator, Mapping, Sequence

from accelerate import Accelerator
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from loguru import logger
from PIL import Image
from torch import distributed
from tqdm import tqdm
from transformers import GenerationConfig

from vlmguard_plugin.benchmarks.condition import early_layer
from vlmguard_plugin.hosts.early_layers import VISION_LAYER
from vlmguard_plugin.hosts.guard_spec import ARGUMENTS, GuardSpec, agreed_guard
from vlmguard_plugin.hosts.guarded import GuardedModel, NoAnswer, Spent, shared_values
from vlmguard_plugin.hosts.lmms_eval import hooks
from vlmguard_plugin.hosts.lmms_eval.registration import guarded
from vlmguard_plugin.hosts.models import MODELS
from vlmguard_plugin.naming import ANY_CHECKPOINT, guarded_name
from vlmguard_plugin.query import ImageLike, Query, Turn
from vlmguard_plugin.reading import parsed_json
from vlmguard_plugin.runs.check_costs import costs_added
from vlmguard_plugin.runs.facts import Session
from vlmguard_plugin.runs.gate_counts import added
from vlmguard_plugin.subjects.devices import default_device
from vlmguard_plugin.subjects.stopping import before

GENERATION = GenerationConfig()
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p")
PADDING = "__padding_only__"  # the host's mark on requests that only make ranks equally busy; it drops their answers


class RequestFailed(RuntimeError):
    """A document got no answer."""


@dataclass(frozen=True)
class Asked:
    """A request of the host as it is put to the model.

    position: among the host's requests. content: of the document. generation: arguments of `generate`. stops: texts
    that an answer ends before.
    """

    position: int
    request: Instance
    task: str
    document: int
    content: Any
    query: Query
    generation: Mapping[str, Any]
    stops: tuple[str, ...]


class GuardedLMM(lmms):
    """A model of MODELS or any checkpoint, with or without a guard.

    pretrained: name in MODELS, a save_pretrained folder or a hub name. guard: registered name, or several joined by
    "+".
    batch_size: requests per pass. device: of several processes each takes a GPU of its own.
    arguments: others of GuardSpec (max_new_tokens counts where a task names no length), and the guard's settings;
    lists and the settings of composed guards as JSON (`layers=[14,15]`).

    Requests of one task with the same generation arguments and equally many images are answered together. The first
    that fails stops the run. Whether to sample is decided by the temperature where one is given, as in the host's own
    models; other generation arguments go to `generate` where it knows them.
    """

    is_simple = False
    host_name: ClassVar[str] = ANY_CHECKPOINT
    of_model: ClassVar[str | None] = None
    of_guard: ClassVar[str | None] = None
    finished: ClassVar[GuardedLMM | None] = None  # whose facts go into the next results file

    def __init__(
        self,
        pretrained: str | None = None,
        guard: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__()
        guard = agreed_guard(self.of_guard, guard, self.host_name)
        if not (pretrained or self.of_model):
            raise ValueError(f"pretrained is missing; give a folder, a hub name, or one of {', '.join(MODELS)}")
        model = str(pretrained or self.of_model)
        if max_batch_size is not None:
            raise ValueError(
                f"max_batch_size is {max_batch_size!r}, but batches are of a fixed size; use --batch_size alone"
            )
        self.accelerator = Accelerator()
        if distributed.is_available() and distributed.is_initialized():
            # on CPUs the accelerator itself counts one process
            self._rank, self._world_size = distributed.get_rank(), distributed.get_world_size()
        if self._world_size > 1 and str(device).startswith("cuda"):
            device = default_device()
        settings = {name: parsed(name, value) for name, value in arguments.items() if name not in ARGUMENTS}
        try:
            self.spec = GuardSpec.of(
                model, guard, **{**arguments, **settings, "device": device, "batch_size": batch_size}
            )
        except ValueError as error:
            if not any(name in str(error) for name in settings):
                raise
            beside = ", ".join(("pretrained", "guard", *ARGUMENTS))
            raise ValueError(f"{error} (beside the guard's settings, --model_args are {beside})") from error
        self.guarded = GuardedModel(self.spec)
        checkpoint = os.path.basename(model.rstrip("/"))
        self.name = guarded_name(checkpoint, guard) if guard else checkpoint
        self.name = self.name if self.host_name == ANY_CHECKPOINT else self.host_name
        self.device = self.accelerator.device if self._world_size > 1 else self.guarded.subject.device
        self.started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.generation: dict[str, Mapping[str, Any]] = {}
        self.passed_over: set[str] = set()
        self.failure: Exception | None = None
        self.facts: dict[str, Any] | None = None

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """One answer per request, in order."""
        return self.in_batches(requests, self.answer)

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """A guarded model writes answers: its guard may ask more than once, or rewrite the request."""
        raise NotImplementedError(
            f"{self.name} writes answers and gives no likelihoods; choose a task that asks for answers"
        )

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        raise NotImplementedError(
            f"{self.name} answers single requests; task {requests[0].task_name} has several rounds"
        )

    def in_batches(
        self, requests: Sequence[Instance], answer: Callable[[list[Asked]], list[str | NoAnswer]]
    ) -> list[str]:
        """The answers that `answer` gives to one batch after the other.

        Of one process, the first failure is raised at once. Of several, the others would wait for this one for ever:
        they answer their shares, and then all processes fail together (`clean`).
        """
        answers: dict[int, str] = {}
        real = sum(not request.metadata.get(PADDING) for request in requests)
        with tqdm(total=real, desc=self.name, unit="answer", disable=self.rank != 0) as bar:
            try:
                for batch in self.batches(requests):
                    said = list(zip(batch, answer(batch)))
                    failed = [(asked, text) for asked, text in said if isinstance(text, NoAnswer)]
                    if failed:
                        (asked, nothing), more = failed[0], f" (and {len(failed) - 1} more)" if failed[1:] else ""
                        where = f"task {asked.task}, document {asked.document}{more}"
                        raise RequestFailed(f"{where}: {nothing.reason}; {self.name} stops")
                    answers.update((asked.position, text) for asked, text in said if isinstance(text, str))
                    bar.update(len(batch))
            except Exception as error:  # a task's own code among it, so any
                if self.world_size == 1:
                    raise
                logger.error(f"{error}; the other processes finish their shares first")
                self.failure = self.failure or error
        return [answers.get(position, "") for position in range(len(requests))]

    def batches(self, requests: Sequence[Instance]) -> Iterator[list[Asked]]:
        """The requests, each batch as full as the batch size; documents are read as they are needed."""
        waiting: dict[tuple, list[Asked]] = {}
        for position, request in enumerate(requests):
            if request.metadata.get(PADDING):
                continue
            asked = self.asked(position, request)
            generation = json.dumps([asked.generation, asked.stops], sort_keys=True, default=str)
            kind = (asked.task, generation, len(asked.query.all_images))
            waiting.setdefault(kind, []).append(asked)
            if len(waiting[kind]) == self.guarded.subject.batch_size:
                yield waiting.pop(kind)
        yield from waiting.values()

    def asked(self, position: int, request: Instance) -> Asked:
        """The host's request with its document's messages; RequestFailed where they can't be put to the model."""
        _, messages, arguments, document, task, split = request.args
        try:
            content = self.task_dict[task][split][document]
            query = as_query(messages(content))
            generation, stops = as_generation(arguments or {}, self.guarded.max_new_tokens)
        except Exception as error:  # a task's own code, so any
            raise RequestFailed(f"task {task}, document {document}: {error}; {self.name} stops") from error
        self.generation[task] = generation
        for name in set(arguments or {}) - self.passed_over - {"until", "max_gen_toks"}:
            if not hasattr(GENERATION, name):
                self.passed_over.add(name)
                logger.warning(
                    f"{self.name} passes over generation argument {name} of task {task}: `generate` has none of that "
                    "name"
                )
        return Asked(position, request, task, document, content, query, generation, stops)

    def answer(self, batch: Sequence[Asked]) -> list[str | NoAnswer]:
        """The model's answers to requests of one kind, up to their stop strings."""
        first = batch[0]
        early = early_layer(str(first.content.get("dataset", ""))) if isinstance(first.content, dict) else None
        if early is not None:
            self.generation[first.task] = {**first.generation, VISION_LAYER: early}
        answers = self.guarded.respond_each([asked.query for asked in batch], first.task, early, **first.generation)
        for asked, answered in zip(batch, answers):
            self.guarded.meter.count_gate(first.task, answered.fired, asked.content)
        texts = [answered.text for answered in answers]
        return [text if isinstance(text, NoAnswer) else before(text, first.stops) for text in texts]

    def clean(self) -> None:
        """Called by the host in every process when all is answered: gathers the run's facts, frees the model."""
        spent = {task: asdict(self.guarded.meter.spent.get(task, Spent())) for task in self.generation}
        own = (str(self.failure) if self.failure else None, spent)
        everyone: list[Any] = [own]
        if self.world_size > 1:
            everyone = [None] * self.world_size
            distributed.all_gather_object(everyone, own)
        if self.failure:
            raise self.failure
        for rank, (failure, _) in enumerate(everyone):
            if failure:
                raise RequestFailed(f"rank {rank} of {self.world_size}: {failure}")
        self.facts = self.facts_of_run([spent for _, spent in everyone])
        GuardedLMM.finished = self
        del self.guarded
        super().clean()

    def facts_of_run(self, spent: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
        """The model's RunFacts as plain values, and under "tasks" what each cost.

        That is a Session, with its generation arguments.
        spent: by rank, by task.
        """
        facts = self.guarded.facts("lmms_eval", version("lmms_eval"), self.name)
        tasks = {}
        for task in self.generation:
            shares = [by_task[task] for by_task in spent if task in by_task]
            tokens = [share["tokens"] for share in shares if share["tokens"] is not None]
            session = Session(
                self.started,
                max(share["seconds"] for share in shares),
                sum(share["answers"] for share in shares),
                sum(tokens) if tokens else None,
                self.world_size,
                gates=added(share["gates"] for share in shares),
                checks=costs_added(share["checks"] for share in shares),
            )
            tasks[task] = {**asdict(session), "generation": dict(self.generation[task])}
        return {**facts.to_dict(), "generation": shared_values(list(self.generation.values())), "tasks": tasks}


def as_query(messages: Sequence[Mapping[str, Any]]) -> Query:
    """A document's messages as a query, the last one being the request."""
    turns = [Turn(message["role"], tuple(parts_of(message["content"]))) for message in messages]
    if not turns or turns[-1].role != "user":
        raise ValueError("its messages don't end with the user's")
    return Query.from_parts(turns[-1].parts, turns[:-1])


def parts_of(content: str | Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ImageLike]]:
    """The parts of a message; ValueError for a video or a sound."""
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        if part["type"] == "text":
            yield "text", part["text"]
        elif part["type"] == "image":
            yield "image", as_image(part["url"])
        else:
            raise ValueError(f"it holds a part of kind {part['type']!r}; guarded models take text and images")


def as_image(url: Any) -> ImageLike:
    """What hosts' data sets hold as an image: a PIL image, a file's path, or a dict of bytes or path."""
    if isinstance(url, Mapping):
        url = Image.open(io.BytesIO(url["bytes"])) if url.get("bytes") else url.get("path")
    if isinstance(url, Image.Image) or (isinstance(url, (str, Path)) and os.path.isfile(url)):
        return url
    raise ValueError(f"its image {str(url)[:80]!r} is neither a picture nor a file")


def as_generation(arguments: Mapping[str, Any], max_new_tokens: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A task's generation arguments as those of `generate`, and its stop strings."""
    given = {name: value for name, value in arguments.items() if value is not None}
    stops = given.pop("until", ())
    length = given.pop("max_gen_toks", max_new_tokens)
    sample = given["temperature"] > 0 if "temperature" in given else bool(given.get("do_sample"))
    known = {
        name: value for name, value in given.items() if hasattr(GENERATION, name) and (sample or name not in SAMPLING)
    }
    return {"max_new_tokens": length, **known, "do_sample": sample}, (stops,) if isinstance(stops, str) else tuple(
        stops
    )


def parsed(name: str, value: Any) -> Any:
    """A guard's setting from `--model_args`, where the host reads numbers and flags, and leaves JSON as a string."""
    if not (isinstance(value, str) and (value == "null" or value[:1] in ("[", "{"))):
        return value
    try:
        return parsed_json(value)
    except ValueError as error:
        raise ValueError(
            f"{name} is {value!r}, which is no JSON ({error}); write lists as in layers=[14,15]"
        ) from error


def __getattr__(name: str) -> type[GuardedLMM]:
    """The class of a name in the host's registry."""
    model, guard = (
        (None, None) if name == ANY_CHECKPOINT else (name, None) if name in MODELS else guarded(name) or (name, "")
    )
    if guard == "":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = type(name, (GuardedLMM,), {"__module__": __name__, "host_name": name, "of_model": model, "of_guard": guard})
    globals()[name] = made
    return made


hooks.put_on(GuardedLMM)
