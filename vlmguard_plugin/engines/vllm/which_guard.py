"""The address /vlmguard of a server of vLLM's: which guard is on. A server without the plugin has no such address."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from vllm.entrypoints import serve
from vllm.entrypoints.generate.beam_search.online import BeamSearchOnlineMixin

from vlmguard_plugin.engines.vllm.per_request import forget_pictures

ADDRESS = "/vlmguard"


def answer_in_servers() -> None:
    """Have the servers that are started in this process answer."""
    register = serve.register_vllm_serve_api_routers
    if getattr(register, "answers", None) == ADDRESS:
        return

    def register_with_ours(app: Any) -> None:
        app.add_api_route(ADDRESS, which_guard, methods=["GET"])
        register(app)

    register_with_ours.answers = ADDRESS  # type: ignore[attr-defined]
    serve.register_vllm_serve_api_routers = register_with_ours
    beam_search = BeamSearchOnlineMixin.beam_search

    def refused_with_its_pictures(server: Any, prompt: Any, *given: Any, **named: Any) -> Any:
        forget_pictures(server.engine_client.input_processor, prompt)
        return beam_search(server, prompt, *given, **named)  # which plugin.begun refuses

    BeamSearchOnlineMixin.beam_search = refused_with_its_pictures


async def which_guard(request: Request) -> dict[str, Any]:
    """The guard that is in place in the workers: name, fingerprint, settings; and whether all of them say the same."""
    workers = await request.app.state.engine_client.collective_rpc("vlmguard_guard")
    return {"guard": workers[0], "workers": len(workers), "alike": all(told == workers[0] for told in workers)}
