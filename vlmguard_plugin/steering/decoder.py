"""Find the language model's decoder layers in any VLM: by structure, then proved by one prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

from torch import Tensor, nn


@dataclass(frozen=True)
class Decoder:
    """The language model's decoder layers.

    path: name of their ModuleList in the model. layers: the L blocks in order. hidden_size: width d.
    """

    path: str
    layers: tuple[nn.Module, ...]
    hidden_size: int


class DecoderNotFound(ValueError):
    """No ModuleList, or several, of a model behave like its language model's decoder layers."""


def hidden_state(output: Tensor | tuple) -> Tensor:
    """The residual stream in a decoder layer's output, which may be a tensor or a tuple."""
    return output[0] if isinstance(output, tuple) else output


def with_hidden_state(output: Tensor | tuple, hidden: Tensor) -> Tensor | tuple:
    """The layer's output with its residual stream replaced; the old output is left as it was."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def find_decoder(model: nn.Module, run_text_prompt: Callable[[], None], layers_path: str | None = None) -> Decoder:
    """Find the decoder layers of a VLM's language model.

    A candidate is a ModuleList with as many blocks as the text config has hidden layers. It is proved by
    running one text-only prompt: each block must speak exactly once, in order, with a hidden state
    [1, tokens, hidden_size]. The vision and audio towers stay silent on text, so they can't be mistaken for it.

    run_text_prompt: runs the model once on one text-only prompt (one row).
    layers_path: name of the ModuleList, where the user knows better; it is proved all the same.
    Raises DecoderNotFound with the candidates and this option.
    """
    text_config = model.config.get_text_config()
    count, width = text_config.num_hidden_layers, text_config.hidden_size
    lists = {path: module for path, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    if layers_path is not None:
        if layers_path not in lists:
            raise DecoderNotFound(f"layers_path {layers_path!r} is no ModuleList of the model; it has {sorted(lists)}")
        candidates = {layers_path: lists[layers_path]}
    else:
        candidates = {path: module for path, module in lists.items() if len(module) == count}
    heard = _listen(candidates, run_text_prompt)
    proved = [
        path
        for path, blocks in candidates.items()
        if heard[path] == [(index, 3, width) for index in range(len(blocks))]
    ]
    if len(proved) != 1:
        raise DecoderNotFound(
            f"{type(model).__name__} has {len(proved)} lists of modules that behave like {count} decoder layers of "
            f"width {width}: {proved or 'none'}. Lists of modules and their lengths: "
            f"{ {path: len(module) for path, module in lists.items()} }. Name the right one with layers_path=..."
        )
    return Decoder(proved[0], tuple(candidates[proved[0]]), width)


def _listen(
    candidates: dict[str, nn.ModuleList], run: Callable[[], None]
) -> dict[str, list[tuple[int, int, int]]]:
    """Run once and note, per list, which block spoke with how many dimensions and what width."""
    heard: dict[str, list[tuple[int, int, int]]] = {path: [] for path in candidates}
    handles = []

    def ear(path: str, index: int):
        def hook(module, args, output):
            hidden = hidden_state(output)
            if isinstance(hidden, Tensor):
                heard[path].append((index, hidden.dim(), hidden.shape[-1]))

        return hook

    try:
        for path, blocks in candidates.items():
            for index, block in enumerate(blocks):
                handles.append(block.register_forward_hook(ear(path, index)))
        run()
    finally:
        for handle in handles:
            handle.remove()
    return heard
