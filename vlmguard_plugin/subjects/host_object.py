"""Any model object of a host framework as a subject, through its own `generate`."""

from __future__ import annotations

import hashlib
import sys
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor, nn
from tqdm.auto import tqdm

from vlmguard_plugin.query import ImageLike, Parts, Query, Turn
from vlmguard_plugin.reading import in_line
from vlmguard_plugin.steering.decoder import Decoder, DecoderNotFound, OnePassHeard, find_decoder
from vlmguard_plugin.steering.edit import SomeEdits, as_edits
from vlmguard_plugin.steering.editing import editing, is_edited, new_generation
from vlmguard_plugin.steering.passes import Pass, hearing_passes
from vlmguard_plugin.steering.record import record_last_token
from vlmguard_plugin.subjects.host_batches import HostBatches
from vlmguard_plugin.subjects.host_parts import PictureFiles, at_most, hearing_questions, torch_models
from vlmguard_plugin.subjects.local import LocalSubject
from vlmguard_plugin.subjects.text_alone import TEXT_WAYS, TextWay, beside

if TYPE_CHECKING:
    from vlmguard_plugin.subjects.base import EditsForBatch
    from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject


BLANK = Image.new("RGB", (224, 224), "white")
Message = Sequence[dict[str, Any]]  # the host's: [{"type": "text" or "image", "value": words or file}, ...]


