"""lm-evaluation-harness models: a checkpoint, unguarded or guarded, on tasks with pictures and of text alone."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import defaultdict
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from functools import cache
from importlib.metadata import version
from types import ModuleType
from typing import Any, Callable, Iterator, Mapping, Sequence

import torch
import torch.distributed
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM, CacheHook
from lm_eval.api.registry import model_registry
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm.auto import tqdm

from vlmguard_plugin.guards.core.registry import load_guard
from vlmguard_plugin.hosts.guarded import GuardedModel, Spent
from vlmguard_plugin.hosts.models import MODELS
from vlmguard_plugin.naming import ANY_CHECKPOINT, guard_names, guarded_name, spellings
from vlmguard_plugin.query import BlankImage, ImageLike, Query, Turn
from vlmguard_plugin.runs.facts import RunFacts, Session

PLACE = "<image>"
"""Where the host's tasks put a picture."""
MAX_GEN_TOKS = 256
"""The host's own length of an answer where neither the task nor --gen_kwargs names one, in tokens."""
HOST_DEVICES = ("cuda", "cuda:0")
"""What the host hands over whether or not the user has named a device."""
WAIT = timedelta(days=7)
"""How long a process waits for the slowest one."""

logger = logging.getLogger(__name__)


class Prompt(str):
    """A conversation as the host logs it: in the model's chat template. messages: it itself, [{role, content}, ...]."""

    messages: list[dict[str, str]]


