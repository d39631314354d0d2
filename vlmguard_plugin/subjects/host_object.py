"""Any model object of a host framework as a subject, through its own `generate`."""

from __future__ import annotations

import hashlib
import sys
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Iterator, Sequence

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vlmguard_plugin.query import Query
from vlmguard_plugin.reading import in_line
from vlmguard_plugin.steering.decoder import Decoder, DecoderNotFound, OnePassHeard, find_decoder
from vlmguard_plugin.steering.edit import SomeEdits, as_edits
from vlmguard_plugin.steering.editing import editing, is_edited, new_generation
from vlmguard_plugin.steering.passes import Pass, hearing_passes
from vlmguard_plugin.steering.record import record_last_token
from vlmguard_plugin.subjects.host_batches import HostBatches
from vlmguard_plugin.subjects.host_parts import at_most, hearing_questions, torch_models
from vlmguard_plugin.subjects.host_questions import BLANK, HostQuestions
from vlmguard_plugin.subjects.local import LocalSubject
from vlmguard_plugin.subjects.text_alone import TEXT_WAYS, beside

if TYPE_CHECKING:
    from vlmguard_plugin.subjects.base import EditsForBatch
    from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject


class HostSubject(HostQuestions, LocalSubject):
    """A host's model object: prompt building, image handling and generation stay its own.

    vlm: a host's object (see HostQuestions) that holds its torch model as an attribute.
    layers_path: name of the decoder's ModuleList, where it can't be found.

    Hidden states are recorded and edited through hooks on the decoder, which is looked for at first need: a guard that
    acts on prompts or answers alone works without it.

    Where the class breaks on a request without a picture, it is helped (`text_alone`); where that is not enough, states
    are recorded through `recorder`, our own subject around the same model and processor, and answers stay the host's.
    One line on stderr says which.

    batch_size: queries that are answered at once, where the object's model takes them in a batch (`host_batches`).
    """

    generated_tokens: int | None = None  # the host's model does not count them

    def __init__(self, vlm: Any, *, layers_path: str | None = None, dataset: str | None = None) -> None:
        super().__init__(vlm, TEXT_WAYS, dataset)
        self.batches = HostBatches(vlm)
        self._layers_path = layers_path
        self._known: tuple[nn.Module, Decoder] | None = None
        self._pictured: bool | None = None  # whether the query under way has an image; None where none is known
        self.recorder: HuggingFaceSubject | None = None

    @property
    def _found(self) -> tuple[nn.Module, Decoder]:
        """The torch model and its decoder layers; looked for again where modules were replaced."""
        if (
            self._known is None
            or self._known[0] not in torch_models(self.vlm)
            or not self._known[1].is_of(self._known[0])
        ):
            self._known = self._find()
        return self._known

    def _find(self) -> tuple[nn.Module, Decoder]:
        name = type(self.vlm).__name__
        roots = torch_models(self.vlm)
        if not roots:
            raise DecoderNotFound(
                f"{name} holds no torch model (an API, or one that runs elsewhere), so hidden states can't be reached; "
                "use a guard that acts on prompts or answers"
            )
        problems = []
        for root in roots:
            try:
                return root, find_decoder(root, lambda: self._ask(Query("Hello")), self._layers_path)
            except DecoderNotFound as error:
                problems.append(str(error))
            except Exception as error:  # noqa: BLE001 - a host's class, which may raise anything
                return self._find_beside(roots, error)
        raise DecoderNotFound(" ".join(problems))

    def _find_beside(self, roots: list[nn.Module], error: Exception) -> tuple[nn.Module, Decoder]:
        """The same by way of our own subject. error: what the host's class ended in, without a picture."""
        name, problem = type(self.vlm).__name__, in_line(error)
        also = ""
        for root in roots:
            try:
                self.recorder = beside(self.vlm, root, self._layers_path)
            except Exception as own_error:  # noqa: BLE001 - a processor or template, which may raise anything
                also = f"; its processor by itself: {in_line(own_error)}"
                continue
            if self.recorder is not None:
                print(
                    f"vlmguard: {name} can't be asked without a picture ({problem}), so hidden states are recorded by "
                    "way of its model and processor themselves, in the processor's chat template; answers stay the "
                    "host's",
                    file=sys.stderr,
                )
                return root, self.recorder.decoder
        raise DecoderNotFound(
            f"{name} could not be run on a prompt without an image, which finding its decoder and fitting need "
            f"({problem}{also}); use a guard that acts on prompts or answers"
        ) from error

    @property
    def torch_model(self) -> nn.Module:
        return self._found[0]

    @property
    def decoder(self) -> Decoder:
        return self._found[1]

    @property
    def is_edited(self) -> bool:
        return any(is_edited(model) for model in torch_models(self.vlm))

    @cached_property
    def prompt_form(self) -> str:
        """Identifies how prompts are built: the model's class, and the tokens that it makes of a request."""
        decoder, name = self.decoder, type(self.vlm).__qualname__
        if self.recorder is not None:
            return f"{name}+{self.recorder.prompt_form}"
        tokens: list[bytes] = []

        def begin(prefill: Pass) -> None:
            tokens.extend(ids.cpu().numpy().tobytes() for ids in prefill.given("input_ids"))
            tokens.append(str(prefill.tokens).encode())
            raise OnePassHeard

        try:
            with hearing_passes(decoder, begin):
                self._ask(Query("request"))
        except OnePassHeard:
            pass
        return f"{name}-{hashlib.sha256(b''.join(tokens)).hexdigest()[:12]}"

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
            with self.editing(edits([query]) if callable(edits) else edits):
                states[row] = self._recorded(query)
        return states

    def _recorded(self, query: Query) -> Tensor:
        """The states of one query: float32 [L, d]."""
        decoder = self.decoder
        if self.recorder is None:
            return record_last_token(decoder, partial(self._ask, query))[0]
        self._pictured = bool(query.all_images)
        try:
            return self.recorder.record([query])[0]
        finally:
            self._pictured = None

    def _at_most(self, tokens: int) -> AbstractContextManager[None]:
        return at_most(self.vlm, tokens)

    def _answer(self, query: Query, edits: SomeEdits | EditsForBatch | None) -> str:
        with self.editing(edits([query]) if callable(edits) else edits):
            return self._ask(query)

    def _answers_together(self, batch: list[Query], edits: SomeEdits | EditsForBatch | None) -> list[str] | None:
        """The answers by one pass of the model over all; None where the queries have to be put one by one."""

        @contextmanager
        def guarded() -> Iterator[None]:
            with self.editing(edits(batch) if callable(edits) else edits), torch.no_grad():
                self._begin_question(bool(batch[0].all_images))
                yield
            self._end_question()

        decoder = None if self._known is None else self.decoder
        return self.batches.answers([partial(self._ask, query) for query in batch], decoder, guarded)

    def look_for_batches(self) -> bool:
        """Whether several queries may go through the model at once, by a first look at how it is asked."""
        self.batches.look_at(partial(self._ask, Query("Hello", (BLANK,))), self._known[1] if self._known else None)
        return self.batches.alone is None

    @contextmanager
    def editing(self, edits: SomeEdits | None) -> Iterator[None]:
        """While open, the model runs with `edits` in place; what it runs for one query is one generation, unless it
        begins another prompt.
        """
        with ExitStack() as stack:
            layers = as_edits(edits)
            if layers:
                stack.enter_context(hearing_questions(self.vlm, self._begin_question, self._end_question))
            for layer_edits in layers:
                model, decoder = self._found
                stack.enter_context(
                    editing(model, decoder, layer_edits, has_image=lambda: self._pictured, own_loop=True)
                )
            yield

    def _begin_question(self, pictured: bool | None) -> None:
        """Note that a question is put to the host's object. pictured: whether it has an image, where that is known."""
        self._pictured = pictured and not self._picture_left_out
        for model in torch_models(self.vlm):
            new_generation(model)

    def _end_question(self) -> None:
        self._pictured = None
