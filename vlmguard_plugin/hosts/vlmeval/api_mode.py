"""VLMEvalKit's `--api-mode`: our requests word for word there too, and the facts of its runs."""

from __future__ import annotations

from contextlib import ExitStack
from functools import wraps
from typing import Any, Callable

from vlmguard_plugin.hosts.vlmeval.kept_answers import loaded_identity
from vlmguard_plugin.hosts.vlmeval.recording import DatasetRun
from vlmguard_plugin.reading import in_line


def register_api_mode(inference: Any) -> None:
    """Hook `vlmeval.inference_api`; TypeError for a pipeline of another form than 0.0.20's, which is left alone."""
    pipeline = inference.APIEvalPipeline
    for name in ("run", "_produce_image_tasks"):
        if not callable(getattr(pipeline, name, None)):
            raise TypeError(f"{inference.__name__}.APIEvalPipeline has no {name}, so its runs can't be recorded")
    pipeline.run = recorded(pipeline.run)
    pipeline._produce_image_tasks = word_for_word(pipeline._produce_image_tasks)


def word_for_word(produce: Callable[..., Any]) -> Callable[..., Any]:
    """The host's making of requests, which here does not ask a data set whether models may build their own."""

    @wraps(produce)
    async def produced(pipeline: Any, config: Any, *arguments: Any, **named: Any) -> Any:
        if getattr(config.dataset_obj, "force_use_dataset_prompt", False):
            config.model_obj.use_custom_prompt = lambda *_, **__: False
        return await produce(pipeline, config, *arguments, **named)

    return produced


def recorded(run: Callable[..., Any]) -> Callable[..., Any]:
    """The host's pipeline with a record kept of each data set, as `recording` keeps it of the other modes."""

    @wraps(run)
    async def run_with_record(pipeline: Any, *arguments: Any, **named: Any) -> Any:
        runs = []
        with ExitStack() as stack:
            for config in pipeline.dataset_configs if pipeline.run_infer else ():
                one = DatasetRun(config.work_dir, config.model_name, config.dataset_name)
                one.begin()
                one.check_kept(loaded_identity(config.model_obj, config.model_name))
                one.watch(config.model_obj, stack)
                runs.append((one, config))
            try:
                result = await run(pipeline, *arguments, **named)
            except BaseException as error:  # an interrupt too: it goes on as it came
                for one, _ in runs:
                    one.end(in_line(error))
                raise
        for one, config in runs:
            lacks = config.total_samples - config.processed
            one.end(f"{lacks} of {config.total_samples} rows have no answer" if lacks else None)
        return result

    return run_with_record
