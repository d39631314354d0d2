"""Any transformers image-text-to-text model as a subject, batched."""

from __future__ import annotations

import inspect
from contextlib import ExitStack, contextmanager
from itertools import groupby, takewhile
from operator import eq, itemgetter
from typing import Any, Callable, Iterator, NamedTuple, Sequence

import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from vlmguard_plugin.pictures.meaningless import draw_blank
from vlmguard_plugin.query import BlankImage, ImageLike, Query, Turn, open_image
from vlmguard_plugin.steering.decoder import OnePassHeard, find_decoder
from vlmguard_plugin.steering.edit import Edits, editing
from vlmguard_plugin.steering.fingerprint import model_fingerprint
from vlmguard_plugin.steering.record import record_last_token

SomeEdits = Edits | Sequence[Edits]
EditsForBatch = Callable[[Sequence[Query]], SomeEdits]


class AnswersCutShort(RuntimeError):
    """Generation stopped at an error. `answers` holds what was answered before: list of str or None, by query."""

    def __init__(self, message: str, answers: list[str | None]) -> None:
        super().__init__(message)
        self.answers = answers


class Likelihood(NamedTuple):
    """log_probability: of an answer, natural logarithm. greedy: whether each of its tokens was the most likely one."""

    log_probability: float
    greedy: bool