class GuardedLM(LM):
    """A model of MODELS or any checkpoint, with or without a guard.

    name, model, guard: what the class is registered as and stands for; None where model_args say it.
    pretrained: a save_pretrained folder or a hub name, in the place of the model's own. guard_dir, anchors, device,
    dtype, batch_size: see GuardedModel. max_gen_toks: length of an answer where the task names none.
    max_length: tokens a text is cut into windows of (loglikelihood_rolling); None is the model's own context length.
    settings: the guard's; of several guards, {guard: {setting: value}}.

    How likely a continuation is, is asked of the guarded model as if it were generating the continuation: the context
    is the prompt, at whose last token the guard decides.
    """

    MULTIMODAL = True
    name = ANY_CHECKPOINT
    model: str | None = None
    guard: str | None = None

    def __init__(
        self,
        pretrained: str | None = None,
        guard: str | None = None,
        guard_dir: str | None = None,
        anchors: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int | str | None = None,
        max_gen_toks: int = MAX_GEN_TOKS,
        max_length: int | None = None,
        max_batch_size: int | None = None,
        trust_remote_code: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        model = pretrained or self.model
        if not model:
            raise ValueError(
                f"--model {self.name} needs a checkpoint; add pretrained=FOLDER_OR_HUB_NAME to --model_args"
            )
        if guard and self.guard not in (None, guard):
            raise ValueError(f"--model {self.name} has the guard {self.guard!r}; for {guard!r} use --model vlmguard")
        guard = guard or self.guard
        check_whole(max_gen_toks=max_gen_toks, **({} if max_length is None else {"max_length": max_length}))
        check_folder(guard, guard_dir)
        if trust_remote_code:
            logger.warning("vlmguard: trust_remote_code is for data sets alone; no code of a checkpoint is run")
        self.max_gen_toks, self._max_length, self._device = max_gen_toks, max_length, torch.device("cpu")
        self._join()
        self.guarded = GuardedModel(
            model,
            guard,
            guard_dir=guard_dir,
            anchors=anchors,
            max_new_tokens=max_gen_toks,
            device=None if device in HOST_DEVICES else device,
            dtype=None if dtype == "auto" else dtype,
            batch_size=batch_size,
            settings=settings,
        )
        self.subject = self.guarded.subject
        self.tokenizer = self.subject.processor.tokenizer
        self._started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._spent: list[dict[str, Spent]] = []
        self._generation: dict[str, dict[str, Any]] = {}

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: Mapping[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> "GuardedLM":
        """What --model_args name goes before the host's own arguments."""
        return cls(
            **{**{key: value for key, value in (additional_config or {}).items() if value is not None}, **arg_dict}
        )

    # What the host asks

    def generate_until(self, requests: list[Instance]) -> list[str]:
        def answer(task: str, batch: list[Instance]) -> list[str]:
            stop, generation = generation_of(batch[0].args[1], self.max_gen_toks)
            self._generation[task] = {**generation, "stop": list(stop)}
            return self.guarded.respond([self.query(one) for one in batch], task, stop=stop, **generation)

        def alike(request: Instance) -> tuple:
            return json.dumps(request.args[1], sort_keys=True, default=str), len(pictures(request))

        return self._in_batches("generate_until", requests, alike, answer)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        def score(task: str, batch: list[Instance]) -> list[tuple[float, bool]]:
            queries, answers = [self.query(one) for one in batch], [one.args[1] for one in batch]
            with self.guarded.meter.answering(task, len(batch), self.subject):
                if self.guarded.guard is None:
                    found = self.subject.log_likelihoods(queries, answers)
                else:
                    found = self.guarded.guard.log_likelihoods(self.subject, queries, answers)
            return [(one.log_probability, one.greedy) for one in found]

        return self._in_batches("loglikelihood", requests, lambda request: len(pictures(request)), score, contexts=True)

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        def score(task: str, batch: list[Instance]) -> list[float]:
            owners, contexts, continuations = [], [], []
            for owner, request in enumerate(batch):
                for window in get_rolling_token_windows(
                    self.tok_encode(request.args[0]), self.prefix_token_id, self.max_length, 1
                ):
                    context, continuation = make_disjoint_window(window)
                    owners.append(owner)
                    contexts.append(context)
                    continuations.append(continuation)
            with self.guarded.meter.answering(task, len(batch), self.subject):
                if self.guarded.guard is None:
                    found = self.subject.token_log_likelihoods(contexts, continuations)
                else:
                    found = self.guarded.guard.token_log_likelihoods(self.subject, contexts, continuations)
            totals = [0.0] * len(batch)
            for owner, one in zip(owners, found):
                totals[owner] += one.log_probability
            return totals

        return self._in_batches("loglikelihood_rolling", requests, lambda request: (), score)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> Prompt:
        """The conversation in the model's chat template, from which `query` gets it back."""
        places = chat_history[-1 if add_generation_prompt else -2]["content"].count(PLACE)
        prompt = Prompt(self.subject.prompt(conversation(chat_history, (BlankImage(),) * places)))
        prompt.messages = [dict(message) for message in chat_history]
        return prompt

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template itself, for the host's records."""
        if isinstance(chat_template, str):
            raise ValueError(
                f"--apply_chat_template {chat_template}: templates can't be chosen by name; write it without one"
            )
        return getattr(self.subject.processor, "chat_template", None) or self.tokenizer.chat_template

    @property
    def tokenizer_name(self) -> str:
        """Keeps --cache_requests' conversations apart from other models' plain prompts."""
        return f"vlmguard-{self.subject.fingerprint}"

    def tok_encode(self, string: str, **_: Any) -> list[int]:
        """Tokens of a text as it stands, with the special ones that the tokenizer adds."""
        bos = self.tokenizer.bos_token
        return self.tokenizer(string, add_special_tokens=not (bos and string.startswith(bos)))["input_ids"]

    @property
    def prefix_token_id(self) -> int:
        return self.subject.prefix_token_id

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def max_length(self) -> int:
        """Tokens in the model's context; 2048 where its config doesn't say."""
        config = self.subject.model.config.get_text_config()
        return self._max_length or getattr(config, "max_position_embeddings", None) or 2048

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Take over the host's cache of answers (--use_cache), unless another model, guard or setting has filled it.

        The host's keys don't tell these; a key of our own does.
        """
        cache = cache_hook.dbdict
        if cache is not None:
            facts = self._facts().identity
            told = {name: facts[name] for name in facts if name not in ("model", "generation", "seed")}
            mark = json.dumps(
                {**told, "max_gen_toks": self.max_gen_toks, "max_length": self.max_length}, sort_keys=True
            )
            key = "vlmguard-" + hashlib.sha256(mark.encode()).hexdigest()
            if len(cache) and key not in cache:
                raise ValueError(
                    f"--use_cache: {cache.filename} holds answers of another model, guard or setting; "
                    "name another file, one for each --model and --model_args"
                )
            cache[key] = mark
        super().set_cache_hook(cache_hook)

    def get_model_info(self) -> dict[str, Any]:
        """The facts of the run (RunFacts), and what each task cost: what the host keeps in its results under "config"."""
        return {"vlmguard": {**self._facts().to_dict(), "tasks": self._tasks()}}

    # Prompts

    def query(self, request: Instance) -> Query:
        """A request as a query: in the chat template where the host has applied it, else the text as it stands."""
        context = request.args[0]
        if isinstance(context, Prompt):
            return conversation(context.messages, pictures(request))
        parts = placed(context, pictures(request))
        return Query.from_parts(parts, raw=True)

    # Batches

    def _in_batches(
        self,
        kind: str,
        requests: list[Instance],
        alike: Callable[[Instance], Any],
        answer: Callable[[str, list[Instance]], list],
        contexts: bool = False,
    ) -> list:
        """Answers in the requests' order, from batches of one task whose requests are `alike`, the longest first.

        Each batch goes to the host's cache when it is answered. The host fills up a process's requests with copies of
        its last one; they are answered once. contexts: requests that share a context belong in one batch.
        """
        groups: dict[tuple, list[int]] = defaultdict(list)
        places: dict[int, list[int]] = defaultdict(list)  # of one request, as often as it is to be answered
        for index, request in enumerate(requests):
            places[id(request)].append(index)
            if len(places[id(request)]) <= (request.repeats or 1):
                groups[request.task_name or "", alike(request)].append(index)
        found: dict[int, Any] = {}
        with tqdm(total=sum(map(len, groups.values())), desc=kind, disable=self.rank != 0) as bar:
            for (task, _), indices in groups.items():
                indices.sort(
                    key=lambda index: (-len(requests[index].args[0]), requests[index].args[0] if contexts else "")
                )
                for batch in self._cut(indices, requests, contexts):
                    answers = answer(task, [requests[index] for index in batch])
                    for index, one in zip(batch, answers, strict=True):
                        found[index] = one
                        self.cache_hook.add_partial(kind, requests[index].args, one)
                    bar.update(len(batch))
        return [found.get(index, found[places[id(request)][0]]) for index, request in enumerate(requests)]

    def _cut(self, indices: list[int], requests: list[Instance], contexts: bool) -> Iterator[list[int]]:
        """Batches of `batch_size` requests; of as many contexts, where answers to one share a pass."""
        batch: list[int] = []
        seen: set[str] = set()
        for index in indices:
            context = requests[index].args[0] if contexts else str(index)
            if context not in seen and len(seen) == self.subject.batch_size:
                yield batch
                batch, seen = [], set()
            batch.append(index)
            seen.add(context)
        if batch:
            yield batch

    # Many processes

    def _join(self) -> None:
        """Join the other processes of torchrun or accelerate. What they exchange is small and lies on the CPU."""
        self._world_size, self._group = int(os.environ.get("WORLD_SIZE", 1)), None
        if self._world_size == 1:
            return
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo", timeout=WAIT)
        self._group = torch.distributed.new_group(backend="gloo", timeout=WAIT)
        self._rank, self._world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()

    def _from_all(self, value: Any) -> list:
        """Every process's value, by rank."""
        values = [None] * self.world_size
        torch.distributed.all_gather_object(values, value, group=self._group)
        return values

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if self.world_size == 1 else torch.cat([one.reshape(-1) for one in self._from_all(tensor.cpu())])

    def gather_object(self, obj: Any, dst: int = 0) -> list | None:
        if self.world_size == 1:
            return [obj]
        values = self._from_all(obj)
        return values if self.rank == dst else None

    def barrier(self) -> None:
        """Wait for the others, and hear what they have spent."""
        if self.world_size > 1:
            self._spent = self._from_all(self.guarded.meter.spent)

    # Facts

    def _facts(self) -> RunFacts:
        """Of the whole run; its generation arguments are those that its tasks share."""
        each = list(self._generation.values())
        shared = {
            name: value
            for name, value in (each[0] if each else {}).items()
            if all(one.get(name) == value for one in each)
        }
        return self.guarded.facts("lm_eval", version("lm_eval"), self.name, **shared)

    def _tasks(self) -> dict[str, dict[str, Any]]:
        """By task, as a Session: of several processes the longest time, and all their answers and tokens."""
        by_process = self._spent or [self.guarded.meter.spent]
        tasks = {task: [one[task] for one in by_process if task in one] for one in by_process for task in one}
        return {
            task: asdict(
                Session(
                    started=self._started,
                    seconds=max(one.seconds for one in spent),
                    answers=sum(one.answers for one in spent),
                    tokens=sum(one.tokens or 0 for one in spent),
                    processes=self.world_size,
                )
            )
            | {"generation": self._generation.get(task, {})}
            for task, spent in tasks.items()
        }


def register_models(models: ModuleType) -> None:
    """Add our models to the host's registry: "vlmguard", and `<model>`, `<model>-<guard>` for those of MODELS.

    Underscores do as well as hyphens. models: `lm_eval.models`.
    """
    model_registry.register(ANY_CHECKPOINT, target=GuardedLM)
    for model in MODELS:
        for guard in (None, *guard_names()):
            name = guarded_name(model, guard) if guard else model
            for spelling in spellings(name):
                model_registry.register(spelling, target=named(spelling, model, guard))


def named(name: str, model: str, guard: str | None) -> type[GuardedLM]:
    """The class that is registered as one model with one guard."""
    return type(
        "GuardedLM", (GuardedLM,), {"name": name, "model": model, "guard": guard, "__doc__": f"{model}, guard {guard}."}
    )


def conversation(messages: Sequence[Mapping[str, str]], images: Sequence[ImageLike]) -> Query:
    """A query from the host's messages: turns, the last of which may be an answer that is begun (`gen_prefix`).

    images: of the last request, in the places for pictures there.
    """
    *earlier, last = messages
    begun = ""
    if last["role"] == "assistant":
        begun = last["content"]
        *earlier, last = earlier
    for turn in earlier:
        if images and PLACE in turn["content"]:
            raise ValueError(
                f"an earlier turn or example has a place for a picture ({PLACE}), but the host hands over the request's "
                "pictures alone; use --num_fewshot 0"
            )
    history = [Turn(turn["role"], (("text", turn["content"]),)) for turn in earlier]
    return Query.from_parts(placed(last["content"], images), history, begun=begun)


def placed(text: str, images: Sequence[ImageLike]) -> list[tuple[str, ImageLike]]:
    """The parts of a text with pictures in the first places for them; a place beyond them is somebody's words."""
    texts = text.split(PLACE, len(images))
    if len(texts) <= len(images):
        raise ValueError(
            f"a request has {len(texts) - 1} places for pictures ({PLACE}), but its task hands over {len(images)}"
        )
    if images and PLACE in texts[-1]:
        warn_once(
            f"vlmguard: a request has more places for pictures ({PLACE}) than pictures; the first are taken, the others are words"
        )
    parts: list[tuple[str, ImageLike]] = [("text", texts[0])]
    for image, after in zip(images, texts[1:]):
        parts += [("image", image), ("text", after)]
    return [part for part in parts if part != ("text", "")] or [("text", "")]


@cache
def warn_once(message: str) -> None:
    logger.warning(message)


def pictures(request: Instance) -> tuple[ImageLike, ...]:
    """The pictures that the host hands over with a request. ValueError for sounds."""
    beside = next((one for one in request.args if isinstance(one, dict) and ("visual" in one or "audio" in one)), {})
    if beside.get("audio"):
        raise ValueError(f"{request.task_name} has sounds, which a guarded model can't take")
    return tuple(beside.get("visual") or ())


def generation_of(asked: Mapping[str, Any], max_gen_toks: int) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The host's generation_kwargs as (texts that an answer ends before, arguments of `generate`)."""
    wanted = dict(normalize_gen_kwargs(dict(asked), max_gen_toks))
    stop = tuple(text for text in wanted.pop("until") if text)
    wanted["max_new_tokens"] = wanted.pop("max_gen_toks")
    if not wanted["do_sample"]:
        for sampling in ("temperature", "top_p", "top_k"):
            wanted.pop(sampling, None)
    return stop, wanted


def check_folder(guard: str | None, guard_dir: str | None) -> None:
    """ValueError, FileNotFoundError or DamagedGuard where a folder can't be the guard's."""
    if guard_dir is None:
        return
    found = load_guard(guard_dir)
    if guard is None:
        raise ValueError(f"guard_dir is {guard_dir!r}, but no guard is named; add guard={found.name}")
    if found.name != guard:
        raise ValueError(f"guard_dir {guard_dir!r} holds the guard {found.name!r}, but {guard!r} was asked for")


def check_whole(**values: Any) -> None:
    """ValueError for a value that is no whole number of at least 1."""
    for name, value in values.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
