"""A host's model object whose model runs in vLLM as a subject: its prompts and sampling, with edits in its engine."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, Callable, Iterator, NoReturn, Sequence

import torch
from tqdm.auto import tqdm

from vlmguard_plugin.engines.vllm.checkpoint import CheckpointFacts
from vlmguard_plugin.engines.vllm.edited_engine import Answered
from vlmguard_plugin.engines.vllm.engine_subject import EngineSubject
from vlmguard_plugin.engines.vllm.host_engine import EngineCall, HostEngine
from vlmguard_plugin.query import Query
from vlmguard_plugin.reading import in_line
from vlmguard_plugin.steering.decoder import OnePassHeard
from vlmguard_plugin.steering.edit import Edits, SomeEdits
from vlmguard_plugin.subjects.generate_calls import NotTogether
from vlmguard_plugin.subjects.host_batches import BatchesTried
from vlmguard_plugin.subjects.host_questions import BLANK, HostQuestions
from vlmguard_plugin.subjects.text_alone import TextWay

if TYPE_CHECKING:
    from torch import Tensor

    from vlmguard_plugin.subjects.base import EditsForBatch

TEXT_WAYS = (
    TextWay(nullcontext, False, "as it is"),
    TextWay(
        nullcontext, True, "it is shown a blank picture, whose words and pixels are left out of the prompt it makes"
    ),
)


class EngineReached(OnePassHeard):
    """Cuts a host's call short where it asks its engine. call: with what."""

    def __init__(self, call: EngineCall) -> None:
        super().__init__()
        self.call = call


