"""lm-evaluation-harness models: a checkpoint, unguarded or guarded, on tasks with pictures and of text alone."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any, Callable, Mapping

import torch
import torch.distributed
from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm.auto import tqdm

from vlmguard_plugin.benchmarks.condition import early_layer
from vlmguard_plugin.hosts.early_layers import VISION_LAYER
from vlmguard_plugin.hosts.guard_spec import GuardSpec, agreed_guard
from vlmguard_plugin.hosts.guarded import GuardedModel, Spent, shared_values
from vlmguard_plugin.hosts.lm_eval.batches import plan
from vlmguard_plugin.hosts.lm_eval.processes import ManyProcesses
from vlmguard_plugin.hosts.lm_eval.requests import PLACE, Prompt, conversation, generation_of, pictures, query_of
from vlmguard_plugin.hosts.models import MODELS
from vlmguard_plugin.naming import ANY_CHECKPOINT, split_guarded
from vlmguard_plugin.query import BlankImage
from vlmguard_plugin.runs.check_costs import costs_added
from vlmguard_plugin.runs.facts import RunFacts, Session
from vlmguard_plugin.runs.gate_counts import added

MAX_GEN_TOKS = 256
"""The host's own length of an answer where neither the task nor --gen_kwargs names one, in tokens."""
HOST_DEVICES = ("cuda", "cuda:0")
"""What the host hands over whether or not the user has named a device."""
logger = logging.getLogger(__name__)


