"""A guard model in this process: a sequence classifier with its labels, or a language model in one of the forms."""

from __future__ import annotations

import math
from typing import Any, Sequence

from vlmguard_plugin.guards.core.evaluators import loaded_whole, of_checkpoint
from vlmguard_plugin.guards.core.moderation import CheckCosts, Exchange, ModerationFailed, read_reply, worded
from vlmguard_plugin.lazy import torch, transformers

MAX_TOKENS = 64
"""The longest reply of a language model, in tokens."""


def tokenizer_of(name: str) -> Any:
    """A checkpoint's tokenizer; it cuts a long text at its beginning."""
    from vlmguard_plugin.subjects.text_models import check_reads

    tokenizer = of_checkpoint(
        "guard_model", name, lambda place: transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    )
    of_checkpoint("guard_model", name, lambda _: check_reads(lambda text: tokenizer(text)["input_ids"]))
    tokenizer.truncation_side = "left"
    return tokenizer


class ClassifierModerator:
    """A sequence classifier: unsafe where its unsafe labels have together a probability of `threshold` or more; of one
    whose labels don't rule each other out (problem_type multi_label_classification), where any of them has.

    name: folder or hub name. unsafe_labels: of the labels that its config names. device: as the subject's.
    It reads the request, and the answer behind it as a second text. Too long a text is refused: what it has not read
    it can't call safe.
    """

    def __init__(self, name: str, unsafe_labels: Sequence[str], threshold: float, device: str) -> None:
        from vlmguard_plugin.subjects.text_models import context_length

        self.name, self.threshold, self.costs = name, threshold, CheckCosts()
        self.model = loaded_whole("guard_model", name, transformers.AutoModelForSequenceClassification, device, None)
        labels = {str(label): int(number) for number, label in self.model.config.id2label.items()}
        self.multi_label = getattr(self.model.config, "problem_type", None) == "multi_label_classification"
        strangers = [label for label in unsafe_labels if label not in labels]
        if strangers or (len(set(unsafe_labels)) == len(labels) and not self.multi_label):
            but = "" if self.multi_label else "but not all, "
            raise ValueError(
                f"unsafe_labels is {list(unsafe_labels)}; {name!r} has the labels {', '.join(labels)}: name those, "
                f"{but}that mean unsafe"
            )
        self.unsafe_numbers = sorted({labels[label] for label in unsafe_labels})
        self.tokenizer = tokenizer_of(name)
        self.context = context_length(self.model.config, self.tokenizer)

    def unsafe(self, exchanges: Sequence[Exchange]) -> list[bool]:
        """Of each exchange, by itself, so that no other one changes it."""
        return [self.probability(exchange) >= self.threshold for exchange in exchanges]

    def probability(self, exchange: Exchange) -> float:
        """That an exchange is unsafe, 0 to 1."""
        from vlmguard_plugin.subjects.text_models import plain_words

        said = [exchange.request] + ([] if exchange.answer is None else [exchange.answer])
        inputs = self.tokenizer(*(plain_words(text, self.tokenizer) for text in said), return_tensors="pt")
        length = int(inputs["input_ids"].shape[1])
        self.costs.add(1, length)
        check_length(self.name, length, self.context)
        with torch.no_grad():
            logits = self.model(**inputs.to(self.model.device)).logits[0].float()
        if self.multi_label:
            probability = float(logits.sigmoid()[self.unsafe_numbers].max())
        else:
            probability = float(logits.softmax(dim=-1)[self.unsafe_numbers].sum())
        if not math.isfinite(probability):
            raise ModerationFailed(f"guard model {self.name!r} gives {probability}; its checkpoint is damaged")
        return probability


class GeneratorModerator:
    """A causal language model that is asked in one of FORMS, greedily. wording: in place of ours.

    llama_guard wants the checkpoint's own chat template; plain uses it where there is one; wildguard's wording stands
    by itself.
    """

    def __init__(self, name: str, form: str, wording: str | None, device: str) -> None:
        from vlmguard_plugin.subjects.text_models import context_length

        self.name, self.form, self.wording, self.costs = name, form, wording, CheckCosts()
        self.tokenizer = tokenizer_of(name)
        if form == "llama_guard" and not self.tokenizer.chat_template:
            raise ValueError(
                f"guard_model {name!r} has no chat template, which form=llama_guard needs; give form=plain"
            )
        self.model = loaded_whole("guard_model", name, transformers.AutoModelForCausalLM, device, None)
        self.context = context_length(self.model.config, self.tokenizer)

    def unsafe(self, exchanges: Sequence[Exchange]) -> list[bool]:
        """Of each exchange, one after the other; ModerationFailed for a reply that says neither."""
        return [self.is_unsafe(exchange) for exchange in exchanges]

    def is_unsafe(self, exchange: Exchange) -> bool:
        """One exchange's verdict."""
        inputs = self.encoded(exchange)
        length = int(inputs["input_ids"].shape[1])
        self.costs.add(1, length)
        check_length(self.name, length + MAX_TOKENS, self.context)
        with torch.no_grad():
            written = self.model.generate(
                **inputs.to(self.model.device),
                max_new_tokens=MAX_TOKENS,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id,
            )[0, length:]
        self.costs.add(0, len(written))
        reply = self.tokenizer.decode(written, skip_special_tokens=True)
        try:
            return read_reply(self.form, exchange, reply)
        except ModerationFailed as error:
            raise ModerationFailed(f"guard model {self.name!r}: {error}; the request is not answered") from error

    def encoded(self, exchange: Exchange) -> Any:
        """Model inputs that ask for an exchange's verdict; others' words hold no special token."""
        from vlmguard_plugin.subjects.text_models import plain_words

        clean = Exchange(
            tuple((role, plain_words(words, self.tokenizer)) for role, words in exchange.turns),
            None if exchange.answer is None else plain_words(exchange.answer, self.tokenizer),
        )
        turns = worded(self.form, clean, self.wording)
        if self.tokenizer.chat_template and self.form != "wildguard":
            messages = [{"role": role, "content": words} for role, words in turns]
            prompt = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            return self.tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        prompt = turns[-1][1]
        begun = bool(self.tokenizer.bos_token) and prompt.startswith(self.tokenizer.bos_token)
        return self.tokenizer(prompt, return_tensors="pt", add_special_tokens=not begun)


def check_length(name: str, tokens: int, context: int) -> None:
    """ModerationFailed for a text that is longer than a model reads."""
    if tokens > context:
        raise ModerationFailed(
            f"guard model {name!r} reads {context} tokens and {tokens} are needed; the request is not answered, as "
            "nobody checked all of it"
        )
