"""OpenAI's chat completions: a request's body to a query and arguments of `generate`, and an answer to a reply."""

from __future__ import annotations

import base64
import binascii
import io
import json
import time
import uuid
from dataclasses import dataclass
from typing import Any, Iterator, Mapping

from PIL import Image

from vlmguard_plugin.query import Query, Turn, read_image

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "add_generation_prompt": (True,),
    "best_of": (1,),
    "continue_final_message": (False,),
    "echo": (False,),
    "ignore_eos": (False,),
    "length_penalty": (1,),
    "min_p": (0,),
    "min_tokens": (0,),
    "repetition_penalty": (1,),
    "skip_special_tokens": (True,),
    "use_beam_search": (False,),
}
"""What a body may ask for that is not done here, and the values under which it asks for nothing."""
FOLLOWED = (
    "messages", "model", "stream", "stop", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k",
    "seed",
)  # fmt: skip
OF_NO_ACCOUNT = (
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "stream_options", "parallel_tool_calls",
)  # fmt: skip
"""What changes no answer."""
OF_MESSAGES = ("role", "content", "name")
EXTRA, GUARD = "vllm_xargs", "vlmguard"
LENGTHS = ("max_completion_tokens", "max_tokens")
GREEDY_BELOW = 1e-5
"""Temperatures under which vLLM's server is greedy; so small a divisor makes scores infinite."""
LARGEST_SEED = 2**63 - 1
LARGEST_PICTURE = 64 << 20
"""Bytes of a picture in a body."""


class Refused(ValueError):
    """A request that can't be answered as it is meant."""


@dataclass(frozen=True)
class Asked:
    """query: the conversation. generation: arguments of `generate`, the texts to stop at among them.

    model: as the client calls it. streamed: whether the client waits for events. guard: what is asked of the guard,
    "off" or a strength; None for nothing.
    """

    query: Query
    generation: Mapping[str, Any]
    model: str
    streamed: bool
    guard: str | float | None = None

    @property
    def alone(self) -> bool:
        """Whether it is answered by itself: a seed makes the same answer again, whoever else asks."""
        return "seed" in self.generation

    @property
    def alike(self) -> str:
        """Requests with the same one may be answered together, unless they are answered alone."""
        return json.dumps([dict(self.generation), len(self.query.all_images), self.guard], sort_keys=True)


def asked(body: Any) -> Asked:
    """A request from its body. Refused names what can't be followed."""
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        raise Refused("messages is missing; give a list of {role, content}")
    for name, value in body.items():
        known = name in (*FOLLOWED, *OF_NO_ACCOUNT, EXTRA, GUARD)
        if not known and value is not None and value not in NEUTRAL.get(name, ()):
            raise Refused(f"{name} is {value!r}, which a guarded model here does not follow; leave it out")
    turns = [turn(message) for message in body["messages"]]
    *history, last = turns
    if last.role != "user":
        raise Refused(f"the last message is the {last.role}'s; end with the user's")
    query = Query.from_parts(last.parts, history)
    streamed = body.get("stream") or False
    if not isinstance(streamed, bool):
        raise Refused(f"stream is {streamed!r}; give true or false")
    return Asked(query, generation(body), str(body.get("model") or ""), streamed, of_guard(body))


def of_guard(body: Mapping[str, Any]) -> Any:
    """What a body asks of the guard, where vLLM's own server has it too: in vllm_xargs."""
    if GUARD in body:
        raise Refused(f"{GUARD} is {body[GUARD]!r}; give it within {EXTRA}, as in {{'{EXTRA}': {{'{GUARD}': 'off'}}}}")
    extra = {} if body.get(EXTRA) is None else body[EXTRA]
    if not isinstance(extra, dict) or set(extra) - {GUARD}:
        raise Refused(f"{EXTRA} is {extra!r}; it takes {GUARD} alone, 'off' or a strength")
    return extra.get(GUARD)


