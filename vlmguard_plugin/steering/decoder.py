"""Find the language model's decoder layers in any VLM: by structure, then proved by one prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from vlmguard_plugin.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

COUNT_NAMES = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")
WIDTH_NAMES = ("hidden_size", "d_model", "n_embd", "dim")
TEXT_CONFIG_NAMES = ("text_config", "llm_config", "language_config", "llm_cfg")


@dataclass(frozen=True)
class Decoder:
    """The language model's decoder layers.

    path: name of their ModuleList in the model. layers: the L blocks in order. hidden_size: width d.
    callers: the modules around the list that are called in a pass, outermost first; their arguments tell where
    padding and images are. numbers: the blocks' places in the list, from 0: all, unless some are silent on text.
    """

    path: str
    layers: tuple[nn.Module, ...]
    hidden_size: int
    callers: tuple[nn.Module, ...]
    numbers: tuple[int, ...]

    def next_to(self, index: int) -> nn.Module | None:
        """The decoder layer that takes what this one gives; None for the last, and where another block lies between."""
        follows = index + 1 < len(self.layers) and self.numbers[index + 1] == self.numbers[index] + 1
        return self.layers[index + 1] if follows else None

    def is_of(self, model: nn.Module) -> bool:
        """Whether these are still the model's layers: modules may be replaced, wrapped or unwrapped after they were
        found.
        """
        names = self.path.split(".")
        try:
            around = [model.get_submodule(".".join(names[:depth])) for depth in range(len(names))]
            there = {id(layer) for layer in model.get_submodule(self.path).children()}
        except AttributeError:
            return False
        return set(map(id, self.callers)) <= set(map(id, around)) and all(id(layer) in there for layer in self.layers)


class DecoderNotFound(ValueError):
    """No ModuleList, or several, of a model behave like its language model's decoder layers."""


class OnePassHeard(BaseException):
    """Cuts a generation short once every layer has been heard. No `except Exception` on the way may keep it."""


def hidden_state(output: Any) -> Tensor:
    """The residual stream in a decoder layer's output, which may be a tensor or a tuple."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def with_hidden_state(output: Any, hidden: Tensor) -> Any:
    """The layer's output with its residual stream replaced; the old output is left as it was."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def find_decoder(model: nn.Module, run_text_prompt: Callable[[], Any], layers_path: str | None = None) -> Decoder:
    """Find the decoder layers of a VLM's language model.

    A candidate is a ModuleList or Sequential with as many blocks as the text config has hidden layers (any
    ModuleList, where the model has no config that says so). It is proved by one text-only prompt: in the first pass
    each block must speak exactly once, in order, with a hidden state [rows, tokens, hidden_size]. Vision and audio
    towers stay silent on text, or have another width. Blocks of a class of their own may stay silent too, as Mllama's
    cross-attention layers do without an image: the decoder layers are then the others.

    run_text_prompt: starts a generation on one text-only prompt (one row); it is cut short after its first pass.
    layers_path: name of the ModuleList, where the user knows better; it is proved all the same.
    Raises DecoderNotFound with the candidates and this option.
    """
    count, width = text_shape(model)
    kinds = (torch.nn.ModuleList, torch.nn.Sequential) if count else torch.nn.ModuleList
    lists = {path: module for path, module in model.named_modules() if isinstance(module, kinds) and len(module)}
    if layers_path is not None:
        if layers_path not in lists:
            raise DecoderNotFound(f"layers_path {layers_path!r} is no ModuleList of the model; it has {sorted(lists)}")
        candidates = {layers_path: lists[layers_path]}
    else:
        candidates = {path: module for path, module in lists.items() if count is None or len(module) == count}
    heard, called = _listen(model, candidates, run_text_prompt)
    proved = [
        path
        for path, blocks in candidates.items()
        if heard[path] and _one_pass(heard[path], list(blocks), width or heard[path][0][1][-1])
    ]
    if len(proved) != 1:
        shape = f"{count or 'any number of'} decoder layers of width {width or 'unknown'}"
        raise DecoderNotFound(
            f"{type(model).__name__} has {len(proved)} lists of modules that behave like {shape}: {proved or 'none'}. "
            f"Lists of modules and their lengths: { {path: len(module) for path, module in lists.items()} }. "
            "Name the right one with layers_path=..."
        )
    path = proved[0]
    names = path.split(".")[:-1]
    around = [model.get_submodule(".".join(names[:depth])) for depth in range(len(names) + 1)]
    callers = tuple(module for module in around if module in called)
    numbers = tuple(index for index, _ in heard[path])
    layers = tuple(candidates[path][index] for index in numbers)
    return Decoder(path, layers, heard[path][0][1][-1], callers, numbers)


