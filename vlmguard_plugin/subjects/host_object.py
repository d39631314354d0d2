"""Any model object of a host framework as a subject, through its own `generate`, one query at a time."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, ContextManager, Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor, nn
from tqdm.auto import tqdm

from vlmguard_plugin.pictures.meaningless import draw_blank
from vlmguard_plugin.query import BlankImage, ImageLike, Parts, Query, Turn, read_image
from vlmguard_plugin.steering.decoder import Decoder, DecoderNotFound, OnePassHeard, find_decoder
from vlmguard_plugin.steering.edit import SomeEdits, as_edits
from vlmguard_plugin.steering.editing import editing, is_edited, new_generation, replaced_generate
from vlmguard_plugin.steering.passes import Pass, hearing_passes
from vlmguard_plugin.steering.record import record_last_token
from vlmguard_plugin.subjects.local import LocalSubject

if TYPE_CHECKING:
    from vlmguard_plugin.subjects.base import EditsForBatch

Message = Sequence[dict[str, Any]]  # the host's: [{"type": "text" or "image", "value": words or file}, ...]
QUESTIONS = ("generate", "chat_inner")
"""Methods of a host's object that a question is put to."""
PROCESSOR_NAMES = ("image_processor", "processor", "vis_processor")


class HostSubject(LocalSubject):
    """A host's model object: prompt building, image handling and generation stay its own.

    vlm: an object with `generate(message=[{type, value}, ...], dataset=...)` that holds its torch model as an
    attribute (VLMEvalKit's models); conversations go to its `chat_inner([{role, content}, ...], dataset=...)`, not to
    its `chat`, which leaves out earlier turns where it fails.
    layers_path: name of the decoder's ModuleList, where it can't be found.

    Hidden states are recorded and edited through hooks on the decoder, which is looked for at first need: a guard that
    acts on prompts or answers alone works without it. dataset: what the host is told beside each message. by_chat:
    whether requests without history go to `chat_inner` too.
    """

    batch_size = 1
    generated_tokens: int | None = None  # the host's model does not count them

    def __init__(self, vlm: Any, *, layers_path: str | None = None) -> None:
        self.vlm = vlm
        self.dataset: str | None = None
        self.by_chat = False
        self._layers_path = layers_path
        self._known: tuple[nn.Module, Decoder] | None = None
        self._pictured: bool | None = None  # whether the query under way has an image; None where none is known
        self._extras: dict[str, dict[str, Any]] = {}
        self._drawn = tempfile.TemporaryDirectory(prefix="vlmguard-")

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
            except (TypeError, ValueError, AttributeError, AssertionError, IndexError, KeyError, RuntimeError) as error:
                raise DecoderNotFound(
                    f"{name} could not be run on a prompt without an image, which finding its decoder and fitting need "
                    f"({type(error).__name__}: {error})"
                ) from error
        raise DecoderNotFound(" ".join(problems))

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
        tokens: list[bytes] = []

        def begin(prefill: Pass) -> None:
            tokens.extend(ids.cpu().numpy().tobytes() for ids in prefill.given("input_ids"))
            tokens.append(str(prefill.tokens).encode())
            raise OnePassHeard

        try:
            with hearing_passes(self.decoder, begin):
                self._ask(Query("request"))
        except OnePassHeard:
            pass
        return f"{type(self.vlm).__qualname__}-{hashlib.sha256(b''.join(tokens)).hexdigest()[:12]}"

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
            text_or_file = self._file(value) if kind == "image" else str(value)
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
                states[row] = record_last_token(self.decoder, partial(self._ask, query))[0]
        return states

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
        answers = []
        for query in tqdm(queries, desc=progress, unit="answer", disable=progress is None):
            with ExitStack() as stack:
                if most is not None:
                    stack.enter_context(self._at_most(most))
                stack.enter_context(self.editing(edits([query]) if callable(edits) else edits))
                answers.append(self._ask(query))
        return answers

    @contextmanager
    def editing(self, edits: SomeEdits | None) -> Iterator[None]:
        """While open, the model runs with `edits` in place; what it runs for one query is one generation, unless it
        begins another prompt.
        """
        with ExitStack() as stack:
            layers = as_edits(edits)
            if layers:
                stack.enter_context(self._hearing_questions())
            for layer_edits in layers:
                model, decoder = self._found
                stack.enter_context(
                    editing(model, decoder, layer_edits, has_image=lambda: self._pictured, own_loop=True)
                )
            yield

    @contextmanager
    def _hearing_questions(self) -> Iterator[None]:
        """While open, each question put to the host's object, by whomever, begins anew, and its pictures are known."""

        def heard(ask: Callable[..., Any], turns: bool) -> Callable[..., Any]:
            def asked(*args: Any, **kwargs: Any) -> Any:
                message = kwargs.get("message", args[0] if args else None)
                self._pictured = has_picture(message, turns)
                for model in torch_models(self.vlm):
                    new_generation(model)
                try:
                    return ask(*args, **kwargs)
                finally:
                    self._pictured = None

            return asked

        own = {name: vars(self.vlm).get(name) for name in QUESTIONS if callable(getattr(self.vlm, name, None))}
        try:
            for name in own:
                setattr(self.vlm, name, heard(getattr(self.vlm, name), name != "generate"))
            yield
        finally:
            for name, before in own.items():
                vars(self.vlm).pop(name, None)
                if before is not None:
                    setattr(self.vlm, name, before)

    def _ask(self, query: Query) -> str:
        if query.raw:
            raise ValueError(
                f"{type(self.vlm).__name__} builds its prompts by itself, so one that stands as it is can't be put to "
                "it; leave chat_template=False and raw queries out"
            )
        with torch.no_grad():
            if not (query.history or self.by_chat):
                answer: str = self.vlm.generate(message=self.message(query), dataset=self.dataset)
                return answer
            if not hasattr(self.vlm, "chat_inner"):
                raise ValueError(
                    f"{type(self.vlm).__name__} has no `chat_inner`, so a conversation can't be put to it; ask single "
                    "requests"
                )
            answer = self.vlm.chat_inner(self.messages(query), dataset=self.dataset)
            return answer

    def _at_most(self, tokens: int) -> ContextManager[None]:
        """A context in which no `generate` of the torch models decodes more than this many tokens."""

        def short(module: nn.Module, generate: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args, **kwargs: generate(
                *args, **{**kwargs, "max_new_tokens": min(kwargs.get("max_new_tokens") or tokens, tokens)}
            )

        return replaced_generate(
            [model for model in torch_models(self.vlm) if callable(getattr(model, "generate", None))], short
        )

    def _file(self, image: ImageLike) -> str:
        """The path of an image; one that is not a file is written to one, as long as this subject lives."""
        if isinstance(image, BlankImage):
            image = draw_blank(image, self._image_processor())
        if not isinstance(image, Image.Image):
            return str(image)
        image = read_image(image)
        name = hashlib.sha256(image.tobytes() + str(image.size).encode()).hexdigest()[:16]
        path = Path(self._drawn.name) / f"{name}.png"
        if not path.is_file():
            image.save(path)
        return str(path)

    def _image_processor(self) -> Any:
        """The host's image processor, wherever it keeps it; None where it can't be found."""
        for holder in (self.vlm, *(getattr(self.vlm, name, None) for name in PROCESSOR_NAMES)):
            for name in PROCESSOR_NAMES:
                if hasattr(getattr(holder, name, None), "image_mean"):
                    return getattr(holder, name)
        return None


def has_picture(message: Any, turns: bool) -> bool | None:
    """Whether a host's message holds an image; None where it is of another form. turns: it is a conversation."""
    try:
        parts = [part for turn in message for part in turn["content"]] if turns else message
        return any(part["type"] == "image" for part in parts)
    except (TypeError, KeyError):
        return None


def torch_models(vlm: Any) -> list[nn.Module]:
    """The torch models that an object holds, itself or one object further in.

    The largest first, none inside another.
    """
    inner = [
        value for value in vars(vlm).values() if hasattr(value, "__dict__") and not isinstance(value, (nn.Module, type))
    ]
    values = [*vars(vlm).values(), *(value for holder in inner for value in vars(holder).values())]
    modules = list(dict.fromkeys(value for value in values if isinstance(value, nn.Module)))
    roots = [
        module
        for module in modules
        if not any(module is not other and module in set(other.modules()) for other in modules)
    ]
    return sorted(roots, key=lambda root: -sum(parameter.numel() for parameter in root.parameters()))