class VLLMHostSubject(EngineSubject, HostQuestions):
    """A host's object that asks an engine of vLLM's: prompts, pictures and sampling stay its own.

    vlm: a host's object (see HostQuestions), made while `host_engines` was open. engine: what that gave it.

    Edits are put in place in that engine for a question at a time. While any are, it is an error where the object
    answers without asking its engine, keeps to itself that an edit did not act, or puts several prompts at once, since
    edits are made for one request. generated_tokens: how many have been generated so far.

    Queries are answered together where the object asks its engine once for each, and alike each time, and does not
    sample: it is asked twice, first for its prompt, then with the engine's output at hand.
    """

    def __init__(self, vlm: Any, engine: HostEngine, *, dataset: str | None = None) -> None:
        EngineSubject.__init__(self, engine.llm)
        HostQuestions.__init__(self, vlm, TEXT_WAYS, dataset)
        self.host_engine = engine
        self.batches = BatchesTried(type(vlm).__name__)
        self.generated_tokens = 0
        self._question: tuple[Edits, ...] | None = None  # what is done in the one under way; None outside
        self._hearing = False
        self._most: int | None = None
        self._asked = 0
        self._failed: Exception | None = None
        engine.answer = self._watched(self._answered)

    @cached_property
    def facts(self) -> CheckpointFacts:
        return CheckpointFacts(self.llm.model_config.model)

    @property
    def device(self) -> torch.device:
        """Where the engine computes."""
        from vllm.platforms import current_platform

        return torch.device(current_platform.device_type)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        dtype: torch.dtype = self.llm.model_config.dtype
        return dtype

    @cached_property
    def prompt_form(self) -> str:
        """Identifies how prompts are built: the model's class, and the tokens that it makes of a request.

        As HostSubject's for the same tokens.
        """
        (output,) = self._heard(Query("request"), ()).outputs
        tokens = torch.tensor(output.prompt_token_ids)
        digest = hashlib.sha256(tokens.numpy().tobytes() + str(len(tokens)).encode()).hexdigest()
        return f"{type(self.vlm).__qualname__}-{digest[:12]}"

    def record(
        self,
        queries: Sequence[Query],
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        progress: str | None = None,
    ) -> Tensor:
        """Hidden states of the last prompt token after each decoder layer: float32 [N, L, d] on the CPU."""
        states = torch.empty(len(queries), self.num_layers, self.hidden_size)
        for row, query in enumerate(tqdm(queries, desc=progress, unit="prompt", disable=progress is None)):
            recorded = self._heard(query, self.steps([query], edits)).recorded[0]
            states[row] = torch.stack([recorded[layer] for layer in range(self.num_layers)])
        return states

    def look_for_batches(self) -> bool:
        """Whether several queries may go through the engine at once, by a first look at how it is asked."""
        self.batches.look(lambda: self._call_of(Query("Hello", (BLANK,))))
        return self.batches.alone is None

    @contextmanager
    def _at_most(self, tokens: int) -> Iterator[None]:
        before, self._most = self._most, tokens
        try:
            yield
        finally:
            self._most = before

    def _answer(self, query: Query, edits: SomeEdits | EditsForBatch | None) -> str:
        with self._asking(self._answered, self.steps([query], edits)):
            return self._ask(query)

    def _answers_together(self, batch: list[Query], edits: SomeEdits | EditsForBatch | None) -> list[str] | None:
        if self.batches.alone is not None:
            return None
        try:
            calls = [self._call_of(query) for query in batch]
            prompts, parameters = zip(*((call.prompts[0], call.parameters[0]) for call in calls))
            together = EngineCall(prompts, parameters)
            outputs = self._outputs_together(together, self.steps(batch, edits))
            return [self._answer_of(*of_query) for of_query in zip(batch, calls, outputs, strict=True)]
        except NotTogether as error:
            self.batches.give_up(error)
            return None

    def _outputs_together(self, call: EngineCall, steps: tuple[Edits, ...]) -> list[Any]:
        try:
            return self._run(call, steps)
        except Exception as error:  # one prompt too long, say; what is wrong with a request is raised when it is alone
            raise NotTogether(f"a batch fails ({in_line(error)})", for_good=False) from error

    def _call_of(self, query: Query) -> EngineCall:
        """What the object asks its engine for a query. NotTogether for what others can't be asked beside."""

        def cut_short(call: EngineCall) -> NoReturn:
            raise EngineReached(call)

        try:
            with self._asking(cut_short, ()):
                self._ask(query)
        except EngineReached as cut:
            one_answer = len(cut.call.prompts) == len(cut.call.parameters) == 1
            if not one_answer or set(cut.call.more) - {"use_tqdm"}:
                raise NotTogether("it asks its engine for more than an answer") from None
            (parameters,) = cut.call.parameters
            if parameters.temperature and parameters.seed is None:
                raise NotTogether("it draws its answers at random") from None
            return cut.call
        raise NotTogether("it answers without its engine, or keeps its errors to itself")

    def _answer_of(self, query: Query, call: EngineCall, output: Any) -> str:
        """What the object makes of its engine's output."""
        asked: list[EngineCall] = []

        def given(again: EngineCall) -> list[Any]:
            asked.append(again)
            return [output]

        with self._asking(given, ()):
            answer = self._ask(query)
        if len(asked) != 1 or not asked[0].is_like(call):
            raise NotTogether("it asks its engine more than once a request, or otherwise each time")
        return answer

    def _heard(self, query: Query, steps: tuple[Edits, ...]) -> Answered:
        """What the engine makes of the query's prompt, whose states are recorded; no answer is made of it."""
        from vllm import SamplingParams

        heard: list[Answered] = []
        one_token = SamplingParams(temperature=0.0, max_tokens=1)  # greedy: no random number is drawn that answers need

        def hear(call: EngineCall) -> NoReturn:
            heard.append(self.host_engine.edited.run(call.prompts, [one_token], steps, record=True, **call.more))
            raise OnePassHeard

        with self._asking(hear, steps, hearing=True):
            try:
                self._ask(query)
            except OnePassHeard:
                pass
        if not heard:
            raise self._failed or RuntimeError(self._not_asked)
        return heard[0]

    @contextmanager
    def _asking(
        self, answer: Callable[[EngineCall], list[Any]], steps: tuple[Edits, ...], hearing: bool = False
    ) -> Iterator[None]:
        """While open, a question is put: its calls of the engine are answered so, under these edits."""
        before = self._question, self._hearing
        self._question, self._hearing = steps, hearing
        try:
            with self.host_engine.answered_by(self._watched(answer)):
                yield
        finally:
            self._question, self._hearing = before

    def _watched(self, answer: Callable[[EngineCall], list[Any]]) -> Callable[[EngineCall], list[Any]]:
        """The same for a call as it is to be put, with a note of what comes of it."""

        def watched(call: EngineCall) -> list[Any]:
            self._asked += 1
            try:
                if len(call.prompts) != 1 and (self._hearing or self._steps_now):
                    raise RuntimeError(
                        f"{type(self.vlm).__name__} puts {len(call.prompts)} prompts to its engine for one question, "
                        "and a guard's edits are made for one; give its checkpoint to a model of this package's with "
                        "engine=vllm"
                    )
                if self._picture_left_out:
                    call = call.without_picture(self.facts.prompts.media_marks)
                return answer(call)
            except Exception as error:
                self._failed = error
                raise

        return watched

    @property
    def _steps_now(self) -> tuple[Edits, ...]:
        """What is done to states now: in the question under way, or, asked by others, under standing edits."""
        return self.steps((), None) if self._question is None else self._question

    def _answered(self, call: EngineCall) -> list[Any]:
        return self._run(call, self._steps_now)

    def _run(self, call: EngineCall, steps: tuple[Edits, ...]) -> list[Any]:
        parameters = [shortened(each, self._most) for each in call.parameters]
        outputs = self.host_engine.edited.run(call.prompts, parameters, steps, **call.more).outputs
        self.generated_tokens += sum(len(one.token_ids) for output in outputs for one in output.outputs)
        return outputs

    def _put(self, query: Query, way: TextWay) -> str:
        self._asked, self._failed = 0, None
        answer = super()._put(query, way)
        if self._hearing or self._steps_now:
            if isinstance(self._failed, RuntimeError):  # of vLLM or a guard; what is wrong with a query is another kind
                raise self._failed
            if not self._asked:
                raise RuntimeError(self._not_asked)
        return answer

    @property
    def _not_asked(self) -> str:
        return (
            f"{type(self.vlm).__name__} has answered without asking its engine, so no guard has acted; leave use_vllm "
            "out, or give its checkpoint to a model of this package's with engine=vllm"
        )


def shortened(parameters: Any, most: int | None) -> Any:
    """SamplingParams under which no answer is longer than `most` tokens."""
    if most is None or (parameters.max_tokens is not None and parameters.max_tokens <= most):
        return parameters
    own = parameters.clone()
    own.max_tokens, own.min_tokens = most, min(own.min_tokens, most)
    return own
