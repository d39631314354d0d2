"""The server: OpenAI's chat completions in front of a guarded model, and which guard is on."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Mapping

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from vlmguard_plugin.hosts.guarded import NoAnswer
from vlmguard_plugin.reading import in_line, parsed_json, visible
from vlmguard_plugin.serving.answering import Answering
from vlmguard_plugin.serving.chat import Refused, asked, events, reply


class Server:
    """What answers at each address.

    answering: of the model. name: of the model, as clients call it. guard: what /vlmguard tells.
    tokens: how many an answer has; None where nobody can tell. most_tokens: of an answer whose request names no length.
    longest: answer, in tokens, that a request may ask for; None for any.
    """

    def __init__(
        self,
        answering: Answering,
        name: str,
        guard: Mapping[str, Any],
        tokens: Callable[[str], int] | None,
        most_tokens: int,
        longest: int | None = None,
    ) -> None:
        self.answering, self.name, self.guard = answering, name, guard
        self.tokens, self.most_tokens, self.longest = tokens, most_tokens, longest
        self.app = FastAPI(title="vlmguard", docs_url=None, redoc_url=None, openapi_url=None)
        for path, call, method in (
            ("/health", self.health, "GET"),
            ("/vlmguard", self.which_guard, "GET"),
            ("/v1/models", self.models, "GET"),
            ("/v1/chat/completions", self.complete, "POST"),
        ):
            self.app.add_api_route(path, call, methods=[method], response_model=None)

    async def health(self) -> Response:
        return Response(status_code=200)

    async def which_guard(self) -> Mapping[str, Any]:
        return {"guard": self.guard, "per_request": self.answering.models.told()}

    async def models(self) -> dict[str, Any]:
        return {"object": "list", "data": [{"id": self.name, "object": "model", "owned_by": "vlmguard"}]}

    async def complete(self, request: Request) -> Response:
        try:
            body = parsed_json(await request.body())
            wanted = asked(body)
            if wanted.model and wanted.model != self.name:
                raise Refused(f"model is {wanted.model!r}; this server has {self.name!r}")
            given = wanted.generation.get("max_new_tokens")
            if given is not None and self.longest is not None and given > self.longest:
                raise Refused(f"max_tokens is {given}; this model reads and writes {self.longest} in all")
            self.answering.models.check(wanted.guard)
        except ValueError as error:
            return failure(400, str(error))
        try:
            answered = await asyncio.wrap_future(self.answering.answer(wanted))
        except Exception as error:  # noqa: BLE001 - whatever a model, an engine or a guard raises, a client is told so
            return failure(500, in_line(error))
        most = given or self.most_tokens
        if isinstance(answered.text, NoAnswer):
            return failure(400 if answered.text.refused else 500, answered.text.reason)
        cut = self.tokens is not None and self.tokens(answered.text) >= most
        if wanted.streamed:
            return StreamingResponse(events(wanted, answered.text, cut), media_type="text/event-stream")
        return JSONResponse(reply(wanted, answered.text, answered.fired, cut))


def failure(status: int, message: str) -> Response:
    """An error in OpenAI's form, its message in one line."""
    kind = "invalid_request_error" if status == 400 else "server_error"
    return JSONResponse({"error": {"message": visible(message), "type": kind, "code": status}}, status_code=status)
