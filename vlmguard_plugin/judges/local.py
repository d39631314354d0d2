"""What the judges that are local transformers models share: prompts that fit, batches, reading what the model writes.

The published formats (who speaks when, what the output looks like) belong to the models. The authors' prompt texts
are not part of this package: Llama Guard's come with its checkpoint (the chat template); for the others the file with
the authors' text is a setting (`prompt_file`), and without one a wording of our own stands in, which is not the
authors' protocol, whatever the weights. Each judgement's reason and the judge's version say which it was.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Mapping, Sequence

from vlmguard_plugin.judges.base import Case, JudgeError, Judgement, first_line
from vlmguard_plugin.judges.local_model import BATCH_SIZE, LocalModel, in_batches
from vlmguard_plugin.judges.rules import RulesJudge
from vlmguard_plugin.judges.wording import Wording, wording
from vlmguard_plugin.steering.fingerprint import model_fingerprint

TYPED = "'type': 'text'"
"""What a template that doesn't know typed parts writes out."""


class LocalJudge(ABC):
    """A judge that is a local model. Subclasses say what is asked (`prompt`) and what the output means (`read`).

    path: a save_pretrained folder or hub name, by default the authors' on the hub. batch_size: cases a pass; a batch
    that doesn't fit is halved. device, dtype: see LocalModel.load. prompt_file: see WordedJudge; JudgeError for judges
    that take none. An answer too long for the model's context is cut at its end, never the instructions, and the reason
    says so.

    Harmless requests (`Case.harmful` False) are judged by the refusal rules alone, refusal or safe: these models know
    nothing of refusals (our convention).

    version: the judge's reading of outputs, its prompt, a fingerprint of the weights, and the refusal rules.
    """

    name: str
    checkpoint: str | None = None
    """The authors' hub name."""
    reading = 1
    """Raised whenever outputs are read in another way."""
    max_new_tokens = 100
    """Tokens that the model may write for a verdict."""
    answer_tokens: int | None = None
    """Tokens of the answer that the published protocol reads; None for all."""
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
        self.take_prompt(prompt_file)
        checkpoint = path or self.checkpoint
        if not checkpoint:
            raise JudgeError(f"judge {self.name} has no model of its own; give path, the folder or hub name of one")
        if batch_size < 1:
            raise JudgeError(f"judge {self.name}: batch size is {batch_size}; it must be at least 1")
        self.batch_size = batch_size
        self.rules = RulesJudge()
        self.local = LocalModel.load(checkpoint, device, dtype)

    def take_prompt(self, prompt_file: str | Path | None) -> None:
        """Settle the wording of the prompt, before the model is loaded. Raises JudgeError for a file that can't be."""
        if prompt_file:
            raise JudgeError(f"judge {self.name} takes no prompt file ({prompt_file}); its model brings its own prompt")

    @cached_property
    def version(self) -> str:
        """See the class's docstring."""
        weights, rules = model_fingerprint(self.local.model), f"rules-{self.rules.version}"
        return "+".join((str(self.reading), self.prompt_version, weights, rules))

    @property
    @abstractmethod
    def prompt_version(self) -> str:
        """What tells this judge's prompt and settings from others."""

    @abstractmethod
    def prompt(self, case: Case, answer: str) -> str:
        """The whole prompt, as text, for a case's answer or the beginning of it."""

    @abstractmethod
    def read(self, case: Case, output: str) -> Judgement:
        """The judgement that an output means; a failure where it is not in the model's format."""

    def asks_model(self, case: Case) -> bool:
        """Whether the model judges this case; else the refusal rules do."""
        return case.harmful

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        """One judgement a case, in order."""
        judgements: dict[int, Judgement] = {}
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
        return [judgements[index] for index in range(len(cases))]

    def by_rules(self, case: Case, why: str) -> Judgement:
        """Refusal or safe, by the refusal rules."""
        verdict = self.rules.judgement(replace(case, harmful=False))
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


class WordedJudge(LocalJudge):
    """A local judge whose prompt is a wording with {fields}: its authors', from a file, or our own.

    prompt_file: the authors' prompt as UTF-8 text with this judge's `fields` in braces, in place of our own wording; by
    default $VLMGUARD_<NAME>_PROMPT. The rest as in LocalJudge.
    """

    ours: str
    """Our own wording of the prompt."""
    fields: Sequence[str]
    """The {fields} of a wording."""
    wording: Wording

    def take_prompt(self, prompt_file: str | Path | None) -> None:
        self.wording = wording(self.name, self.ours, self.fields, prompt_file)

    @property
    def prompt_version(self) -> str:
        return f"wording-{self.wording.version}"
