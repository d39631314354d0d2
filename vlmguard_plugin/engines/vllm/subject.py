"""A checkpoint that runs in vLLM as a subject: recorded, answered, scored and edited as in transformers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vlmguard_plugin.engines.vllm.checkpoint import CheckpointFacts
from vlmguard_plugin.engines.vllm.edited_engine import Answered, EditedEngine
from vlmguard_plugin.engines.vllm.engine_subject import EngineSubject
from vlmguard_plugin.engines.vllm.options import checked_options
from vlmguard_plugin.engines.vllm.sampling import sampling_of
from vlmguard_plugin.engines.vllm.starting import as_subjects, options_here, vllm_here
from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.edit import SomeEdits
from vlmguard_plugin.subjects.base import AnswersCutShort, Likelihood
from vlmguard_plugin.subjects.devices import default_dtype
from vlmguard_plugin.subjects.loading import DTYPES
from vlmguard_plugin.subjects.scoring import ScoredAnswer, scored_answer, scored_tokens
from vlmguard_plugin.subjects.stopping import before

if TYPE_CHECKING:
    from vlmguard_plugin.subjects.base import EditsForBatch

BATCH_SIZE = 256
"""Queries handed to vLLM at once, which batches them as it goes; pictures of so many are in memory."""


class VLLMSubject(EngineSubject):
    """A save_pretrained folder or hub name in a vLLM engine of this process.

    dtype: one of float32, bfloat16, float16; None is what the device computes well. batch_size: queries handed over at
    once. options: of vLLM's (options.OPTIONS); the model is not compiled unless enforce_eager=False is among them.
    generated_tokens: how many have been generated so far, by all answers together.
    """

    def __init__(
        self, checkpoint: str, *, dtype: str | None = None, batch_size: int | None = None, **options: Any
    ) -> None:
        options = checked_options(options)
        vllm = vllm_here()
        from transformers import GenerationConfig

        self._facts = CheckpointFacts(checkpoint)
        self.config, self.processor, self.prompts = self.facts.config, self.facts.processor, self.facts.prompts
        self.device = torch.device(vllm.platforms.current_platform.device_type)
        stored = getattr(self.config, "dtype", None)
        self.dtype: torch.dtype = DTYPES[dtype] if dtype else default_dtype(self.device.type, stored)
        self.batch_size = batch_size or BATCH_SIZE
        self.generated_tokens = 0
        self._prompts_compared: set[int] = set()
        try:
            self.generation_config = GenerationConfig.from_pretrained(self.facts.place)
        except OSError:
            self.generation_config = GenerationConfig.from_model_config(self.config)
        llm = vllm.LLM(
            self.facts.place,
            dtype=str(self.dtype).removeprefix("torch."),
            additional_config=as_subjects(None),
            generation_config="vllm",
            disable_log_stats=True,
            **options_here(options),
        )
        super().__init__(llm)
        self.engine_edited = EditedEngine(self.llm, self.num_layers)

    @property
    def facts(self) -> CheckpointFacts:
        return self._facts

    @property
    def prompt_form(self) -> str:
        return self.facts.prompt_form

    @property
    def prefix_token_id(self) -> int:
        """The token that texts begin with."""
        return self.prompts.prefix_token_id

    def prompt(self, query: Query) -> str:
        """The query's conversation in the model's own chat template; see PromptBuilder.prompt."""
        return self.prompts.prompt(query)

    def record(
        self,
        queries: Sequence[Query],
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        progress: str | None = None,
    ) -> Tensor:
        states = torch.empty(len(queries), self.num_layers, self.hidden_size)
        with tqdm(total=len(queries), desc=progress, unit="prompt", disable=progress is None) as bar:
            for start, batch in self._batches(queries):
                inputs = [self._input(query) for query in batch]
                recorded = self._run(inputs, [{"max_tokens": 1}] * len(batch), batch, edits, record=True).recorded
                for place in range(len(batch)):
                    states[start + place] = torch.stack([recorded[place][layer] for layer in range(self.num_layers)])
                bar.update(len(batch))
        return states

    def generate(
        self,
        queries: Sequence[Query],
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        progress: str | None = None,
        stop: Sequence[str] = (),
        **generation: Any,
    ) -> list[str]:
        """One answer per query, in order, greedy unless told otherwise.

        As HuggingFaceSubject.generate; ValueError for arguments that vLLM would not follow. seed: of sampling, whose
        random numbers are others than in transformers, each query's its own.
        """
        stop = (stop,) if isinstance(stop, str) else tuple(stop)
        sampling = sampling_of(generation, self.generation_config, stop)
        seed = generation.get("seed")
        answers: list[str | None] = [None] * len(queries)
        with tqdm(total=len(queries), desc=progress, unit="answer", disable=progress is None) as bar:
            for start, batch in self._batches(queries):
                try:
                    inputs = self._inputs(batch, start)
                    rows = [{**sampling, "seed": None if seed is None else seed + start + n} for n in range(len(batch))]
                    outputs = self._run(inputs, rows, batch, edits).outputs
                except Exception as error:  # templates, tokenizers and image readers raise of any kind
                    done = sum(answer is not None for answer in answers)
                    raise AnswersCutShort(
                        f"queries {start} to {start + len(batch) - 1} could not be answered: {error} "
                        f"({done} of {len(queries)} answers are in .answers)",
                        answers,
                    ) from error
                for place, (query, output) in enumerate(zip(batch, outputs, strict=True)):
                    answers[start + place] = self._text(query, output, stop)
                bar.update(len(batch))
        return [str(answer) for answer in answers]

    def log_likelihoods(
        self,
        queries: Sequence[Query],
        answers: Sequence[str],
        edits: SomeEdits | EditsForBatch | None = None,
    ) -> list[Likelihood]:
        """How likely the model is to give each answer to its query; see HuggingFaceSubject.log_likelihoods."""
        rows = [
            scored_answer(
                query,
                self.prompts.readable(answer),
                self.prompt(query),
                partial(self.prompts.tokens, special=self.prompts.lacks_first_token(query)),
            )
            for query, answer in zip(queries, answers, strict=True)
        ]
        return self._likelihoods(rows, edits)

    def token_log_likelihoods(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        edits: SomeEdits | EditsForBatch | None = None,
    ) -> list[Likelihood]:
        """The same for prompts and answers given as tokens, special ones included: text alone, at least one each."""
        return self._likelihoods([scored_tokens(*row) for row in zip(prompts, answers, strict=True)], edits)

    def _batches(self, queries: Sequence[Query]) -> Iterator[tuple[int, list[Query]]]:
        for start in range(0, len(queries), self.batch_size):
            yield start, list(queries[start : start + self.batch_size])

    def _inputs(self, batch: Sequence[Query], start: int) -> list[dict[str, Any]]:
        """vLLM's prompts; an error names the query that can't be put to the model."""
        inputs = []
        for number, query in enumerate(batch, start):
            try:
                inputs.append(self._input(query))
            except Exception as error:  # as above
                raise ValueError(f"query {number}: {error}") from error
        return inputs

    def _input(self, query: Query) -> dict[str, Any]:
        tokens = self.prompts.tokens(self.prompt(query), special=self.prompts.lacks_first_token(query))
        return self._of_tokens(tokens, query)

    def _of_tokens(self, tokens: Sequence[int], query: Query) -> dict[str, Any]:
        """vLLM's prompt from tokens with one for each image, which vLLM gives as many as the model has for it."""
        images = [self.prompts.read(image) for image in query.all_images]
        return {"prompt_token_ids": list(tokens), **({"multi_modal_data": {"image": images}} if images else {})}

    def _run(
        self,
        inputs: Sequence[Mapping[str, Any]],
        sampling: Sequence[Mapping[str, Any]],
        queries: Sequence[Query],
        edits: SomeEdits | EditsForBatch | None,
        **more: Any,
    ) -> Answered:
        """What vLLM gives to inputs of these queries, under standing edits and these. more: of `EditedEngine.run`."""
        from vllm import SamplingParams

        parameters = [SamplingParams(**row) for row in sampling]
        answered = self.engine_edited.run(inputs, parameters, self.steps(queries, edits), **more)
        self._compare_prompt(queries, answered.outputs)
        return answered

    def _compare_prompt(self, queries: Sequence[Query], outputs: Sequence[Any]) -> None:
        """RuntimeError where vLLM makes other tokens of a prompt with pictures than the model's own processor.

        Looked at once for each number of pictures.
        """
        for query, output in zip(queries, outputs):
            pictures = len(query.all_images)
            if not pictures or pictures in self._prompts_compared:
                continue
            self._prompts_compared.add(pictures)
            own = self.prompts.inputs([query], None, torch.device("cpu"), torch.float32)["input_ids"][0].tolist()
            there = list(output.prompt_token_ids)[: len(own)]
            if there[: len(own) - 1] != own[: len(own) - 1]:
                raise RuntimeError(
                    f"vLLM makes {len(output.prompt_token_ids)} tokens of a prompt with {pictures} pictures of which "
                    f"{type(self.processor).__name__} makes {len(own)} others; use engine=transformers"
                )

    def _text(self, query: Query, output: Any, stop: Sequence[str]) -> str:
        tokens = list(output.outputs[0].token_ids)
        self.generated_tokens += len(tokens)
        text = before(self.processor.tokenizer.decode(tokens, skip_special_tokens=True), stop)
        return text if query.raw else text.strip()

    def _likelihoods(self, rows: Sequence[ScoredAnswer], edits: SomeEdits | EditsForBatch | None) -> list[Likelihood]:
        likelihoods: list[Likelihood] = []
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            answered = self._run(
                [self._of_tokens(row.tokens, row.query) for row in batch],
                [{"max_tokens": 1, "prompt_logprobs": 0}] * len(batch),
                [row.query for row in batch],
                edits,
                answer_tokens=[row.answer_tokens for row in batch],
            )
            likelihoods += [likelihood_of(row, output) for row, output in zip(batch, answered.outputs, strict=True)]
        return likelihoods


def likelihood_of(row: ScoredAnswer, output: Any) -> Likelihood:
    """Of an answer, from vLLM's log-probabilities of the prompt's tokens, the answer's among them."""
    chosen = []
    pairs = list(zip(output.prompt_token_ids, output.prompt_logprobs))[-len(row.counted) :]
    for token, (by_token) in pairs:
        chosen.append(by_token[token])
    return Likelihood(sum(one.logprob for one in chosen), all(one.rank == 1 for one in chosen))