class GuardedLM(ManyProcesses):
    """A model of MODELS or any checkpoint, with or without a guard.

    name, model, guard: what the class is registered as and stands for; None where model_args say it.
    pretrained: a save_pretrained folder or a hub name, in the place of the model's own. device, dtype and other
    arguments: see GuardSpec. max_gen_toks: length of an answer where the task names none.
    max_length: tokens a text is cut into windows of (loglikelihood_rolling); None is the model's own context length.
    All other arguments are the guard's settings; of several guards, {guard: {setting: value}}.

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
        device: str | None = None,
        dtype: str | None = None,
        max_gen_toks: int = MAX_GEN_TOKS,
        max_length: int | None = None,
        max_batch_size: int | None = None,
        trust_remote_code: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__()
        model = pretrained or self.model
        if not model:
            raise ValueError(
                f"--model {self.name} needs a checkpoint; add pretrained=FOLDER_OR_HUB_NAME to --model_args"
            )
        check_whole(max_gen_toks=max_gen_toks, **({} if max_length is None else {"max_length": max_length}))
        if "max_new_tokens" in arguments:
            raise ValueError("max_new_tokens: the host's own name for it is max_gen_toks; give that")
        spec = GuardSpec.of(
            model,
            agreed_guard(self.guard, guard, self.name),
            **arguments,
            max_new_tokens=max_gen_toks,
            device=None if device in HOST_DEVICES else device,
            dtype=None if dtype == "auto" else dtype,
        )
        if trust_remote_code:
            logger.warning("vlmguard: trust_remote_code is for data sets alone; no code of a checkpoint is run")
        self.max_gen_toks, self._max_length, self._device = max_gen_toks, max_length, torch.device("cpu")
        self.join()
        self.guarded = GuardedModel(spec)
        self.subject = self.guarded.subject
        self.tokenizer = self.subject.processor.tokenizer
        self._started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._spent: list[dict[str, Spent]] = []
        self._generation: dict[str, dict[str, Any]] = {}

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: Mapping[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> GuardedLM:
        """What --model_args name goes before the host's own arguments."""
        return cls(
            **{**{key: value for key, value in (additional_config or {}).items() if value is not None}, **arg_dict}
        )

    # What the host asks

    def generate_until(self, requests: list[Instance]) -> list[str]:
        def answer(task: str, batch: list[Instance]) -> list[str]:
            stop, generation = generation_of(batch[0].args[1], self.max_gen_toks)
            asked = {VISION_LAYER: batch[0].args[1][VISION_LAYER]} if VISION_LAYER in batch[0].args[1] else {}
            self._generation[task] = {**generation, **asked, "stop": list(stop)}
            queries = [query_of(request) for request in batch]
            early = early_layer(str(batch[0].doc.get("dataset", ""))) if isinstance(batch[0].doc, dict) else None
            if early != batch[0].args[1].get(VISION_LAYER):
                raise ValueError(
                    f"task {task} has {VISION_LAYER} {batch[0].args[1].get(VISION_LAYER)} among its generation_kwargs, "
                    f"and its data set is one of layer {early}; write its file by `vlmguard tasks lm_eval NAME`"
                )
            answers = self.guarded.respond(queries, task, early, stop=stop, **generation)
            for request, answered in zip(batch, answers):
                self.guarded.meter.count_gate(task, answered.fired, request.doc)
            return [str(answered.text) for answered in answers]

        def alike(request: Instance) -> tuple:
            return json.dumps(request.args[1], sort_keys=True, default=str), len(pictures(request))

        return self._in_batches("generate_until", requests, alike, answer)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        def score(task: str, batch: list[Instance]) -> list[tuple[float, bool]]:
            queries, answers = [query_of(request) for request in batch], [request.args[1] for request in batch]
            likelihoods = self.guarded.log_likelihoods(queries, answers, task)
            return [(likelihood.log_probability, likelihood.greedy) for likelihood in likelihoods]

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
            totals = [0.0] * len(batch)
            likelihoods = self.guarded.token_log_likelihoods(contexts, continuations, len(batch), task)
            for owner, likelihood in zip(owners, likelihoods):
                totals[owner] += likelihood.log_probability
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
        config = self.subject.config.get_text_config()
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
        """What the host keeps in its results under "config": the facts of the run, and what each task cost."""
        return {"vlmguard": {**self._facts().to_dict(), "tasks": self._tasks()}}

    # Batches and processes

    def _in_batches(
        self,
        kind: str,
        requests: list[Instance],
        alike: Callable[[Instance], Any],
        answer: Callable[[str, list[Instance]], list[Any]],
        contexts: bool = False,
    ) -> list[Any]:
        """Answers in the requests' order; each batch goes to the host's cache when it is answered. See `plan`."""
        work = plan(requests, alike, self.subject.batch_size, contexts)
        answers: dict[int, Any] = {}
        with tqdm(total=work.answers, desc=kind, disable=self.rank != 0) as bar:
            for batch in work.batches:
                said = answer(batch.task, [requests[index] for index in batch.indices])
                for index, response in zip(batch.indices, said, strict=True):
                    answers[index] = response
                    self.cache_hook.add_partial(kind, requests[index].args, response)
                bar.update(len(batch.indices))
        return [answers[index] for index in work.answered_as]

    def barrier(self) -> None:
        """Wait for the others, and hear what they have spent."""
        if self.world_size > 1:
            self._spent = self.from_all(self.guarded.meter.spent)

    # Facts

    def _facts(self) -> RunFacts:
        """Of the whole run; its generation arguments are those that its tasks share."""
        shared = shared_values(list(self._generation.values()))
        return self.guarded.facts("lm_eval", version("lm_eval"), self.name, **shared)

    def _tasks(self) -> dict[str, dict[str, Any]]:
        """By task, as a Session: of several processes the longest time, and all their answers and tokens."""
        by_process = self._spent or [self.guarded.meter.spent]
        tasks = {}
        for task in dict.fromkeys(task for by_task in by_process for task in by_task):
            shares = [by_task[task] for by_task in by_process if task in by_task]
            session = Session(
                started=self._started,
                seconds=max(share.seconds for share in shares),
                answers=sum(share.answers for share in shares),
                tokens=sum(share.tokens or 0 for share in shares),
                processes=self.world_size,
                gates=added(share.gates for share in shares),
                checks=costs_added(share.checks for share in shares),
            )
            tasks[task] = {**asdict(session), "generation": self._generation.get(task, {})}
        return tasks


def check_whole(**values: Any) -> None:
    """ValueError for a value that is no whole number of at least 1."""
    for name, value in values.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")


def __getattr__(name: str) -> type[GuardedLM]:
    """The class of a name in the host's registry, whichever way it is spelled."""
    if name == ANY_CHECKPOINT:
        return GuardedLM
    written = name.replace("-", "_")
    model, guard = (written, None) if written in MODELS else split_guarded(written, MODELS.__contains__) or (None, None)
    if model is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    about = f"{model}, guard {guard}."
    return type("GuardedLM", (GuardedLM,), {"name": name, "model": model, "guard": guard, "__doc__": about})
