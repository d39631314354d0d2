"""`vlmguard serve`: a guarded model behind an OpenAI-compatible address."""

from __future__ import annotations

from typing import Any

import click

from vlmguard_plugin import environment
from vlmguard_plugin.cli.options import set_option


@click.command("serve")
@click.argument("model")
@click.option("--guard", help="A guard, or several joined by +; default: none.")
@click.option(
    "--guard-dir", help="A fitted guard's folder, which names the guard; default: fitted at first use, and kept."
)
@set_option("settings", "A setting of the guard, e.g. layers=[10,11]; repeatable.")
@click.option(
    "--engine",
    type=click.Choice(environment.ENGINES),
    help="What the model runs on; default: $VLMGUARD_ENGINE, else transformers.",
)
@click.option("--upstream", metavar="URL", help="Stand before this server, /v1 included; MODEL is its name there.")
@click.option(
    "--per-request",
    is_flag=True,
    help="Let a request switch the guard off, or ask for another strength within its calibrated range.",
)
@click.option("--name", help="What clients call the model; default: MODEL.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Port to listen at.")
def serve_command(
    model: str,
    guard: str | None,
    guard_dir: str | None,
    settings: dict[str, Any],
    engine: str | None,
    upstream: str | None,
    per_request: bool,
    name: str | None,
    host: str,
    port: int,
) -> None:
    """Answer OpenAI's chat completions with a guarded MODEL.

    MODEL: a checkpoint, or a model of `vlmguard list`.

    \b
    vlmguard serve llava --guard vlm_guard --port 8000
    vlmguard serve llava --guard shiftdc+self_reminder --engine vllm
    vlmguard serve llava --guard ecso --upstream http://127.0.0.1:8001/v1

    Any client of that form can ask, a red-teaming tool for instance: http://127.0.0.1:8000/v1. Pictures come as
    data:image/png;base64,... in image_url. Greedy unless a temperature is given. A streamed answer comes whole.
    GET /vlmguard tells which guard is on. There is no key: who reaches the port may ask.
    With --per-request a body's {"vllm_xargs": {"vlmguard": "off"}} leaves the guard out, a number in the place of "off"
    is another strength.

    --upstream is for guards that reword requests or look at answers, before a server that may have a guard of its own.
    """
    try:
        import uvicorn

        from vlmguard_plugin.serving.app import Server
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"vlmguard serve needs {error.name}; pip install 'vlmguard_plugin[serve]'", name=error.name
        ) from error
    from vlmguard_plugin.endpoints.address import endpoint
    from vlmguard_plugin.guards.core.registry import load_guard
    from vlmguard_plugin.hosts.guard_spec import GuardSpec
    from vlmguard_plugin.hosts.guarded import GuardedModel, guard_facts
    from vlmguard_plugin.serving.answering import Answering
    from vlmguard_plugin.serving.by_request import ByRequest
    from vlmguard_plugin.serving.upstream import Upstream, UpstreamSubject

    called = name or model
    guard = guard or (load_guard(guard_dir).name if guard_dir else None)
    if per_request and guard is None:
        raise click.UsageError("--per-request is about a guard, and none is named; add --guard or --guard-dir")
    if upstream is not None:
        if engine is not None:
            raise click.UsageError("--engine is of a model that runs here; leave it out beside --upstream")
        upstream = endpoint(upstream)[0]
        loaded = GuardSpec(model, guard or "none", settings, guard_dir).guard_at_hand()
        before = Upstream(UpstreamSubject(upstream, model), loaded, GuardSpec(model).answer_tokens)
        answering = Answering(ByRequest(before, per_request), before.subject.batch_size)
        server = Server(answering, called, guard_facts(loaded), None, before.max_new_tokens)
    else:
        guarded = GuardedModel(GuardSpec(model, guard, settings, guard_dir, engine=engine))
        tokenizer = guarded.subject.processor.tokenizer

        def tokens(text: str) -> int:
            return len(tokenizer(text, add_special_tokens=False)["input_ids"])

        answering = Answering(ByRequest(guarded, per_request), guarded.subject.batch_size)
        longest = getattr(guarded.subject.config.get_text_config(), "max_position_embeddings", None)
        server = Server(answering, called, guard_facts(guarded.guard), tokens, guarded.max_new_tokens, longest)
    told = server.guard["guard_fingerprint"] or "no guard"
    behind = model if upstream is None else f"{upstream}, which {own_guard(upstream)}"
    click.echo(f"vlmguard: {told} is on, in front of {behind}; http://{host}:{port}/v1", err=True)
    uvicorn.run(server.app, host=host, port=port, log_level="warning")


def own_guard(upstream: str) -> str:
    """What a server says of its own guard, in words."""
    from vlmguard_plugin.endpoints.address import EndpointError
    from vlmguard_plugin.endpoints.guard_there import guard_at

    try:
        there = guard_at(upstream)
    except EndpointError as error:
        return f"does not say whether it has a guard of its own ({error})"
    return f"has {there.fingerprint}" if there and there.fingerprint else "has no guard of its own"
