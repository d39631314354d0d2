"""Any transformers image-text-to-text model as a subject, batched."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Iterator, Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.decoder import Decoder, find_decoder
from vlmguard_plugin.steering.edit import Edits, SomeEdits, as_edits
from vlmguard_plugin.steering.editing import editing, is_edited
from vlmguard_plugin.steering.record import record_last_token
from vlmguard_plugin.subjects.base import AnswersCutShort, Contrast, Drawn, Draws, Likelihood
from vlmguard_plugin.subjects.contrast import contrasted, contrasting, of_pairs
from vlmguard_plugin.subjects.drawing import drawn
from vlmguard_plugin.subjects.local import LocalSubject
from vlmguard_plugin.subjects.prompts import PromptBuilder
from vlmguard_plugin.subjects.scoring import (
    ONE_ANSWER,
    ONE_PASS,
    ScoredAnswer,
    check_same_answers,
    likelihood,
    pass_logits,
    scored_answer,
    scored_tokens,
    sharing_a_pass,
)
from vlmguard_plugin.subjects.seeding import seeded
from vlmguard_plugin.subjects.stopping import before, stopping

if TYPE_CHECKING:
    from vlmguard_plugin.subjects.base import EditsForBatch


class HuggingFaceSubject(LocalSubject):
    """A transformers image-text-to-text model and its processor.

    model: any model with `generate` whose language model's decoder layers can be found (see layers_path).
    processor: the model's own; prompts are built with its chat template, generation prompt included.
    batch_size: queries per pass. layers_path: name of the decoder's ModuleList, where it can't be found.

    A model whose modules or weights change, or another one put into `model`, is looked at again.
    generated_tokens: how many have been generated so far, by all answers together.
    """

    contrasts = draws = True

    def __init__(self, model: Any, processor: Any, *, batch_size: int = 8, layers_path: str | None = None) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        self.prompts = PromptBuilder(processor, model.config)
        self.model = model.eval()
        self.processor = processor
        self.batch_size = batch_size
        self.generated_tokens = 0
        self._text_alone = False
        self._layers_path = layers_path
        self._decoder = self._find_decoder()

    def _find_decoder(self) -> Decoder:
        return find_decoder(self.model, lambda: self._prefill([Query("Hello")]), self._layers_path)

    @property
    def torch_model(self) -> torch.nn.Module:
        model: torch.nn.Module = self.model
        return model

    @property
    def decoder(self) -> Decoder:
        if not self._decoder.is_of(self.model):
            self._decoder = self._find_decoder()
        return self._decoder

    @property
    def device(self) -> torch.device:
        """Where inputs go: the model's device, or where accelerate computes with weights that it has off-loaded."""
        device: torch.device = self.model.device
        if device.type != "meta":
            return device
        places = (
            getattr(getattr(module, "_hf_hook", None), "execution_device", None) for module in self.model.modules()
        )
        return next((torch.device(place) for place in places if place is not None), device)

    @property
    def is_edited(self) -> bool:
        return is_edited(self.model)

    def record(
        self,
        queries: Sequence[Query],
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        progress: str | None = None,
    ) -> Tensor:
        """Hidden states of the last prompt token after each decoder layer: float32 [N, L, d] on the CPU.

        edits: as for `generate`; the states are then those after the edits, as they are inside `guard.on(subject)`.
        progress: label of a progress bar; None shows none.
        """
        states = torch.empty(len(queries), self.num_layers, self.hidden_size)
        with tqdm(total=len(queries), desc=progress, unit="prompt", disable=progress is None) as bar:
            for indices in self.batches(queries):
                batch = [queries[i] for i in indices]
                with self.editing(edits(batch) if callable(edits) else edits):
                    states[indices] = record_last_token(self.decoder, partial(self._prefill, batch))
                bar.update(len(indices))
        return states

    def generate(
        self,
        queries: Sequence[Query],
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        contrast: Contrast | None = None,
        progress: str | None = None,
        stop: Sequence[str] = (),
        **generation: Any,
    ) -> list[str]:
        """One answer per query, in order, greedy unless told otherwise.

        White space around an answer is cut off, except after a raw query.
        edits: edits for all queries alike, the first acting first, or a function from a batch's queries to its edits;
            None for none.
        contrast: other wordings that each answer's logits are contrasted with; decoded beside it, in twice the rows.
        stop: texts that an answer ends before.
        generation: arguments of the model's `generate` (max_new_tokens, num_beams, ...), before the checkpoint's own
            generation_config. seed: of sampling, a whole number.
        Raises AnswersCutShort, with the answers so far, when a batch fails (an unreadable image, out of memory).
        """
        if generation.get("num_return_sequences", 1) != 1:
            raise ValueError("num_return_sequences must be 1: there is one answer per query; sample by calling again")
        if generation.get("return_dict_in_generate"):
            raise ValueError("return_dict_in_generate: answers are texts; call the model's own generate in guard.on")
        stop = (stop,) if isinstance(stop, str) else stop
        greedy = {} if generation.get("generation_config") is not None else {"do_sample": False}
        generation = {**greedy, **generation, **ONE_ANSWER}
        if contrast is not None:
            generation = contrasting(self.model, generation, contrast.alpha)
        answers: dict[int, str] = {}
        bar = tqdm(total=len(queries), desc=progress, unit="answer", disable=progress is None)
        with bar, seeded(generation.pop("seed", None), self.device):
            for indices in self.batches(queries, contrast):
                batch = [queries[i] for i in indices]
                batch += [contrast.queries[i] for i in indices] if contrast else []
                try:
                    batch_edits = edits(batch) if callable(edits) else edits
                    texts = self._answer(batch, batch_edits, stop, generation, contrast is not None)
                except Exception as error:  # templates, tokenizers and image readers raise of any kind
                    where = f"query {indices[0]}" if len(indices) == 1 else f"the batch of queries {indices}"
                    raise AnswersCutShort(
                        f"{where} could not be answered: {error} "
                        f"({len(answers)} of {len(queries)} answers are in .answers)",
                        [answers.get(index) for index in range(len(queries))],
                    ) from error
                answers.update(zip(indices, texts))
                bar.update(len(indices))
        return [answers[index] for index in range(len(queries))]

    def draw(
        self, queries: Sequence[Query], draws: Draws, edits: SomeEdits | EditsForBatch | None = None, **generation: Any
    ) -> list[Drawn]:
        """What is drawn for each query, in order; see subjects.base.Drawer."""
        return drawn(self, queries, draws, edits, **generation)

    def log_likelihoods(
        self,
        queries: Sequence[Query],
        answers: Sequence[str],
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        contrast: Contrast | None = None,
    ) -> list[Likelihood]:
        """How likely the model is to give each answer to its query, under edits as if it generated the answer.

        edits: as for `generate`; decided at the last prompt token, in one pass over prompt and answer.
        contrast: other wordings that logits are contrasted with, as in `generate`.
        Prompt and answer are made into tokens together (`scoring.scored_answer`). Answers that differ in their last
        token alone share a pass. ValueError for an answer that adds no token.
        """
        rows, beside = (
            [
                scored_answer(
                    query,
                    self.prompts.readable(answer),
                    self.prompt(query),
                    partial(self.prompts.tokens, special=self.prompts.lacks_first_token(query)),
                )
                for query, answer in zip(put, answers, strict=True)
            ]
            if put is not None
            else []
            for put in (queries, contrast.queries if contrast else None)
        )

        def inputs_of(batch: list[ScoredAnswer]) -> Any:
            return self.encode([row.query for row in batch], [row.answer for row in batch])

        return self._likelihoods(rows, inputs_of, edits, beside, contrast)

    def token_log_likelihoods(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        edits: SomeEdits | EditsForBatch | None = None,
    ) -> list[Likelihood]:
        """The same for prompts and answers given as tokens, special ones included: text alone, at least one each."""
        rows = [scored_tokens(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
        self._text_alone = True  # an image token among these is a word
        try:
            return self._likelihoods(
                rows, lambda batch: self.prompts.padded([row.tokens for row in batch], self.device), edits
            )
        finally:
            self._text_alone = False

    @contextmanager
    def editing(self, edits: SomeEdits | None) -> Iterator[None]:
        """While open, the model's own `generate` (and plain forward passes) run with `edits` in place."""
        with ExitStack() as stack:
            for layer_edits in as_edits(edits):
                stack.enter_context(self._editing(layer_edits))
            yield

    @property
    def prompt_form(self) -> str:
        """Identifies how prompts are built: chat template, tokenizer and image processor."""
        return f"processor-{self.prompts.form}"

    @property
    def image_token_id(self) -> int | None:
        """Id of the token that stands for an image in the prompt; None where the model has none."""
        return self.prompts.image_token_id

    @property
    def prefix_token_id(self) -> int:
        """The token that texts begin with."""
        return self.prompts.prefix_token_id

    def prompt(self, query: Query) -> str:
        """The query's conversation in the model's own chat template; see PromptBuilder.prompt."""
        return self.prompts.prompt(query)

    def encode(self, queries: Sequence[Query], answers: Sequence[str] | None = None) -> Any:
        """Model inputs for queries with equally many images each, on the model's device; see PromptBuilder.inputs."""
        return self.prompts.inputs(queries, answers, self.device, self.model.dtype)

    @contextmanager
    def _editing(self, edits: Edits) -> Iterator[None]:
        with editing(
            self.model,
            self.decoder,
            edits,
            image_token_id=self.image_token_id,
            has_image=lambda: False if self._text_alone else None,
        ):
            yield

    def batches(self, queries: Sequence[Query], contrast: Contrast | None = None) -> Iterator[list[int]]:
        """Indices of the queries that go through the model together, in order; half as many where each has another.

        They have equally many images, and all or none of them begin with the token that texts begin with.
        """
        alike: dict[tuple[int, bool], list[int]] = {}
        for index, query in enumerate(queries):
            kind = len(query.all_images), self._lacks_first_token(query)
            other = contrast.queries[index] if contrast else query
            if kind != (len(other.all_images), self._lacks_first_token(other)):
                raise ValueError(
                    f"query {index} and its other wording differ in their images or in how they begin, so their logits "
                    "can't be contrasted"
                )
            alike.setdefault(kind, []).append(index)
        size = max(1, self.batch_size // 2) if contrast else self.batch_size
        for indices in alike.values():
            for start in range(0, len(indices), size):
                yield indices[start : start + size]

    def _lacks_first_token(self, query: Query) -> bool:
        """False for a query whose prompt can't be built: it fails where it is answered."""
        try:
            return self.prompts.lacks_first_token(query)
        except Exception:  # noqa: BLE001 - a template may raise anything, and is asked again for the answer
            return False

    def _prefill(self, queries: Sequence[Query]) -> None:
        """Start a generation: the same preparation as an answer's, for as long as nobody cuts it short."""
        with torch.no_grad():
            self.model.generate(**self.encode(queries), **ONE_PASS)

    def _answer(
        self,
        queries: Sequence[Query],
        edits: SomeEdits | None,
        stop: Sequence[str],
        generation: dict[str, Any],
        paired: bool,
    ) -> list[str]:
        """The answers to a batch. paired: its second half are other wordings, which have no answers of their own."""
        inputs = self.encode(queries)
        prompt_tokens = inputs["input_ids"].shape[1]
        if stop:
            from transformers import StoppingCriteriaList

            criteria = StoppingCriteriaList([stopping(self.processor.tokenizer, stop, prompt_tokens)])
            generation = {**generation, "stopping_criteria": criteria}
        with self.editing(edits), torch.no_grad():
            tokens = self.model.generate(**inputs, **generation)
        new = of_pairs(tokens[:, prompt_tokens:]) if paired else tokens[:, prompt_tokens:]
        tokenizer = self.processor.tokenizer
        self.generated_tokens += int((new != tokenizer.pad_token_id).sum())
        texts: list[str] = tokenizer.batch_decode(new, skip_special_tokens=True)
        texts = [before(text, stop) for text in texts]
        return [text if query.raw else text.strip() for query, text in zip(queries, texts)]

    def _likelihoods(
        self,
        rows: Sequence[ScoredAnswer],
        inputs_of: Callable[[list[ScoredAnswer]], Any],
        edits: SomeEdits | EditsForBatch | None,
        beside: Sequence[ScoredAnswer] = (),
        contrast: Contrast | None = None,
    ) -> list[Likelihood]:
        """The likelihood of each row. inputs_of: model inputs of a batch of rows. beside: those of a contrast."""
        if contrast is not None:
            check_same_answers(rows, beside)
        groups = sharing_a_pass(rows, beside)
        first = [group[0] for group in groups]
        others = contrast and contrast._replace(queries=[contrast.queries[index] for index in first])
        likelihoods: dict[int, Likelihood] = {}
        for picked in self.batches([rows[index].query for index in first], others):
            batch = [form[first[i]] for form in ((rows, beside) if contrast else (rows,)) for i in picked]
            logits = pass_logits(
                self.model,
                inputs_of(batch),
                torch.tensor([row.answer_tokens for row in batch]),
                max(len(rows[index].counted) for i in picked for index in groups[i]) + 1,
                self.editing(edits([row.query for row in batch]) if callable(edits) else edits),
            )
            for i, row_logits in zip(picked, contrasted(logits, contrast.alpha) if contrast else logits):
                for index in groups[i]:
                    likelihoods[index] = likelihood(row_logits, rows[index].counted)
        return [likelihoods[index] for index in range(len(rows))]