class HostSubject(LocalSubject):
    """A host's model object: prompt building, image handling and generation stay its own.

    vlm: an object with `generate(message=[{type, value}, ...], dataset=...)` that holds its torch model as an
    attribute (VLMEvalKit's models); conversations go to its `chat_inner([{role, content}, ...], dataset=...)`, not to
    its `chat`, which leaves out earlier turns where it fails.
    layers_path: name of the decoder's ModuleList, where it can't be found.

    Hidden states are recorded and edited through hooks on the decoder, which is looked for at first need: a guard that
    acts on prompts or answers alone works without it. dataset: what the host is told beside each message. by_chat:
    whether requests without history go to `chat_inner` too.

    Where the class breaks on a request without a picture, it is helped (`text_alone`); where that is not enough, states
    are recorded through `recorder`, our own subject around the same model and processor, and answers stay the host's.
    One line on stderr says which.

    batch_size: queries that are answered at once, where the object's model takes them in a batch (`host_batches`).
    """

    generated_tokens: int | None = None  # the host's model does not count them

    def __init__(self, vlm: Any, *, layers_path: str | None = None, dataset: str | None = None) -> None:
        self.vlm = vlm
        self.dataset = dataset
        self.by_chat = False
        self.batch_size = 1
        self.batches = HostBatches(vlm)
        self._layers_path = layers_path
        self._known: tuple[nn.Module, Decoder] | None = None
        self._pictured: bool | None = None  # whether the query under way has an image; None where none is known
        self._extras: dict[str, dict[str, Any]] = {}
        self.recorder: HuggingFaceSubject | None = None
        self._text_way: TextWay | None = None  # how requests without a picture are put; None until one worked
        self._picture_left_out = False
        self.pictures = PictureFiles(vlm)

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

    def query(self, message: Message, history: Sequence[dict[str, Any]] = ()) -> Query:
        """The host's message as a query; what else it says of an image than its file is remembered for `message`.

        history: the turns before it as the host puts them, {"role": ..., "content": message}.
        """
        turns = [Turn(turn["role"], tuple(self._parts(turn["content"]))) for turn in history]
        return Query.from_parts(self._parts(message), turns)

    def _parts(self, message: Message) -> list[tuple[str, ImageLike]]:
        for part in message:
            extra = {key: value for key, value in part.items() if key not in ("type", "value")}
            if part["type"] == "image":
                self._extras[str(part["value"])] = extra
        return [(part["type"], part["value"]) for part in message]

    def message(self, query: Query) -> Message:
        """The request as the host puts it: its parts in order, images as files."""
        return self._message(query.parts())

    def messages(self, query: Query) -> list[dict[str, Any]]:
        """The conversation as the host puts it to `chat_inner`, the request last."""
        return [{"role": turn.role, "content": self._message(turn.parts)} for turn in query.turns()]

    def _message(self, parts: Parts) -> Message:
        message = []
        for kind, value in parts:
            text_or_file = self.pictures.file(value) if kind == "image" else str(value)
            message.append({"type": kind, "value": text_or_file, **self._extras.get(text_or_file, {})})
        return message

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

    def generate(
        self,
        queries: Sequence[Query],
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        progress: str | None = None,
        **generation: Any,
    ) -> list[str]:
        """One answer per query, in order, as the host's model decodes.

        generation: max_new_tokens, a ceiling for this call, where the torch model has a `generate` that takes one;
        without it the model's own setting holds. ValueError for anything else: the host decides how its model decodes.
        """
        most = generation.pop("max_new_tokens", None)
        if generation:
            raise ValueError(
                f"{', '.join(generation)}: {type(self.vlm).__name__} decodes as its host has set it up; leave this "
                "out, or set it where the host builds the model"
            )
        answers: list[str] = []
        with (
            ExitStack() as stack,
            tqdm(total=len(queries), desc=progress, unit="answer", disable=progress is None) as bar,
        ):
            if most is not None:
                stack.enter_context(at_most(self.vlm, most))
            for batch in self._batches_of(queries):
                together = self._answers_together(batch, edits) if len(batch) > 1 else None
                answers += together or [self._answer(query, edits) for query in batch]
                bar.update(len(batch))
        return answers

    def _answer(self, query: Query, edits: SomeEdits | EditsForBatch | None) -> str:
        with self.editing(edits([query]) if callable(edits) else edits):
            return self._ask(query)

    def _batches_of(self, queries: Sequence[Query]) -> Iterator[list[Query]]:
        """Neighbours that may be answered at once: with pictures, or without, where it is known how these are put."""
        for pictured, run in groupby(queries, lambda query: bool(query.all_images)):
            own = list(run)
            size = 1 if self.is_edited or not (pictured or self._text_way) else self.batch_size
            yield from (own[start : start + size] for start in range(0, len(own), size))

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

    def _ask(self, query: Query) -> str:
        """The host's answer. A first request without a picture is put in each of TEXT_WAYS until one works."""
        if query.raw:
            raise ValueError(
                f"{type(self.vlm).__name__} builds its prompts by itself, so one that stands as it is can't be put to "
                "it; leave chat_template=False and raw queries out"
            )
        if query.all_images or self._text_way is not None:
            return self._put(query, TEXT_WAYS[0] if query.all_images else self._text_way or TEXT_WAYS[0])
        first: Exception | None = None
        for way in TEXT_WAYS:
            try:
                answer = self._put(query, way)
            except OnePassHeard:
                self._settle(way, first)
                raise
            except Exception as error:  # noqa: BLE001 - a host's class, which may raise anything
                first = first or error  # what it raises unhelped tells most
                continue
            self._settle(way, first)
            return answer
        assert first is not None
        raise first

    def _settle(self, way: TextWay, error: Exception | None) -> None:
        """Put requests without a picture in this way from now on. error: what the class ended in, unhelped."""
        self._text_way = way
        if error is not None:
            name = type(self.vlm).__name__
            print(
                f"vlmguard: {name} breaks on a request without a picture ({in_line(error)}), so {way.words}",
                file=sys.stderr,
            )

    def _put(self, query: Query, way: TextWay) -> str:
        """One request to the host's object."""
        self._picture_left_out = way.shows_blank
        try:
            with torch.no_grad(), way.help(self.vlm):
                if not (query.history or self.by_chat):
                    parts = [("image", BLANK), *query.parts()] if way.shows_blank else query.parts()
                    answer: str = self.vlm.generate(message=self._message(parts), dataset=self.dataset)
                    return answer
                if not hasattr(self.vlm, "chat_inner"):
                    raise ValueError(
                        f"{type(self.vlm).__name__} has no `chat_inner`, so a conversation can't be put to it; ask "
                        "single requests"
                    )
                answer = self.vlm.chat_inner(self.messages(query), dataset=self.dataset)
                return answer
        finally:
            self._picture_left_out = False
