"""lm-evaluation-harness's requests as queries, and its generation arguments as those of `generate`."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any, Mapping, Sequence

from lm_eval.api.instance import Instance
from lm_eval.models.utils import normalize_gen_kwargs

from vlmguard_plugin.hosts.early_layers import VISION_LAYER
from vlmguard_plugin.query import ImageLike, Query, Turn

PLACE = "<image>"
"""Where the host's tasks put a picture."""
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""The host's names for the length of an answer, in tokens; it takes the first that is given."""

logger = logging.getLogger(__name__)


class Prompt(str):
    """A conversation as the host logs it: in the model's chat template. messages: it itself, [{role, content}, ...]."""

    messages: list[dict[str, str]]


def query_of(request: Instance) -> Query:
    """A request as a query: in the chat template where the host has applied it, else the text as it stands."""
    context = request.args[0]
    if isinstance(context, Prompt):
        return conversation(context.messages, pictures(request))
    return Query.from_parts(placed(context, pictures(request)), raw=True)


def conversation(messages: Sequence[Mapping[str, str]], images: Sequence[ImageLike]) -> Query:
    """A query from the host's messages: turns, the last of which may be an answer that is begun (`gen_prefix`).

    images: of the last request, in the places for pictures there.
    """
    *earlier, last = messages
    begun = ""
    if last["role"] == "assistant":
        begun = last["content"]
        *earlier, last = earlier
    for turn in earlier:
        if images and PLACE in turn["content"]:
            raise ValueError(
                f"an earlier turn or example has a place for a picture ({PLACE}), but the host hands over the "
                "request's pictures alone; use --num_fewshot 0"
            )
    history = [Turn(turn["role"], (("text", turn["content"]),)) for turn in earlier]
    return Query.from_parts(placed(last["content"], images), history, begun=begun)


def placed(text: str, images: Sequence[ImageLike]) -> list[tuple[str, ImageLike]]:
    """The parts of a text with pictures in the first places for them; a place beyond them is somebody's words."""
    texts = text.split(PLACE, len(images))
    if len(texts) <= len(images):
        raise ValueError(
            f"a request has {len(texts) - 1} places for pictures ({PLACE}), but its task hands over {len(images)}"
        )
    if images and PLACE in texts[-1]:
        warn_once(
            f"vlmguard: a request has more places for pictures ({PLACE}) than pictures; the first are taken, the "
            "others are words"
        )
    parts: list[tuple[str, ImageLike]] = [("text", texts[0])]
    for image, after in zip(images, texts[1:]):
        parts += [("image", image), ("text", after)]
    return [part for part in parts if part != ("text", "")] or [("text", "")]


@cache
def warn_once(message: str) -> None:
    logger.warning(message)


def pictures(request: Instance) -> tuple[ImageLike, ...]:
    """The pictures that the host hands over with a request. ValueError for sounds."""
    dicts = (argument for argument in request.args if isinstance(argument, dict))
    beside = next((argument for argument in dicts if "visual" in argument or "audio" in argument), {})
    if beside.get("audio"):
        raise ValueError(f"{request.task_name} has sounds, which a guarded model can't take")
    return tuple(beside.get("visual") or ())


def generation_of(asked: Mapping[str, Any], max_gen_toks: int) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The host's generation_kwargs as (texts that an answer ends before, arguments of `generate`).

    ValueError where a task and `--gen_kwargs` give two lengths under two names: the host keeps both, and takes one
    by its name, whoever gave it.
    """
    lengths = {name: asked[name] for name in LENGTHS if asked.get(name) is not None}
    if len(set(map(str, lengths.values()))) > 1:
        both = " and ".join(f"{name}={length}" for name, length in lengths.items())
        raise ValueError(f"the task and --gen_kwargs give two lengths of an answer, {both}; give {next(iter(lengths))}")
    own = {name: value for name, value in asked.items() if name != VISION_LAYER}
    wanted = dict(normalize_gen_kwargs(own, max_gen_toks))
    stop = tuple(text for text in wanted.pop("until") if text)
    wanted["max_new_tokens"] = wanted.pop("max_gen_toks")
    if not wanted["do_sample"]:
        for sampling in ("temperature", "top_p", "top_k"):
            wanted.pop(sampling, None)
    return stop, wanted
