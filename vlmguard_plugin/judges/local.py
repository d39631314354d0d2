"""What the judges that are local transformers models share: loading, prompts that fit, batched greedy decoding.

The published formats (who speaks when, what the output looks like) belong to the models. The authors' prompt texts
are not part of this package: Llama Guard's come with its checkpoint (the chat template); for the others the file with
the authors' text is a setting (`prompt_file`), and without one a wording of our own stands in, which is not the
authors' protocol, whatever the weights. Each judgement's reason and the judge's version say which it was.
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Callable, Mapping, Sequence, TypeVar

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from vlmguard_plugin import environment
from vlmguard_plugin.judges.base import Case, JudgeError, Judgement
from vlmguard_plugin.judges.rules import RulesJudge
from vlmguard_plugin.steering.fingerprint import model_fingerprint
from vlmguard_plugin.subjects.loading import DTYPES, default_device, default_dtype

BATCH_SIZE = 8
ERRORS = (RuntimeError, ValueError, IndexError)
"""What a batch may fail with; out of memory is a RuntimeError."""

TYPED = "'type': 'text'"
"""What a template that doesn't know typed parts writes out."""

Item = TypeVar("Item")
Result = TypeVar("Result")
log = logging.getLogger(__name__)


@dataclass
class LocalModel:
    """A causal language model with its tokenizer. context: tokens it can read and write in all."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    context: int

    @classmethod
    def load(cls, checkpoint: str | Path, device: str | None = None, dtype: str | None = None) -> LocalModel:
        """A model from a save_pretrained folder or the hub. No remote code is run and no pickled weights are read.

        device: "cpu", "cuda", "cuda:1", "mps", or "auto" to spread over all GPUs; by default $VLMGUARD_JUDGE_DEVICE,
            else this process's own GPU, else the CPU.
        dtype: "float32", "bfloat16" or "float16"; by default $VLMGUARD_JUDGE_DTYPE, else what the device does well.
        Raises JudgeError where there is no such model.
        """
        device = device or environment.JUDGE_DEVICE.value() or default_device()
        name = dtype or environment.JUDGE_DTYPE.value()
        if name and name not in DTYPES:
            raise JudgeError(f"dtype is {name!r}; choose one of {', '.join(DTYPES)} (dtype or $VLMGUARD_JUDGE_DTYPE)")
        folder = Path(checkpoint).expanduser()
        if not folder.is_dir() and (folder.is_absolute() or str(checkpoint).startswith((".", "~"))):
            raise JudgeError(f"there is no model folder {checkpoint}; give a save_pretrained folder or a hub name")
        source = str(folder) if folder.is_dir() else str(checkpoint)
        try:
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            model, loaded = model_class(config).from_pretrained(
                source,
                dtype=DTYPES[name] if name else default_dtype(device, getattr(config, "dtype", None)),
                device_map="auto" if device == "auto" else {"": device},
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise JudgeError(
                f"model {checkpoint} can't be loaded ({first_line(error)}); it must be a folder with config, tokenizer "
                "and safetensors weights, or a hub name whose licence you have accepted (hf auth login)"
            ) from error
        if loaded["missing_keys"]:
            first = sorted(loaded["missing_keys"])[0]
            raise JudgeError(f"model {checkpoint} lacks weights ({first}, ...); get the whole checkpoint")
        if tokenizer.chat_template is None and model_class(config) is AutoModelForImageTextToText:
            tokenizer.chat_template = AutoProcessor.from_pretrained(source, trust_remote_code=False).chat_template
        return cls(model.eval(), tokenizer, context_length(model, tokenizer))

    @property
    def padding(self) -> int:
        """The token that fills up a batch; it is masked, so any will do."""
        return next((t for t in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id) if t is not None), 0)

    def plain(self, text: str) -> str:
        """The text without the tokenizer's special tokens, so that data can't end a turn or start one."""
        special = {str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        for token in sorted(special | set(self.tokenizer.all_special_tokens), key=len, reverse=True):
            text = text.replace(token, " ")
        return text

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a whole prompt, with what the tokenizer puts around a text unless the prompt begins with it."""
        begun = bool(self.tokenizer.bos_token) and prompt.startswith(self.tokenizer.bos_token)
        return self.tokenizer(prompt, add_special_tokens=not begun)["input_ids"]

    def words(self, text: str) -> list[int]:
        """Token ids of a piece of text, without special tokens around it."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def generate(self, prompts: Sequence[list[int]], max_new_tokens: int) -> list[str]:
        """What the model writes after each of a batch of prompts (token ids): greedy, special tokens left out."""
        length = max(map(len, prompts))
        ids = torch.tensor([[self.padding] * (length - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        settings = self.model.generation_config
        stop = settings.eos_token_id if settings.eos_token_id is not None else self.tokenizer.eos_token_id
        with torch.inference_mode():
            written = self.model.generate(
                input_ids=ids.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                repetition_penalty=1.0,
                eos_token_id=stop,
                pad_token_id=self.padding,
            )
        return self.tokenizer.batch_decode(written[:, length:], skip_special_tokens=True)


def model_class(config):
    """The class that loads a checkpoint whole: Llama Guard 4 is a vision-language model, the others are not."""
    architecture = (getattr(config, "architectures", None) or [""])[0]
    return AutoModelForImageTextToText if architecture.endswith("ForConditionalGeneration") else AutoModelForCausalLM


def context_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that the model can read and write, by its own and its tokenizer's word; 2048 where neither says."""
    known = (getattr(model.config.get_text_config(), "max_position_embeddings", None), tokenizer.model_max_length)
    return min([length for length in known if length and length < 10**9], default=2048)


