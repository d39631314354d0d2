"""The server: OpenAI's chat completions in front of a guarded model, and which guard is on."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Mapping

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from vlmguard_plugin.hosts.guarded import NoAnswer
from vlmguard_plugin.reading import parsed_json
from vlmguard_plugin.serving.answering import Answering
from vlmguard_plugin.serving.chat import Refused, asked, events, reply


class Server:
    """What answers at each address.

    answering: of the model. name: of the model, as clients call it. guard: what /vlmguard tells.
    tokens: how many an answer has; None where nobody can tell. most_tokens: of an answer whose request names no length.
    """

    def __init__(
        self,
        answering: Answering,
        name: str,
        guard: Mapping[str, Any],
        tokens: Callable[[str], int] | None,
        most_tokens: int,
    ) -> None:
        self.answering, self.name, self.guard = answering, name, guard
        self.tokens, self.most_tokens = tokens, most_tokens
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
            self.answering.models.check(wanted.guard)
        except ValueError as error:
            return failure(400, str(error))
        answered = await asyncio.wrap_future(self.answering.answer(wanted))
        if isinstance(answered.text, NoAnswer):
            return failure(500, answered.text.reason)
        most = wanted.generation.get("max_new_tokens", self.most_tokens)
        cut = self.tokens is not None and self.tokens(answered.text) >= most
        if wanted.streamed:
            return StreamingResponse(events(wanted, answered.text, cut), media_type="text/event-stream")
        return JSONResponse(reply(wanted, answered.text, answered.fired, cut))


def failure(status: int, message: str) -> Response:
    """An error in OpenAI's form."""
    kind = "invalid_request_error" if status == 400 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind, "code": status}}, status_code=status)
