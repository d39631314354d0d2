"""What a host's model object holds and is asked, whatever its class."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, ContextManager, Iterator

from PIL import Image
from torch import nn

from vlmguard_plugin.pictures.meaningless import draw_blank
from vlmguard_plugin.query import BlankImage, ImageLike, read_image
from vlmguard_plugin.steering.editing import replaced_generate

QUESTIONS = ("generate", "chat_inner")
"""Methods of a host's object that a question is put to."""
PROCESSOR_NAMES = ("image_processor", "processor", "vis_processor")


class PictureFiles:
    """Pictures as files, which a host's object is asked with; drawn ones last as long as this. vlm: that object."""

    def __init__(self, vlm: Any) -> None:
        self.vlm = vlm
        self._drawn = tempfile.TemporaryDirectory(prefix="vlmguard-")

    def file(self, image: ImageLike) -> str:
        """The path of an image; one that is not a file is written to one."""
        if isinstance(image, BlankImage):
            image = draw_blank(image, image_processor(self.vlm))
        if not isinstance(image, Image.Image):
            return str(image)
        image = read_image(image)
        name = hashlib.sha256(image.tobytes() + str(image.size).encode()).hexdigest()[:16]
        path = Path(self._drawn.name) / f"{name}.png"
        if not path.is_file():
            image.save(path)
        return str(path)


def image_processor(vlm: Any) -> Any:
    """The host's image processor, wherever it keeps it; None where it can't be found."""
    for holder in (vlm, *(getattr(vlm, name, None) for name in PROCESSOR_NAMES)):
        for name in PROCESSOR_NAMES:
            if hasattr(getattr(holder, name, None), "image_mean"):
                return getattr(holder, name)
    return None


@contextmanager
def hearing_questions(vlm: Any, begin: Callable[[bool | None], None], end: Callable[[], None]) -> Iterator[None]:
    """While open, `begin` is called before each question put to a host's object, by whomever, and `end` behind it.

    begin: is told whether the question has an image; None where it is of a form that is not known.
    """

    def heard(ask: Callable[..., Any], turns: bool) -> Callable[..., Any]:
        def asked(*args: Any, **kwargs: Any) -> Any:
            begin(has_picture(kwargs.get("message", args[0] if args else None), turns))
            try:
                return ask(*args, **kwargs)
            finally:
                end()

        return asked

    own = {name: vars(vlm).get(name) for name in QUESTIONS if callable(getattr(vlm, name, None))}
    try:
        for name in own:
            setattr(vlm, name, heard(getattr(vlm, name), name != "generate"))
        yield
    finally:
        for name, before in own.items():
            vars(vlm).pop(name, None)
            if before is not None:
                setattr(vlm, name, before)


def has_picture(message: Any, turns: bool) -> bool | None:
    """Whether a host's message holds an image; None where it is of another form. turns: it is a conversation."""
    try:
        parts = [part for turn in message for part in turn["content"]] if turns else message
        return any(part["type"] == "image" for part in parts)
    except (TypeError, KeyError):
        return None


def held(vlm: Any, kind: type) -> list[Any]:
    """What an object holds of a kind, itself or one object further in, each once."""
    inner = [
        value for value in vars(vlm).values() if hasattr(value, "__dict__") and not isinstance(value, (nn.Module, type))
    ]
    values = [*vars(vlm).values(), *(value for holder in inner for value in vars(holder).values())]
    return list({id(value): value for value in values if isinstance(value, kind)}.values())


def torch_models(vlm: Any) -> list[nn.Module]:
    """The torch models that an object holds, itself or one object further in.

    The largest first, none inside another.
    """
    modules = held(vlm, nn.Module)
    roots = [
        module
        for module in modules
        if not any(module is not other and module in set(other.modules()) for other in modules)
    ]
    return sorted(roots, key=lambda root: -sum(parameter.numel() for parameter in root.parameters()))


def at_most(vlm: Any, tokens: int) -> ContextManager[None]:
    """A context in which no `generate` of an object's torch models decodes more than this many tokens."""

    def short(module: nn.Module, generate: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: generate(
            *args, **{**kwargs, "max_new_tokens": min(kwargs.get("max_new_tokens") or tokens, tokens)}
        )

    return replaced_generate(
        [model for model in torch_models(vlm) if callable(getattr(model, "generate", None))], short
    )
