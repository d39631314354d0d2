"""Questions as a host framework puts them to a model object of its own, whatever the model runs on."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, ExitStack
from itertools import groupby
from typing import TYPE_CHECKING, Any, Iterator, Sequence

import torch
from PIL import Image
from tqdm.auto import tqdm

from vlmguard_plugin.query import ImageLike, Parts, Query, Turn
from vlmguard_plugin.reading import in_line
from vlmguard_plugin.steering.decoder import OnePassHeard
from vlmguard_plugin.subjects.host_parts import PictureFiles
from vlmguard_plugin.subjects.text_alone import TextWay

if TYPE_CHECKING:
    from vlmguard_plugin.steering.edit import SomeEdits
    from vlmguard_plugin.subjects.base import EditsForBatch

BLANK = Image.new("RGB", (224, 224), "white")
Message = Sequence[dict[str, Any]]  # the host's: [{"type": "text" or "image", "value": words or file}, ...]


class HostQuestions(ABC):
    """A host's model object, and how queries are put to it.

    vlm: an object with `generate(message=[{type, value}, ...], dataset=...)` (VLMEvalKit's models); conversations go to
    its `chat_inner([{role, content}, ...], dataset=...)`, not to its `chat`, which leaves out earlier turns where it
    fails. text_ways: how a request without a picture may be put to it, the first that works. dataset: what the host is
    told beside each message. by_chat: whether requests without history go to `chat_inner` too. batch_size: queries that
    are answered at once, where the object's model takes them so.
    """

    def __init__(self, vlm: Any, text_ways: Sequence[TextWay], dataset: str | None = None) -> None:
        self.vlm = vlm
        self.text_ways = tuple(text_ways)
        self.dataset = dataset
        self.by_chat = False
        self.batch_size = 1
        self.pictures = PictureFiles(vlm)
        self._extras: dict[str, dict[str, Any]] = {}
        self._text_way: TextWay | None = None  # how requests without a picture are put; None until one worked
        self._picture_left_out = False

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
                stack.enter_context(self._at_most(most))
            for batch in self._batches_of(queries):
                together = self._answers_together(batch, edits) if len(batch) > 1 else None
                answers += together or [self._answer(query, edits) for query in batch]
                bar.update(len(batch))
        return answers

    def _batches_of(self, queries: Sequence[Query]) -> Iterator[list[Query]]:
        """Neighbours that may be answered at once: with pictures, or without, where it is known how these are put."""
        for pictured, run in groupby(queries, lambda query: bool(query.all_images)):
            own = list(run)
            size = 1 if self.is_edited or not (pictured or self._text_way) else self.batch_size
            yield from (own[start : start + size] for start in range(0, len(own), size))

    @property
    @abstractmethod
    def is_edited(self) -> bool:
        """Whether edits are in place on the model now."""

    @abstractmethod
    def _at_most(self, tokens: int) -> AbstractContextManager[None]:
        """A context in which no answer is longer than this many tokens."""

    @abstractmethod
    def _answer(self, query: Query, edits: SomeEdits | EditsForBatch | None) -> str:
        """The answer to one query."""

    @abstractmethod
    def _answers_together(self, batch: list[Query], edits: SomeEdits | EditsForBatch | None) -> list[str] | None:
        """The answers by one pass of the model over all; None where the queries have to be put one by one."""

    def _ask(self, query: Query) -> str:
        """The host's answer. A first request without a picture is put in each of `text_ways` until one works."""
        if query.raw:
            raise ValueError(
                f"{type(self.vlm).__name__} builds its prompts by itself, so one that stands as it is can't be put to "
                "it; leave chat_template=False and raw queries out"
            )
        if query.all_images or self._text_way is not None:
            return self._put(query, self.text_ways[0] if query.all_images else self._text_way or self.text_ways[0])
        first: Exception | None = None
        for way in self.text_ways:
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