def final_norm(model: nn.Module, decoder: Decoder) -> nn.Module:
    """The norm that follows the last decoder layer: the one norm beside the layers' list. ValueError if that is none.

    What transformers gives as a model's last hidden state is behind it.
    """
    around = model.get_submodule(decoder.path.rpartition(".")[0])
    norms = {name: module for name, module in around.named_children() if "norm" in type(module).__name__.lower()}
    if len(norms) != 1:
        raise ValueError(
            f"{type(model).__name__} has {len(norms)} norms beside its decoder layers at {decoder.path!r} "
            f"({', '.join(norms) or 'none'}), so its normalised last states are not known; take the raw ones"
        )
    return next(iter(norms.values()))


def text_shape(model: nn.Module) -> tuple[int | None, int | None]:
    """(L, d) as the model's config tells them, None for what it does not."""
    config: Any = getattr(model, "config", None)
    configs = [getattr(config, name, None) for name in TEXT_CONFIG_NAMES]
    if callable(getattr(config, "get_text_config", None)):
        configs.insert(0, config.get_text_config())
    for text_config in [*configs, config]:
        count, width = (_first_number(text_config, names) for names in (COUNT_NAMES, WIDTH_NAMES))
        if count and width:
            return count, width
    return None, None


def _first_number(config: Any, names: tuple[str, ...]) -> int | None:
    values = [config.get(name) if isinstance(config, dict) else getattr(config, name, None) for name in names]
    return next((value for value in values if isinstance(value, int)), None)


def _one_pass(heard: list[tuple[int, tuple[int, ...]]], blocks: list[nn.Module], width: int) -> bool:
    """Whether each block, but for those of classes that were silent, spoke once, in order, with states of this width.

    There is one row, or one a beam where the caller's generation searches with several.
    """
    spoken = [index for index, _ in heard]
    return spoken == of_their_kinds(blocks, spoken) and all(
        len(shape) == 3 and shape[0] == heard[0][1][0] and shape[-1] == width for _, shape in heard
    )


def of_their_kinds(blocks: list[nn.Module], spoken: list[int]) -> list[int]:
    """The numbers of all blocks that are of the classes of those which have spoken."""
    kinds = {type(blocks[index]) for index in spoken}
    return [index for index, block in enumerate(blocks) if type(block) in kinds]


def _listen(
    model: nn.Module, candidates: dict[str, nn.ModuleList | nn.Sequential], run: Callable[[], Any]
) -> tuple[dict[str, list[tuple[int, tuple[int, ...]]]], set[nn.Module]]:
    """Hear one pass: per list, which block spoke with what shape; and every module that was called."""
    heard: dict[str, list[tuple[int, tuple[int, ...]]]] = {path: [] for path in candidates}
    called: set[nn.Module] = set()
    handles: list[RemovableHandle] = []

    def ear(path: str, index: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            hidden = hidden_state(output)
            if isinstance(hidden, torch.Tensor):
                blocks = [spoken for spoken, _ in heard[path]]
                if index == 0 and blocks and blocks == of_their_kinds(list(candidates[path]), blocks):
                    raise OnePassHeard  # a list that was heard whole begins again: the second pass
                heard[path].append((index, tuple(hidden.shape)))

        return hook

    def note(module: nn.Module, args: Any) -> None:
        called.add(module)

    try:
        handles += [module.register_forward_pre_hook(note) for module in model.modules()]
        for path, blocks in candidates.items():
            handles += [block.register_forward_hook(ear(path, index)) for index, block in enumerate(blocks)]
        run()
    except OnePassHeard:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return heard, called