def turn(message: Any) -> Turn:
    """A message as a turn of a conversation."""
    role, content = (message.get(name) for name in ("role", "content")) if isinstance(message, dict) else (None, None)
    role = "system" if role == "developer" else role
    if role not in ("system", "user", "assistant"):
        raise Refused(f"role is {role!r}; give system, user or assistant")
    for name, value in message.items():
        if name not in OF_MESSAGES and value not in (None, [], {}, ""):
            raise Refused(f"a message has {name}: {value!r}, which is not put to the model here; leave it out")
    if isinstance(content, str):
        return Turn(role, (("text", words(content)),))
    if not isinstance(content, list):
        raise Refused(f"the content of a message is {content!r}; give words, or a list of parts")
    return Turn(role, tuple(part(entry) for entry in content))


def part(entry: Any) -> tuple[str, Any]:
    """A part of a message: words, or a picture that the body brings along."""
    kind = entry.get("type") if isinstance(entry, dict) else None
    if kind == "text" and isinstance(entry.get("text"), str):
        return "text", words(entry["text"])
    if kind != "image_url":
        raise Refused(f"a part of a message is of type {kind!r}; give text or image_url")
    given = entry.get("image_url")
    address = given.get("url") if isinstance(given, dict) else given
    head, comma, data = str(address).partition(",")
    if not (head.startswith("data:image/") and head.endswith(";base64") and comma):
        raise Refused(f"image_url is {head[:60]!r}; give the picture itself, as data:image/png;base64,...")
    if len(data) > LARGEST_PICTURE:
        raise Refused(f"a picture has more than {LARGEST_PICTURE} bytes; give a smaller one")
    try:
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as opened:
            return "image", read_image(opened)
    except (binascii.Error, OSError, ValueError, Image.DecompressionBombError) as error:
        raise Refused(f"a picture can't be read ({error}); give a readable PNG or JPEG file") from error


def words(text: str) -> str:
    """The text; Refused where half a surrogate pair stands in it, which is no character."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused(f"a text can't be read ({error}); give whole characters") from error
    return text


def generation(body: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `generate`: sampled where a temperature above 0 is given, greedy without one."""
    given: dict[str, Any] = {}
    length = next((body[name] for name in LENGTHS if body.get(name) is not None), None)
    if length is not None:
        if type(length) is not int or length < 1:
            raise Refused(f"max_tokens is {length!r}; give a whole number of at least 1")
        given["max_new_tokens"] = length
    temperature = number(body, "temperature", 0, 2)
    sampled: dict[str, Any] = {
        "top_p": number(body, "top_p", 0, 1),
        "top_k": whole(body, "top_k", -1, LARGEST_SEED),
        "seed": whole(body, "seed", 0, LARGEST_SEED),
    }
    if sampled["top_k"] == -1:
        sampled["top_k"] = 0  # all words, as vLLM's server has it
    if temperature is not None and temperature >= GREEDY_BELOW and sampled["top_p"] != 0:
        given |= {"do_sample": True, "temperature": temperature}
        given |= {name: value for name, value in sampled.items() if value is not None}
    stop = body.get("stop") or []
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or not all(isinstance(text, str) and text for text in stop):
        raise Refused(f"stop is {body['stop']!r}; give texts")
    return {**given, "stop": tuple(words(text) for text in stop)} if stop else given


def whole(body: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    """A whole number of the body within bounds; None where it is not there."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        raise Refused(f"{name} is {value!r}; give a whole number from {least} to {most}")
    return value


def number(body: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    """A number of the body within bounds; None where it is not there."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise Refused(f"{name} is {value!r}; give a number from {least} to {most}")
    return float(value)


def reply(asked: Asked, text: str, fired: bool | None, cut: bool) -> dict[str, Any]:
    """The body of a whole answer. fired: whether the guard's gate has. cut: whether the answer ended at its length."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "length" if cut else "stop", "logprobs": None}
    said = {"fired": fired} if asked.guard is None else {"fired": fired, "asked": asked.guard}
    return {**named(asked, "chat.completion"), "choices": [choice], GUARD: said}


def events(asked: Asked, text: str, cut: bool) -> Iterator[str]:
    """The same as events: one with the whole answer, for guards may look at it before anybody else does."""
    first = named(asked, "chat.completion.chunk")
    for delta, reason in (({"role": "assistant", "content": text}, None), ({}, "length" if cut else "stop")):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        yield f"data: {json.dumps({**first, 'choices': [choice]})}\n\n"
    yield "data: [DONE]\n\n"


def named(asked: Asked, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": asked.model,
    }
