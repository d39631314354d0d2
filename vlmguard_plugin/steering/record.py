"""Record the hidden state of the last prompt token after each decoder layer."""

from __future__ import annotations

from typing import Any, Callable

import torch
from torch import Tensor, nn

from vlmguard_plugin.steering.decoder import Decoder, hidden_state
from vlmguard_plugin.steering.prompt import forward_arguments, last_token, token_mask


class _LastLayerSpoke(Exception):
    """Cuts a pass short once the last layer has been heard, before any logits are built."""


def record_last_token(model: nn.Module, decoder: Decoder, run: Callable[[], Any]) -> Tensor:
    """The residual stream after each decoder layer at the last prompt token: float32 [rows, L, d] on the CPU.

    run: starts a generation on `model`; its prefill is heard and the pass is cut short after the last layer.
    Padding on either side is never read. Inside a guard's context the states are those after its edits.
    """
    states: list[Tensor] = []
    arguments: dict[str, Any] = {}

    def read_arguments(module, args, kwargs):
        arguments.update(forward_arguments(module, args, kwargs))

    def read_state(module, args, output):
        hidden = hidden_state(output)
        mask = token_mask(arguments.get("attention_mask"), hidden.shape[0], hidden.shape[1], hidden.device)
        rows = torch.arange(hidden.shape[0], device=hidden.device)
        states.append(hidden[rows, last_token(mask)].detach().float().cpu())
        if len(states) == len(decoder.layers):
            raise _LastLayerSpoke

    handles = [model.register_forward_pre_hook(read_arguments, with_kwargs=True)]
    handles += [layer.register_forward_hook(read_state) for layer in decoder.layers]
    try:
        with torch.no_grad():
            run()
    except _LastLayerSpoke:
        return torch.stack(states, dim=1)
    finally:
        for handle in handles:
            handle.remove()
    raise RuntimeError(
        f"only {len(states)} of {len(decoder.layers)} decoder layers at {decoder.path!r} ran; is it the right path?"
    )