class HuggingFaceSubject:
    """A transformers image-text-to-text model and its processor.

    model: any model with `generate` whose language model's decoder layers can be found (see layers_path).
    processor: the model's own; prompts are built with its chat template, generation prompt included.
    batch_size: queries per pass. layers_path: name of the decoder's ModuleList, where it can't be found.

    num_layers (L), hidden_size (d) and fingerprint describe the language model and the weights.
    generated_tokens: how many have been generated so far, by all answers together.
    """

    def __init__(self, model, processor, *, batch_size: int = 8, layers_path: str | None = None) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        if not (getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)):
            raise ValueError(
                f"{type(processor).__name__} has no chat template, so prompts can't be built as the model expects them; "
                "set processor.chat_template to the model's own"
            )
        self.model = model.eval()
        self.processor = processor
        self.batch_size = batch_size
        self.generated_tokens = 0
        self._answer_tokens: Tensor | None = (
            None  # int [rows]: of the answers in the pass under way, where it scores some
        )
        text_only = Query("Hello")
        self.decoder = find_decoder(model, lambda: self._prefill([text_only]), layers_path)
        self.num_layers = len(self.decoder.layers)
        self.hidden_size = self.decoder.hidden_size
        self.fingerprint = model_fingerprint(model)

    def record(self, queries: Sequence[Query], *, progress: str | None = None) -> Tensor:
        """Hidden states of the last prompt token after each decoder layer: float32 [N, L, d] on the CPU.

        progress: label of a progress bar; None shows none. Inside `guard.on(subject)` the states are edited ones.
        """
        states = torch.empty(len(queries), self.num_layers, self.hidden_size)
        with tqdm(total=len(queries), desc=progress, unit="prompt", disable=progress is None) as bar:
            for indices in self._batches(queries):
                batch = [queries[i] for i in indices]
                states[indices] = record_last_token(self.decoder, lambda: self._prefill(batch))
                bar.update(len(indices))
        return states

    def generate(
        self,
        queries: Sequence[Query],
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        progress: str | None = None,
        stop: Sequence[str] = (),
        **generation,
    ) -> list[str]:
        """One answer per query, in order, greedy unless told otherwise. White space around it is cut off, except after a raw query.

        edits: edits for all queries alike, the first acting first, or a function from a batch's queries to its edits;
            None for none.
        stop: texts that an answer ends before.
        generation: arguments of the model's `generate` (max_new_tokens, num_beams, ...).
        Raises AnswersCutShort, with the answers so far, when a batch fails (an unreadable image, out of memory).
        """
        if generation.get("num_return_sequences", 1) != 1:
            raise ValueError("num_return_sequences must be 1: there is one answer per query; sample by calling again")
        generation = {"do_sample": False, **generation}
        answers: list[str | None] = [None] * len(queries)
        with tqdm(total=len(queries), desc=progress, unit="answer", disable=progress is None) as bar:
            for indices in self._batches(queries):
                batch = [queries[i] for i in indices]
                try:
                    batch_edits = edits(batch) if callable(edits) else edits
                    texts = self._answer(batch, batch_edits, stop, generation)
                except (ValueError, RuntimeError, OSError) as error:
                    done = sum(answer is not None for answer in answers)
                    where = f"query {indices[0]}" if len(indices) == 1 else f"the batch of queries {indices}"
                    raise AnswersCutShort(
                        f"{where} could not be answered: {error} ({done} of {len(queries)} answers are in .answers)",
                        answers,
                    ) from error
                for index, text in zip(indices, texts):
                    answers[index] = text
                bar.update(len(indices))
        return answers

    def log_likelihoods(
        self, queries: Sequence[Query], answers: Sequence[str], edits: SomeEdits | EditsForBatch | None = None
    ) -> list[Likelihood]:
        """How likely the model is to give each answer to its query, under edits as if it generated the answer.

        edits: as for `generate`; decided at the last prompt token, in one pass over prompt and answer.
        Prompt and answer are made into tokens together. White space at the prompt's end is counted to the answer, for
        tokenizers join it to the word that follows (lm-evaluation-harness's convention). Answers that differ in their
        last token alone share a pass. ValueError for an answer that adds no token.
        """
        rows = [self._scored(query, answer) for query, answer in zip(queries, answers, strict=True)]
        return self._likelihoods(
            rows, lambda batch: self.encode([row.query for row in batch], [row.answer for row in batch]), edits
        )

    def token_log_likelihoods(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        edits: SomeEdits | EditsForBatch | None = None,
    ) -> list[Likelihood]:
        """The same for prompts and answers given as tokens, special ones included: text alone, at least one token each."""
        rows = [
            _Scored(Query("", raw=True), "", (*prompt, *answer), len(prompt), len(prompt))
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        return self._likelihoods(rows, lambda batch: self._padded([row.tokens for row in batch]), edits)

    @contextmanager
    def editing(self, edits: Edits) -> Iterator[None]:
        """While open, the model's own `generate` (and plain forward passes) run with `edits` in place."""
        with editing(
            self.model,
            self.decoder,
            edits,
            image_token_id=self.image_token_id,
            answer_tokens=lambda: self._answer_tokens,
        ):
            yield

    @property
    def prompt_form(self) -> str:
        """Identifies how prompts are built: a request in the model's chat template."""
        return self.prompt(Query("request"))

    @property
    def image_token_id(self) -> int | None:
        """Id of the token that stands for an image in the prompt; None where the model has none."""
        config = self.model.config
        for name in ("image_token_id", "image_token_index"):
            if getattr(config, name, None) is not None:
                return getattr(config, name)
        return None

    def prompt(self, query: Query) -> str:
        """The query's conversation in the model's own chat template, generation prompt or begun answer included.

        A raw query's is its text with the image token in the images' places; the token that texts begin with, if empty.
        The image token in somebody's words is broken up by a space: there is no image for it.
        """
        turns = [self._readable(turn) for turn in query.turns()]
        if query.raw:
            parts = [self.image_token if kind == "image" else value for kind, value in turns[-1].parts]
            return "".join(parts) or self.processor.tokenizer.decode([self.prefix_token_id])
        if query.begun:
            turns.append(self._readable(Turn("assistant", (("text", query.begun),))))
        conversation = [{"role": turn.role, "content": template_content(turn)} for turn in turns]
        template = self.processor if getattr(self.processor, "chat_template", None) else self.processor.tokenizer
        return template.apply_chat_template(
            conversation,
            add_generation_prompt=not query.begun,
            continue_final_message=bool(query.begun),
            tokenize=False,
        )

    @property
    def image_token(self) -> str | None:
        """What stands for an image in the prompt's text; None where the model has nothing."""
        token = getattr(self.processor, "image_token", None)
        if token is None and self.image_token_id is not None:
            token = self.processor.tokenizer.decode([self.image_token_id])
        return token

    @property
    def prefix_token_id(self) -> int:
        """The token that texts begin with: the tokenizer's bos token, or its eos token where it has none."""
        tokenizer = self.processor.tokenizer
        return tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id

    def _readable(self, turn: Turn) -> Turn:
        mark = self.image_token
        if not mark:
            return turn
        broken = f"{mark[0]} {mark[1:]}"
        return Turn(
            turn.role,
            tuple((kind, value.replace(mark, broken) if kind == "text" else value) for kind, value in turn.parts),
        )

    def encode(self, queries: Sequence[Query], answers: Sequence[str] | None = None):
        """Model inputs for queries with equally many images each, earlier turns' included, padded on the left, on the model's device.

        answers: text behind each prompt, read as part of it.
        """
        tokenizer = self.processor.tokenizer
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        images = [[self._read(image) for image in query.all_images] for query in queries]
        side, tokenizer.padding_side = tokenizer.padding_side, "left"
        try:
            inputs = self.processor(
                text=[
                    self.prompt(query) + answer
                    for query, answer in zip(queries, answers or [""] * len(queries), strict=True)
                ],
                images=images if images[0] else None,
                padding=True,
                return_tensors="pt",
                add_special_tokens=self._template_lacks_bos(queries[0]),
            )
        finally:
            tokenizer.padding_side = side
        inputs = inputs.to(self.model.device)
        for name, value in inputs.items():
            if value.is_floating_point():
                inputs[name] = value.to(self.model.dtype)
        return inputs

    def _template_lacks_bos(self, query: Query) -> bool:
        bos = self.processor.tokenizer.bos_token
        return not (bos and self.prompt(query).startswith(bos))

    def _read(self, image: ImageLike) -> Image.Image:
        if isinstance(image, BlankImage):
            return draw_blank(image, self.processor.image_processor)
        if isinstance(image, Image.Image):
            return image.convert("RGB")
        with open_image(image) as opened:
            try:
                return opened.convert("RGB")
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"image {str(image)!r} can't be read ({error}); give a readable PNG or JPEG file"
                ) from error

    def _batches(self, queries: Sequence[Query]) -> Iterator[list[int]]:
        """Indices of the queries that go through the model together: equally many images, in order."""
        by_images: dict[int, list[int]] = {}
        for index, query in enumerate(queries):
            by_images.setdefault(len(query.all_images), []).append(index)
        for indices in by_images.values():
            for start in range(0, len(indices), self.batch_size):
                yield indices[start : start + self.batch_size]

    def _prefill(self, queries: Sequence[Query]) -> None:
        """Start a generation: the same preparation as an answer's, for as long as nobody cuts it short."""
        with torch.no_grad():
            self.model.generate(**self.encode(queries), do_sample=False, max_new_tokens=1)

    def _answer(
        self, queries: Sequence[Query], edits: SomeEdits | None, stop: Sequence[str], generation: dict
    ) -> list[str]:
        inputs = self.encode(queries)
        prompt_tokens = inputs["input_ids"].shape[1]
        if stop:
            from transformers import StoppingCriteriaList

            generation = {
                **generation,
                "stopping_criteria": StoppingCriteriaList([self._stopping(stop, prompt_tokens)]),
            }
        with self._edited(edits), torch.no_grad():
            tokens = self.model.generate(**inputs, **generation)
        new = tokens[:, prompt_tokens:]
        self.generated_tokens += int((new != self.processor.tokenizer.pad_token_id).sum())
        texts = self.processor.tokenizer.batch_decode(new, skip_special_tokens=True)
        for end in stop:
            texts = [text.split(end)[0] for text in texts]
        return [text if query.raw else text.strip() for query, text in zip(queries, texts)]

    @contextmanager
    def _edited(self, edits: SomeEdits | None) -> Iterator[None]:
        with ExitStack() as stack:
            for one in [edits] if isinstance(edits, Edits) else edits or ():
                stack.enter_context(self.editing(one))
            yield

    def _stopping(self, stop: Sequence[str], prompt_tokens: int) -> Callable[..., Tensor]:
        """Tells `generate` which rows have come to one of the texts: bool [rows]."""
        window = 1 + max(len(text.encode()) for text in stop)  # a token holds a byte at least

        def stopped(tokens: Tensor, scores: Any, **_: Any) -> Tensor:
            ends = self.processor.tokenizer.batch_decode(
                tokens[:, prompt_tokens:][:, -window:], skip_special_tokens=True
            )
            return torch.tensor([any(text in end for text in stop) for end in ends], device=tokens.device)

        return stopped

    def _scored(self, query: Query, answer: str) -> _Scored:
        prompt = self.prompt(query)
        special = self._template_lacks_bos(query)

        def tokens(text: str) -> list[int]:
            return self.processor.tokenizer(text, add_special_tokens=special)["input_ids"]

        whole, own = tokens(prompt + answer), tokens(prompt)
        shared = sum(takewhile(bool, map(eq, whole, own)))  # all of the prompt, unless the answer joins its last token
        first = max(1, len(tokens(prompt.rstrip())))
        if first >= len(whole):
            raise ValueError(
                f"the answer {answer!r} adds no token to its prompt, so it has no likelihood; give a longer one"
            )
        return _Scored(query, answer, tuple(whole), min(shared, len(whole) - 1), first)

    def _padded(self, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Rows of tokens as model inputs, padded on the left."""
        length, pad = max(map(len, rows)), self.processor.tokenizer.pad_token_id or 0
        ids = torch.tensor([[pad] * (length - len(row)) + list(row) for row in rows])
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
        return {"input_ids": ids.to(self.model.device), "attention_mask": mask.to(self.model.device)}

    def _likelihoods(
        self,
        rows: Sequence[_Scored],
        inputs_of: Callable[[list[_Scored]], Any],
        edits: SomeEdits | EditsForBatch | None,
    ) -> list[Likelihood]:
        """The likelihood of each row. inputs_of: model inputs of a batch of rows."""
        alike: dict[tuple, list[int]] = {}  # rows that differ in their last token alone, by what they share
        for index, row in enumerate(rows):
            pictures = tuple(id(image) for image in row.query.all_images)
            alike.setdefault((row.tokens[:-1], row.prompt_tokens, pictures), []).append(index)
        groups = list(alike.values())
        found: dict[int, Likelihood] = {}
        for picked in self._batches([rows[group[0]].query for group in groups]):
            batch = [rows[groups[i][0]] for i in picked]
            longest = max(len(rows[index].tokens) - rows[index].first for i in picked for index in groups[i])
            logits = self._logits(
                inputs_of(batch),
                torch.tensor([len(row.tokens) - row.prompt_tokens for row in batch]),
                longest + 1,
                edits([row.query for row in batch]) if callable(edits) else edits,
            )
            for i, own in zip(picked, logits):
                for index in groups[i]:
                    found[index] = likelihood(own, rows[index].tokens[rows[index].first :])
        return [found[index] for index in range(len(rows))]

    def _logits(self, inputs: Any, answer_tokens: Tensor, last: int, edits: SomeEdits | None) -> Tensor:
        """Logits of the last positions (at least `last`) of a pass that begins as a generation does: [rows, positions, words]."""
        heard: list[Tensor] = []

        def hear(module, args, output):
            heard.append(output.logits)
            raise OnePassHeard

        keep = {"logits_to_keep": last} if "logits_to_keep" in inspect.signature(self.model.forward).parameters else {}
        handle = self.model.register_forward_hook(hear)
        self._answer_tokens = answer_tokens
        try:
            with self._edited(edits), torch.no_grad():
                self.model.generate(**inputs, **keep, do_sample=False, max_new_tokens=1)
        except OnePassHeard:
            pass
        finally:
            self._answer_tokens = None
            handle.remove()
        return heard[0]


class _Scored(NamedTuple):
    """An answer whose likelihood is asked for, as tokens (an image's is one) behind its prompt's.

    prompt_tokens: how many of them are the prompt's. first: index of the first that counts.
    """

    query: Query
    answer: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    first: int


def likelihood(logits: Tensor, tokens: Sequence[int]) -> Likelihood:
    """Of the last tokens of a row. logits: [positions, words], the last position's is that of the last token."""
    before = logits[-len(tokens) - 1 : -1].float()
    wanted = torch.tensor(tokens, device=logits.device)
    chosen = torch.log_softmax(before, dim=-1).gather(1, wanted.unsqueeze(1))
    return Likelihood(float(chosen.sum()), bool((before.argmax(dim=-1) == wanted).all()))


def template_content(turn: Turn) -> list[dict[str, str]]:
    """A turn's parts as chat templates take them; texts that follow each other are joined by line breaks."""
    content = []
    for kind, parts in groupby(turn.parts, key=itemgetter(0)):
        if kind == "image":
            content += [{"type": "image"} for _ in parts]
        else:
            content.append({"type": "text", "text": "\n".join(text for _, text in parts)})
    return content
