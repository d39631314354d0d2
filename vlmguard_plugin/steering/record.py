"""Record the hidden state of the last prompt token after each decoder layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Sequence

from vlmguard_plugin.lazy import torch
from vlmguard_plugin.steering.decoder import Decoder, OnePassHeard, hidden_state
from vlmguard_plugin.steering.passes import Pass, hearing_passes, last_token

if TYPE_CHECKING:
    from torch import Tensor, nn


def record_last_token(decoder: Decoder, run: Callable[[], Any]) -> Tensor:
    """The residual stream after each decoder layer at the last prompt token: float32 [rows, L, d] on the CPU.

    run: starts a generation; its prefill is heard and the pass is cut short after the last layer.
    Padding on either side is never read. Inside a guard's context the states are those after its edits.
    """
    with torch.no_grad():
        states = last_tokens(decoder, range(len(decoder.layers)), run)
    if len(states) < len(decoder.layers):
        raise RuntimeError(
            f"only {len(states)} of {len(decoder.layers)} decoder layers at {decoder.path!r} ran; is it the right path?"
        )
    return torch.stack([state.cpu() for state in states], dim=1)  # copied once all layers have run


def last_tokens(decoder: Decoder, layers: Sequence[int], run: Callable[[], Any]) -> list[Tensor]:
    """The last prompt token's state after each of these layers that ran: float32 [rows, d], in the order of their runs.

    run: as for `record_last_token`; the pass is cut short once so many layers have run. Gradients are the caller's.
    """
    states: list[Tensor] = []
    last: list[Tensor] = []

    def begin(prefill: Pass) -> None:
        last[:] = [last_token(prefill.mask())]

    def read_state(module: nn.Module, args: Any, output: Any) -> None:
        hidden = hidden_state(output)
        rows = torch.arange(hidden.shape[0], device=hidden.device)
        states.append(hidden[rows, last[0].to(hidden.device)].float())
        if len(states) == len(layers):
            raise OnePassHeard

    handles = [decoder.layers[layer].register_forward_hook(read_state) for layer in layers]
    try:
        with hearing_passes(decoder, begin):
            run()
    except OnePassHeard:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return states
