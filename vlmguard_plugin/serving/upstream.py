"""Another server as a subject: it answers, and keeps hidden states to itself. For guards that need no more."""

from __future__ import annotations

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Iterator, Sequence

from vlmguard_plugin.guards.core.base import Guard
from vlmguard_plugin.hosts.guarded import Answered, answered_under, no_answer
from vlmguard_plugin.query import BlankImage, ImageLike, Query, read_image
from vlmguard_plugin.steering.edit import SomeEdits, as_edits
from vlmguard_plugin.subjects.base import AnswersCutShort

if TYPE_CHECKING:
    from torch import Tensor

    from vlmguard_plugin.subjects.base import EditsForBatch

AT_ONCE = 16
"""Requests that are sent on side by side."""


class UpstreamSubject:
    """A model at an OpenAI-compatible address, such as a vLLM server with a guard of its own.

    url: its address, /v1 included. model: as it calls it. key: its key, if it wants one.
    """

    batch_size = AT_ONCE
    is_edited = False
    generated_tokens: int | None = None
    prompt_form = "upstream"

    def __init__(self, url: str, model: str, key: str | None = None) -> None:
        from openai import OpenAI

        self.url, self.model = url, model
        self.client = OpenAI(base_url=url, api_key=key or "none")

    @property
    def num_layers(self) -> int:
        raise self._out_of_reach()

    @property
    def hidden_size(self) -> int:
        raise self._out_of_reach()

    @property
    def fingerprint(self) -> str:
        raise self._out_of_reach()

    def record(self, queries: Sequence[Query], edits: Any = None, *, progress: str | None = None) -> Tensor:
        raise self._out_of_reach()

    def normalised(self, states: Tensor) -> Tensor:
        raise self._out_of_reach()

    @contextmanager
    def editing(self, edits: SomeEdits) -> Iterator[None]:
        raise self._out_of_reach()
        yield

    def generate(
        self,
        queries: Sequence[Query],
        edits: SomeEdits | EditsForBatch | None = None,
        *,
        progress: str | None = None,
        **generation: Any,
    ) -> list[str]:
        """One answer per query, in order. AnswersCutShort where one fails."""
        if as_edits(edits(queries) if callable(edits) else edits):
            raise self._out_of_reach()
        options = of_openai(generation)

        def answer(query: Query) -> str:
            sent = messages(query)
            try:
                done = self.client.chat.completions.create(model=self.model, messages=sent, **options)
            except json.JSONDecodeError as error:
                raise NoCompletion(f"the server's reply is no JSON ({error})") from error
            return text_of(done).strip()

        answers: list[str | None] = [None] * len(queries)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            futures = [pool.submit(answer, query) for query in queries]
        for place, future in enumerate(futures):
            error = future.exception()
            if error is None:
                answers[place] = future.result()
        failed = next((future.exception() for future in futures if future.exception()), None)
        if failed is not None:
            raise AnswersCutShort(f"{self.url} gave no answer: {failed}", answers) from failed
        return [str(text) for text in answers]

    def _out_of_reach(self) -> ValueError:
        return ValueError(
            f"{self.url} keeps hidden states to itself; put a guard that edits them into that server (docs/vllm.md), "
            "or serve the checkpoint here"
        )


class NoCompletion(RuntimeError):
    """A server's reply that is no chat completion."""


def text_of(done: Any) -> str:
    """The answer in a server's reply, or what it says in refusing. NoCompletion where the reply is another thing."""
    choices = getattr(done, "choices", None)
    message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
    if message is None:
        raise NoCompletion(f"the server's reply is no chat completion: {str(done)[:100]!r}")
    text = message.content or getattr(message, "refusal", None) or ""
    if not isinstance(text, str):
        raise NoCompletion(f"the content of the server's reply is no text: {str(text)[:100]!r}")
    return text


class Upstream:
    """A guard in front of another server."""

    def __init__(self, subject: UpstreamSubject, guard: Guard, max_new_tokens: int) -> None:
        guard.check_given()
        guard.check_reach(subject)
        if guard.needs_fit and not guard.is_fitted:
            raise ValueError(
                f"guard {guard.name!r} is fitted on hidden states, which {subject.url} keeps to itself; put it into "
                "that server (docs/vllm.md)"
            )
        self.subject, self.guard, self.max_new_tokens = subject, guard, max_new_tokens

    def respond_each(self, queries: Sequence[Query], dataset: str = "", **generation: Any) -> list[Answered]:
        """One answer per query; NoAnswer, with the reason, for one that fails."""
        generation = {"max_new_tokens": self.max_new_tokens, **generation}
        try:
            return answered_under(self.guard, self.subject, queries, **generation)
        except Exception as error:  # noqa: BLE001 - of another server, of a guard's judge, of what is asked
            if len(queries) > 1:
                return [answer for query in queries for answer in self.respond_each([query], dataset, **generation)]
            return [Answered(no_answer(error))]


def of_openai(generation: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `generate` in OpenAI's words; ValueError for one that it has none for."""
    names = {"max_new_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p", "seed": "seed"}
    kept = {names[name]: value for name, value in generation.items() if name in names and value is not None}
    strangers = sorted(set(generation) - {*names, "do_sample", "stop"})
    if strangers:
        raise ValueError(f"{', '.join(strangers)}: can't be handed on to another server; leave it out")
    kept |= {"stop": list(generation["stop"])} if generation.get("stop") else {}
    return kept if generation.get("do_sample") else {**kept, "temperature": 0}


def messages(query: Query) -> list[dict[str, Any]]:
    """A query as OpenAI's messages; ValueError for one that has no such form."""
    if query.raw or query.begun:
        raise ValueError("a prompt as it stands, or a begun answer, can't be handed on to another server")
    return [{"role": turn.role, "content": [part(*each) for each in turn.parts]} for turn in query.turns()]


def part(kind: str, value: ImageLike) -> dict[str, Any]:
    """A part of a message."""
    if kind == "text":
        return {"type": "text", "text": str(value)}
    if isinstance(value, BlankImage):
        raise ValueError(
            "a meaningless picture is drawn as the model's image processor has it, which is not known here"
        )
    file = io.BytesIO()
    read_image(value).save(file, "PNG")
    address = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": address}}
