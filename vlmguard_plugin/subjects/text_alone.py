"""Requests without a picture, put to host classes that reckon with one.

Guards are fitted on text-only requests beside pictured ones. Some wrappers divide by the number of images (InternVL),
others hand `images=[]` to a processor that takes None (LLaVA-OneVision, SmolVLM, Llama 3.2 Vision): `without_pictures`.
Others open the one picture of a request, whatever comes (PaliGemma, Falcon 2): they are given one, and `left_out` takes
its tokens from the prompt again. What is left gets our own subject around the same model and processor: `beside`.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from functools import wraps
from typing import Any, Callable, ContextManager, Iterator, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel, ProcessorMixin

from vlmguard_plugin.subjects.host_parts import held
from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject


class Undivided(int):
    """A number of tiles that no images share: divided by 0 it stays what it is."""

    def __floordiv__(self, images: int) -> int:
        return int(self) // images if images else int(self)


@contextmanager
def without_pictures(vlm: Any) -> Iterator[None]:
    """While open, a host's object can be asked without a picture: its integers survive a division by no images, and
    its processors take an empty list of images for none.
    """
    with ExitStack() as stack:
        stack.enter_context(undivided(vlm))
        for processor in held(vlm, ProcessorMixin):
            stack.enter_context(of_class(processor, __call__=without_empty_lists(type(processor).__call__)))
        yield


@contextmanager
def undivided(vlm: Any) -> Iterator[None]:
    """While open, the integers of an object, and those that it is given, are Undivided."""
    kind: Any = type(vlm)

    def set_attribute(self: Any, name: str, value: Any) -> None:
        kind.__setattr__(self, name, Undivided(value) if type(value) is int else value)

    try:
        with of_class(vlm, __setattr__=set_attribute):
            vars(vlm).update({name: Undivided(value) for name, value in vars(vlm).items() if type(value) is int})
            yield
    finally:
        vars(vlm).update({name: int(value) for name, value in vars(vlm).items() if type(value) is Undivided})


@contextmanager
def left_out(vlm: Any) -> Iterator[None]:
    """While open, a host's object asked with a picture asks its model without: its processors give the prompt that the
    object has built, less the picture's tokens, and no pixels. ValueError where a prompt shows no such tokens, or no
    processor was asked, so that the picture may have been seen.
    """
    asked: list[Any] = []
    with ExitStack() as stack:
        for processor in held(vlm, ProcessorMixin):
            stack.enter_context(of_class(processor, __call__=less_the_picture(type(processor).__call__, asked)))
        try:
            yield
        finally:
            if not asked:
                raise ValueError(f"{type(vlm).__name__} asked no processor that could leave a picture out")


def less_the_picture(call: Callable[..., Any], asked: list[Any]) -> Callable[..., Any]:
    """A processor's `__call__` whose prompt, of one row, is less its image tokens. asked: grows by a call."""

    @wraps(call)
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        inputs = call(self, *args, **kwargs)
        token = getattr(self, "image_token_id", None)
        ids = inputs["input_ids"]
        if token is None or not isinstance(ids, torch.Tensor) or ids.shape[0] != 1 or not (ids == token).any():
            raise ValueError(f"{type(self).__name__} shows no tokens of the picture in its prompt")
        keep = (ids != token)[0]
        for name, value in list(inputs.items()):
            if getattr(value, "shape", None) == ids.shape:
                inputs[name] = value[:, keep]
            else:
                del inputs[name]
        asked.append(self)
        return inputs

    return called


def without_empty_lists(call: Callable[..., Any]) -> Callable[..., Any]:
    """A processor's `__call__` that is given None in the place of each list of nothing."""

    def none_for_nothing(value: Any) -> Any:
        return None if isinstance(value, (list, tuple)) and all(each in ([], ()) for each in value) else value

    @wraps(call)
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = {name: none_for_nothing(value) for name, value in kwargs.items()}
        return call(self, *map(none_for_nothing, args), **given)

    return called


@contextmanager
def of_class(thing: Any, **methods: Any) -> Iterator[None]:
    """While open, an object is of a class of its own, which has these methods before its class's."""
    kind = type(thing)
    own = type(kind.__name__, (kind,), {"__module__": kind.__module__, "__qualname__": kind.__qualname__, **methods})
    thing.__class__ = own
    try:
        yield
    finally:
        thing.__class__ = kind


def beside(vlm: Any, model: nn.Module, layers_path: str | None) -> HuggingFaceSubject | None:
    """Our own subject around the transformers model and processor that a host's object holds.

    None where it holds no such pair, or the processor has no chat template. DecoderNotFound, or what the processor
    raises, where it can't be asked without a picture either.
    """
    for processor in held(vlm, ProcessorMixin) if isinstance(model, PreTrainedModel) else ():
        if getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None):
            return HuggingFaceSubject(model, processor, batch_size=1, layers_path=layers_path)
    return None


class TextWay(NamedTuple):
    """How a request without a picture is put to a host's object.

    help: a context around the call. shows_blank: whether a blank picture is shown, which `help` leaves out again.
    words: how it is said.
    """

    help: Callable[[Any], ContextManager[Any]]
    shows_blank: bool
    words: str


TEXT_WAYS = (
    TextWay(nullcontext, False, "as it is"),
    TextWay(
        without_pictures,
        False,
        "it is given what it can take: no image list in the place of an empty one, no division by no images",
    ),
    TextWay(left_out, True, "it is shown a blank picture, whose tokens and pixels are left out of the prompt it makes"),
)
