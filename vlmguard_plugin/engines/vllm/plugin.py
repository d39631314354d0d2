"""vLLM's plugin, which it loads in each of its processes (entry point `vllm.general_plugins`).

It acts where an engine is asked for a guard, or is a subject's, and leaves all other engines as they are:

    vllm serve MODEL --additional-config '{"vlmguard": {"guard": "FOLDER"}}'
"""

from __future__ import annotations

import functools
from typing import Any, Callable


def register() -> None:
    """Called by vLLM in every process: front end, engine core, workers; what it has done already it leaves."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.input_processor import InputProcessor
    from vllm.v1.worker.gpu_worker import Worker

    if hasattr(Worker, "vlmguard_begin"):
        return
    wrap(EngineArgs, "create_engine_config", configured)
    wrap(Worker, "load_model", loaded)
    wrap(InputProcessor, "__init__", begun_front)
    wrap(InputProcessor, "process_inputs", checked)
    wrap(InputProcessor, "resolve_watermarking", begun)
    for name in CALLED_BY_NAME:
        setattr(Worker, name, called_by_name(name))


CALLED_BY_NAME = (
    "vlmguard_begin", "vlmguard_end", "vlmguard_layers", "vlmguard_normalised", "vlmguard_guard",
)  # fmt: skip
"""Functions of `worker`, which imports torch, that front ends call by name."""


def wrap(owner: type, name: str, around: Callable[..., Any]) -> None:
    """Put `around` in the place of a method, which it is given as its first argument."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def wrapped(self: Any, *given: Any, **named: Any) -> Any:
        return around(method, self, *given, **named)

    setattr(owner, name, wrapped)


def called_by_name(name: str) -> Callable[..., Any]:
    """A method of workers that is the function of this name."""

    def method(self: Any, *arguments: Any) -> Any:
        from vlmguard_plugin.engines.vllm import worker

        return getattr(worker, name)(self, *arguments)

    return method


def configured(create: Callable[..., Any], arguments: Any, *given: Any, **named: Any) -> Any:
    """The engine's configuration; of a guarded one, with what a guard can't be right with switched off, or refused."""
    from vlmguard_plugin.engines.vllm.asked import asked_of

    asked = asked_of(arguments.additional_config)
    if asked is None:
        return create(arguments, *given, **named)
    from vlmguard_plugin.engines.vllm.configuration import as_guarded

    as_guarded(arguments, asked)
    if asked.guard is not None:
        from vlmguard_plugin.engines.vllm.which_guard import answer_in_servers

        answer_in_servers()
    return create(arguments, *given, **named)


def loaded(load: Callable[..., Any], worker: Any, *given: Any, **named: Any) -> Any:
    """A worker's model is loaded; of a guarded engine, its layers are made ready and the guard put in place."""
    from vlmguard_plugin.engines.vllm.asked import asked_of

    asked = asked_of(worker.vllm_config.additional_config)
    if asked is None:
        return load(worker, *given, **named)
    from vlmguard_plugin.engines.vllm.names import know_flat_towers
    from vlmguard_plugin.engines.vllm.worker import make_ready

    know_flat_towers(worker.vllm_config.model_config.architectures)
    result = load(worker, *given, **named)
    make_ready(worker, asked)
    return result


def begun_front(begin: Callable[..., Any], processor: Any, *given: Any, **named: Any) -> None:
    """A front end begins; where requests may ask for another guard it reads the server's own now, as workers do."""
    from vlmguard_plugin.engines.vllm.asked import asked_of

    begin(processor, *given, **named)
    asked = asked_of(processor.vllm_config.additional_config)
    if asked is not None and asked.guard is not None and asked.per_request:
        from vlmguard_plugin.engines.vllm.per_request import of_server

        of_server(asked)


def checked(
    process: Callable[..., Any], processor: Any, request: str, prompt: Any, params: Any, *given: Any, **named: Any
) -> Any:
    """A request enters the engine; of a guarded one, VLLMValidationError where its answer can't be guarded."""
    from vlmguard_plugin.engines.vllm.asked import asked_of

    asked = asked_of(processor.vllm_config.additional_config)
    if asked is not None:
        from vllm.exceptions import VLLMValidationError

        from vlmguard_plugin.engines.vllm.per_request import check_request, check_whole, forget_pictures

        try:
            check_request(asked, params)
            if named.get("resumable"):
                check_whole(asked, "a prompt that goes on after an answer")
        except VLLMValidationError:
            forget_pictures(processor, prompt)
            raise
    return process(processor, request, prompt, params, *given, **named)


def begun(resolve: Callable[..., Any], processor: Any, params: Any, *given: Any, **named: Any) -> Any:
    """Beam search begins with this; of a guarded engine it is refused, for it asks anew after each token."""
    from vllm.sampling_params import BeamSearchParams

    from vlmguard_plugin.engines.vllm.asked import asked_of

    asked = asked_of(processor.vllm_config.additional_config)
    if asked is not None and isinstance(params, BeamSearchParams):
        from vlmguard_plugin.engines.vllm.per_request import check_whole

        check_whole(asked, "beam search")
    return resolve(processor, params, *given, **named)
