"""A picture's features from an earlier layer of the vision encoder, the blocks behind it skipped.

An attack on models whose safety training has seen the usual layer alone: the picture's tokens come from elsewhere
(arXiv 2411.04291).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, Iterator

from vlmguard_plugin.lazy import torch
from vlmguard_plugin.steering.decoder import hidden_state, with_hidden_state

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vlmguard_plugin.steering.decoder import Decoder

VISION_CONFIG_NAMES = ("vision_config", "vit_config", "vision_tower_config")
DEPTH_NAMES = ("num_hidden_layers", "depth", "num_layers", "n_layers")


class NoEarlyFeatures(ValueError):
    """A model whose vision encoder has no such earlier layer, or none that can be found."""


def vision_blocks(model: nn.Module, decoder: Decoder) -> nn.ModuleList:
    """The blocks of a model's vision encoder: the one ModuleList outside its decoder that is as long as the vision
    config says. NoEarlyFeatures where there is none, or several.
    """
    config: Any = getattr(model, "config", None)
    configs = [found for name in VISION_CONFIG_NAMES if (found := getattr(config, name, None)) is not None]
    depths = {depth for own in configs for name in DEPTH_NAMES if isinstance(depth := getattr(own, name, None), int)}
    lists = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList)
        and len(module) in depths
        and not (path == decoder.path or path.startswith(f"{decoder.path}."))
        and len({type(block) for block in module}) == 1
    }
    if len(lists) != 1:
        raise NoEarlyFeatures(
            f"{type(model).__name__} has {len(lists)} lists of blocks that may be its vision encoder's "
            f"({', '.join(lists) or 'none'}), so features of an earlier layer can't be taken; use another model or "
            "another condition"
        )
    (blocks,) = lists.values()
    return blocks


def used_blocks(model: nn.Module, blocks: nn.ModuleList) -> int:
    """How many of the blocks the model's own features come through, as far as its config says; else all."""
    named: Any = getattr(getattr(model, "config", None), "vision_feature_layer", None)
    layers = [named] if isinstance(named, int) else [layer for layer in named or () if isinstance(layer, int)]
    states = len(blocks) + 1  # before the first block, and after each
    return max((layer % states for layer in layers), default=len(blocks))


@contextmanager
def early_features(model: nn.Module, decoder: Decoder, layer: int | None) -> Iterator[None]:
    """While open, a picture's features are those after `layer` blocks of the vision encoder: all later ones give what
    they are given. None leaves the model as it is.

    NoEarlyFeatures for a model without such blocks, for a layer that the model's own features don't come through, and
    at the end where the language model has run and no picture was seen: then nothing was attacked.
    """
    if layer is None:
        yield
        return
    blocks = vision_blocks(model, decoder)
    most = used_blocks(model, blocks) - 1
    if not 1 <= layer <= most:
        raise NoEarlyFeatures(
            f"early{layer}: features of {type(model).__name__} come through {most + 1} blocks of its vision encoder; "
            f"give a layer from 1 to {most}"
        )
    skipped = list(blocks)[layer:]
    seen: list[int] = []
    ran: list[bool] = []
    listening = decoder.layers[0].register_forward_pre_hook(lambda *_: ran.append(True))
    before = [vars(block).get("forward") for block in skipped]
    try:
        for block in skipped:
            vars(block)["forward"] = passing_on(block.forward, seen)
        yield
    finally:
        listening.remove()
        for block, own in zip(skipped, before):
            if own is None:
                vars(block).pop("forward", None)
            else:
                vars(block)["forward"] = own
    if ran and not seen:
        raise NoEarlyFeatures(
            f"early{layer}: no block of {type(model).__name__}'s vision encoder was called, so its features are not "
            "those of an earlier layer; put a picture beside the request, or use another condition"
        )


def passing_on(forward: Callable[..., Any], seen: list[int]) -> Callable[..., Any]:
    """A block's forward that gives the states which it is given, in the form of its own output."""

    def passed_on(*arguments: Any, **named: Any) -> Any:
        given: Tensor = arguments[0] if arguments else named["hidden_states"]
        output = forward(*arguments, **named)
        if hidden_state(output).shape != given.shape:
            raise NoEarlyFeatures(
                f"a block of the vision encoder makes {tuple(hidden_state(output).shape)} of {tuple(given.shape)}, so "
                "it can't be skipped; give a layer behind it, or another condition"
            )
        seen.append(given.shape[0])
        return with_hidden_state(output, given)

    return passed_on