def first_line(error: Exception) -> str:
    """An error in at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def in_batches(
    items: Sequence[Item], size: int, run: Callable[[list[Item]], list[Result]], length: Callable[[Item], int]
) -> list[Result | Exception]:
    """run's results in the items' order, longest items first; a failing batch is halved, an item that fails alone
    gives its error."""
    order = sorted(range(len(items)), key=lambda index: -length(items[index]))
    results: list[Result | Exception] = [RuntimeError("not run")] * len(items)
    waiting = [order[start : start + size] for start in range(0, len(order), size)]
    while waiting:
        batch = waiting.pop(0)
        try:
            done: list = run([items[index] for index in batch])
        except ERRORS as error:
            log.info("a batch of %d failed (%s)", len(batch), first_line(error))
            done = [error.with_traceback(None)]
        if len(batch) > 1 and isinstance(done[0], Exception):
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            middle = len(batch) // 2
            waiting[:0] = [batch[:middle], batch[middle:]]
            continue
        for index, result in zip(batch, done):
            results[index] = result
    return results


@dataclass(frozen=True)
class Wording:
    """The text of a judge's prompt with its {fields}. source: whose it is, in words. authors: by a prompt file."""

    text: str
    source: str

    @property
    def version(self) -> str:
        """Digest of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:8]

    def filled(self, **values: str) -> str:
        """The prompt; only these {fields} are filled in, once, so that braces in values stay as they are."""
        return re.sub(r"\{(%s)\}" % "|".join(values), lambda field: values[field[1]], self.text)


def wording(judge: str, ours: str, fields: Sequence[str], prompt_file: str | Path | None) -> Wording:
    """The prompt file's text (argument, or $VLMGUARD_<JUDGE>_PROMPT), else our own wording.

    Raises JudgeError if the file can't be read or lacks one of the fields.
    """
    path = prompt_file or environment.JUDGE_PROMPTS[judge].value()
    if not path:
        return Wording(ours, "our own wording, not the authors' prompt")
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JudgeError(f"judge {judge}: prompt file {path} can't be read ({first_line(error)})") from error
    missing = [f"{{{field}}}" for field in fields if f"{{{field}}}" not in text]
    if missing:
        raise JudgeError(f"judge {judge}: prompt file {path} has no {' and no '.join(missing)}; put the field there")
    return Wording(text, f"prompt file {Path(path).name}")


class LocalJudge:
    """A judge that is a local model. Subclasses say what is asked (`prompt`) and what the output means (`read`).

    path: a save_pretrained folder or hub name, by default the authors' on the hub. batch_size: cases a pass; a batch
    that doesn't fit is halved. device, dtype: see LocalModel.load. prompt_file: the authors' prompt as UTF-8 text with
    this judge's `fields` in braces, in place of our own wording; by default $VLMGUARD_<NAME>_PROMPT. An answer too long
    for the model's context is cut at its end, never the instructions, and the reason says so.

    Harmless requests (`Case.harmful` False) are judged by the refusal rules alone, refusal or safe: these models know
    nothing of refusals (our convention).

    version: the judge's reading of outputs, its prompt, a fingerprint of the weights, and the refusal rules.
    """

    name = ""
    checkpoint: str | None = None
    """The authors' hub name."""
    reading = 1
    """Raised whenever outputs are read in another way."""
    max_new_tokens = 100
    answer_tokens: int | None = None
    """Tokens of the answer that the published protocol reads; None for all."""
    ours = ""
    """Our own wording of the prompt; none where the checkpoint brings its own."""
    fields: Sequence[str] = ()
    """The {fields} of a wording."""
    templated = False
    """Whether prompts come out of a chat template, which brings every special token itself."""

    def __init__(
        self,
        path: str | Path | None = None,
        batch_size: int = BATCH_SIZE,
        device: str | None = None,
        dtype: str | None = None,
        prompt_file: str | Path | None = None,
    ) -> None:
        if prompt_file and not self.ours:
            raise JudgeError(f"judge {self.name} takes no prompt file ({prompt_file}); its model brings its own prompt")
        checkpoint = path or self.checkpoint
        if not checkpoint:
            raise JudgeError(f"judge {self.name} has no model of its own; give path, the folder or hub name of one")
        if batch_size < 1:
            raise JudgeError(f"judge {self.name}: batch size is {batch_size}; it must be at least 1")
        self.batch_size = batch_size
        self.wording = wording(self.name, self.ours, self.fields, prompt_file) if self.ours else None
        self.rules = RulesJudge()
        self.local = LocalModel.load(checkpoint, device, dtype)

    @cached_property
    def version(self) -> str:
        weights, rules = model_fingerprint(self.local.model), f"rules-{self.rules.version}"
        return "+".join((str(self.reading), self.prompt_version, weights, rules))

    @property
    def prompt_version(self) -> str:
        """What tells this judge's prompt and settings from others."""
        return f"wording-{self.wording.version}"

    def prompt(self, case: Case, answer: str) -> str:
        """The whole prompt, as text, for a case's answer or the beginning of it."""
        raise NotImplementedError

    def read(self, case: Case, output: str) -> Judgement:
        """The judgement that an output means; a failure where it is not in the model's format."""
        raise NotImplementedError

    def asks_model(self, case: Case) -> bool:
        """Whether the model judges this case; else the refusal rules do."""
        return case.harmful

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        """One judgement a case, in order."""
        judgements: list[Judgement | None] = [None] * len(cases)
        prompts: dict[int, tuple[list[int], str]] = {}
        for index, case in enumerate(cases):
            if not self.asks_model(case):
                judgements[index] = self.by_rules(case, "harmless request, by the refusal rules")
                continue
            try:
                prompts[index] = self.fitting(case)
            except JudgeError as error:
                judgements[index] = Judgement.failure(str(error))
        asked = list(prompts)
        outputs = in_batches(
            asked,
            self.batch_size,
            lambda batch: self.local.generate([prompts[index][0] for index in batch], self.max_new_tokens),
            lambda index: len(prompts[index][0]),
        )
        for index, output in zip(asked, outputs):
            if isinstance(output, Exception):
                judgements[index] = Judgement.failure(f"{self.name} failed: {first_line(output)}")
                continue
            judgement = self.read(cases[index], output)
            judgements[index] = replace(judgement, reason=judgement.reason + prompts[index][1])
        return judgements

    def by_rules(self, case: Case, why: str) -> Judgement:
        """Refusal or safe, by the refusal rules."""
        verdict = self.rules.one(replace(case, harmful=False))
        return replace(verdict, reason=f"{why}: {verdict.reason}")

    def not_harmful(self, case: Case, output: str, said: str) -> Judgement:
        """The judgement of an answer without harm: a refusal by the rules, or safe."""
        return replace(self.by_rules(case, said), raw=output)

    def not_read(self, output: str, expected: str) -> Judgement:
        """The failure to judge for an output that is not in the model's format."""
        return Judgement.failure(f"the output of {self.name} is not {expected}", output)

    def fitting(self, case: Case) -> tuple[list[int], str]:
        """(token ids of the prompt, note on what was cut), the answer cut so that the model can write its verdict.

        Raises JudgeError if the prompt doesn't fit without the answer either.
        """
        case = replace(
            case,
            request=self.local.plain(case.request),
            intent=self.local.plain(case.intent),
            shown=self.local.plain(case.shown),
        )
        answer = self.local.plain(case.answer or "")
        words = self.local.words(answer)
        encode = self.local.words if self.templated else self.local.encode
        room = self.local.context - self.max_new_tokens
        kept = min(len(words), self.answer_tokens or len(words))
        ids = encode(self.prompt(case, answer if kept == len(words) else self.beginning(words, kept)))
        while len(ids) > room and kept > 0:
            kept = max(0, kept - max(1, len(ids) - room))
            ids = encode(self.prompt(case, self.beginning(words, kept)))
        if len(ids) > room or words and not kept:
            raise JudgeError(f"{self.name}: instructions and request leave no room for the answer in {room} tokens")
        note = f"; only the first {kept} of the answer's {len(words)} tokens were judged" if kept < len(words) else ""
        return ids, note

    def beginning(self, words: list[int], kept: int) -> str:
        """The answer's first tokens as text."""
        return self.local.tokenizer.decode(words[:kept], skip_special_tokens=True)

    def chat(self, messages: Sequence[Mapping[str, str]], parts: bool, generation_prompt: bool) -> str:
        """The checkpoint's own chat template around messages of role and content.

        parts: whether the template takes a list of typed parts as content; the other way is tried where it doesn't.
        Raises JudgeError if there is no template or it leaves a message out.
        """
        from jinja2.exceptions import TemplateError

        if self.local.tokenizer.chat_template is None:
            raise JudgeError(f"{self.name}: the model's tokenizer has no chat template; use the published checkpoint's")
        reason = "it leaves a message out"
        for typed in (parts, not parts):
            turns = [
                {**turn, "content": [{"type": "text", "text": turn["content"]}] if typed else turn["content"]}
                for turn in messages
            ]
            try:
                text = self.local.tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=generation_prompt
                )
            except (TemplateError, TypeError) as error:
                reason = first_line(error)
                continue
            unread = text.count(TYPED) > sum(turn["content"].count(TYPED) for turn in messages)
            if not unread and all(turn["content"].strip() in text for turn in messages):
                return text
        raise JudgeError(f"{self.name}: the model's chat template can't show this conversation ({reason})")
