"""A local language model as judges and perplexity use it: loaded without foreign code, decoded greedily in batches."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Sequence, TypeVar

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
from vlmguard_plugin.files import expanded
from vlmguard_plugin.judges.base import JudgeError, first_line
from vlmguard_plugin.subjects.devices import default_device, default_dtype
from vlmguard_plugin.subjects.loading import DTYPES
from vlmguard_plugin.subjects.text_models import check_reads, context_length, plain_words

BATCH_SIZE = 8
"""Prompts that are read at a time, unless another number is asked for."""
ERRORS = (RuntimeError, ValueError, IndexError)
"""What a batch may fail with; out of memory is a RuntimeError."""

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
        folder = expanded(checkpoint)
        if not folder.is_dir() and (folder.is_absolute() or str(checkpoint).startswith((".", "~"))):
            raise JudgeError(f"there is no model folder {checkpoint}; give a save_pretrained folder or a hub name")
        source = str(folder) if folder.is_dir() else str(checkpoint)
        try:
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            check_reads(lambda text: tokenizer(text)["input_ids"])
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
        return cls(model.eval(), tokenizer, context_length(model.config, tokenizer))

    @property
    def padding(self) -> int:
        """The token that fills up a batch; it is masked, so any will do."""
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        return next((token for token in known if token is not None), 0)

    def plain(self, text: str) -> str:
        """The text without the tokenizer's special tokens, so that data can't end a turn or start one."""
        return plain_words(text, self.tokenizer)

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


def model_class(config: Any) -> type[AutoModelForCausalLM] | type[AutoModelForImageTextToText]:
    """The class that loads a checkpoint whole: Llama Guard 4 is a vision-language model, the others are not."""
    architecture = (getattr(config, "architectures", None) or [""])[0]
    return AutoModelForImageTextToText if architecture.endswith("ForConditionalGeneration") else AutoModelForCausalLM


def in_batches(
    items: Sequence[Item], size: int, run: Callable[[list[Item]], list[Result]], length: Callable[[Item], int]
) -> list[Result | Exception]:
    """run's results in the items' order, run on the longest items first, `size` at a time.

    length: how long an item is. A batch that fails with one of ERRORS is halved; an item that fails alone gives its
    error as its result.
    """
    order = sorted(range(len(items)), key=lambda index: -length(items[index]))
    results: list[Result | Exception] = [RuntimeError("not run")] * len(items)
    waiting = [order[start : start + size] for start in range(0, len(order), size)]
    while waiting:
        batch = waiting.pop(0)
        try:
            done: list[Result | Exception] = [*run([items[index] for index in batch])]
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
