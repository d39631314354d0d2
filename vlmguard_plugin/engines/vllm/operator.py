"""An operator behind every decoder layer, through which a worker's edits reach the residual stream.

torch.compile can't look into it and leaves it where it is; named in vLLM's `splitting_ops` it runs between the captured
pieces of CUDA graphs, as attention does. Forward hooks would be left out by both, without a word. It has to be in place
when a model is first run, so it is put there when the model has been loaded, whether or not there is a guard yet.
"""

from __future__ import annotations

from typing import Any, Callable

import torch
from torch import Tensor

NAME = "vlmguard::edit"
running: list[Callable[[int, Tensor, Tensor | None], None]] = []
"""What is told of each layer in the pass under way, the innermost last; empty outside passes (warm-up, profiling)."""


@torch.library.custom_op(NAME, mutates_args=("hidden", "residual"))
def edit(hidden: Tensor, residual: Tensor | None, layer: int) -> None:
    """The halves [tokens, d] of what a layer has put out, edited where they are."""
    if running:
        running[-1](layer, hidden, residual)


@edit.register_fake
def _(hidden: Tensor, residual: Tensor | None, layer: int) -> None:
    return None


def put_behind(layer: Any, index: int) -> None:
    """Put the operator behind a decoder layer of vLLM's, whose output is hidden states, or these and their residual."""
    forward = layer.forward

    def forward_edited(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        hidden, residual = (output[0], output[1]) if isinstance(output, tuple) else (output, None)
        width = hidden.shape[-1]  # transformers' layers, which vLLM can run too, have a dimension of rows before it
        torch.ops.vlmguard.edit(
            hidden.view(-1, width), residual.view(-1, width) if residual is not None else None, index
        )
        return output

    layer.forward = forward_edited
