"""A hub of tiny random models: the host's classes load what they ask for, built in code, on the CPU, in float32.

While `tiny_hub` is open, `from_pretrained` of transformers gives a random model, processor or tokenizer of the
architecture that a checkpoint's name stands for, no GPU is needed, and answers have a few tokens.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator
from unittest.mock import patch

import numpy
import torch
import transformers
from PIL import Image
from random_models import tiny_model
from remote_stand_in import ChatStandIn
from transformers import GenerationMixin, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin
from transformers.models.auto.auto_factory import _BaseAutoModelClass

TOKENS = 4
HALVES = (torch.float16, torch.bfloat16)


class NotHere(Exception):
    """A checkpoint that no tiny model stands for. reason: why, in a few words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def architecture_of(checkpoint: str, names: dict[str, str], remote: bool) -> str:
    """The architecture that a checkpoint's name stands for: the first of `names` that its folder ends with."""
    name = "/".join(Path(checkpoint).parts[-2:])
    for part, architecture in names.items():
        if part.lower() in name.lower():
            return architecture
    raise NotHere("remote code" if remote else f"no tiny model for {name}")


@contextmanager
def tiny_hub(names: dict[str, str]) -> Iterator[None]:
    """See above. names: architectures by a part of the checkpoint's name, the first that fits."""
    loaded: dict[str, Any] = {}

    def pair(checkpoint: Any, options: dict[str, Any]) -> tuple[Any, Any]:
        architecture = architecture_of(str(checkpoint), names, bool(options.get("trust_remote_code")))
        if architecture not in loaded:
            loaded[architecture] = tiny_model(architecture)
        return loaded[architecture]

    def model(cls: type, checkpoint: Any = None, *_: Any, **options: Any) -> Any:
        built = pair(checkpoint or options["pretrained_model_name_or_path"], options)[0]
        if isinstance(built, (nn_class(cls), ChatStandIn)):
            return built
        raise NotHere(f"asked for {cls.__name__}, which no tiny model is")

    def processor(cls: type, checkpoint: Any = None, *_: Any, **options: Any) -> Any:
        return pair(checkpoint or options["pretrained_model_name_or_path"], options)[1]

    def tokenizer(cls: type, checkpoint: Any = None, *_: Any, **options: Any) -> Any:
        return processor(cls, checkpoint, **options).tokenizer

    def config(cls: type, checkpoint: Any = None, *_: Any, **options: Any) -> Any:
        return pair(checkpoint, options)[0].config

    def refused(cls: type, checkpoint: Any = None, *_: Any, **options: Any) -> Any:
        raise NotHere("remote code" if options.get("trust_remote_code") else f"{cls.__name__} of {checkpoint}")

    with ExitStack() as stack:
        for kind, load in (
            *((each, model) for each in (_BaseAutoModelClass, *subclasses(_BaseAutoModelClass))),
            (PreTrainedModel, model),
            (transformers.AutoProcessor, processor),
            (ProcessorMixin, processor),
            (transformers.AutoTokenizer, tokenizer),
            (PreTrainedTokenizerBase, tokenizer),
            (transformers.AutoConfig, config),
            (transformers.AutoImageProcessor, refused),
            (transformers.GenerationConfig, refused),
            (transformers.ImageProcessingMixin, refused),
        ):
            stack.enter_context(patch.object(kind, "from_pretrained", classmethod(load)))
        stack.enter_context(without_a_gpu())
        stack.enter_context(patch.object(GenerationMixin, "generate", short(GenerationMixin.generate)))
        yield


def subclasses(cls: type) -> list[type]:
    """All classes that are made from one."""
    return [each for own in cls.__subclasses__() for each in (own, *subclasses(own))]


def nn_class(cls: Any) -> type:
    """The class itself; of an Auto class any model."""
    return PreTrainedModel if issubclass(cls, _BaseAutoModelClass) else cls


def short(generate: Callable[..., Any]) -> Callable[..., Any]:
    """`generate` with a few tokens at most."""

    def generated(self: Any, *args: Any, **kwargs: Any) -> Any:
        most = kwargs.get("max_new_tokens") or TOKENS
        return generate(self, *args, **{**kwargs, "max_new_tokens": min(most, TOKENS)})

    return generated


@contextmanager
def without_a_gpu() -> Iterator[None]:
    """While open, whatever is sent to a GPU or made half precise stays on the CPU in float32."""

    def to(move: Callable[..., Any]) -> Callable[..., Any]:
        def moved(self: Any, *args: Any, **kwargs: Any) -> Any:
            args = tuple(map(here, args))
            return move(self, *args, **{name: here(value) for name, value in kwargs.items()})

        return moved

    def here(value: Any) -> Any:
        if type(value) is int:
            return torch.device("cpu")
        if value in HALVES:
            return torch.float32
        return torch.device("cpu") if str(value).startswith("cuda") else value

    def stays(self: Any, *_: Any, **__: Any) -> Any:
        return self

    with ExitStack() as stack:
        for kind in (torch.Tensor, torch.nn.Module):
            stack.enter_context(patch.object(kind, "to", to(kind.to)))
            for name in ("cuda", "half", "bfloat16"):
                stack.enter_context(patch.object(kind, name, stays))
        stack.enter_context(patch.object(PreTrainedModel, "to", to(PreTrainedModel.to)))
        stack.enter_context(patch.object(PreTrainedModel, "cuda", stays))
        stack.enter_context(patch.object(PreTrainedModel, "half", stays))
        stack.enter_context(patch("torchvision.io.decode_image", by_pillow))
        for name in ("empty_cache", "set_device", "current_device"):
            stack.enter_context(patch.object(torch.cuda, name, lambda *_: 0))
        for module in [module for name, module in sys.modules.items() if name.startswith("vlmeval.vlm")]:
            if hasattr(module, "get_gpu_memory"):
                stack.enter_context(patch.object(module, "get_gpu_memory", lambda: [80_000]))
        yield


def by_pillow(data: Any, mode: Any = None, **_: Any) -> torch.Tensor:
    """An image file, its path or bytes, as uint8 [3, height, width]; a torchvision without operators reads none."""
    raw = Path(data).read_bytes() if isinstance(data, (str, Path)) else bytes(data.numpy())
    return torch.tensor(numpy.array(Image.open(io.BytesIO(raw)).convert("RGB"))).permute(2, 0, 1)


def checkpoint_folder(place: Path, name: str, architectures: list[str]) -> Path:
    """A folder with the config.json that some classes read themselves. name: the checkpoint's, on the hub."""
    folder = place / name.strip("/")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"architectures": architectures}))
    return folder
