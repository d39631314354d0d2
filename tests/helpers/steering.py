"""What a subject's layers give and which hooks are on them."""

from contextlib import nullcontext

import torch


def hook_counts(subject):
    return [len(layer._forward_hooks) for layer in subject.decoder.layers] + [len(subject.model._forward_pre_hooks)]


def full_states(subject, inputs, edits=None):
    """All layers' outputs at all positions of one forward pass: list of [B, T, d]."""
    kept, handles = [], []

    with subject.editing(edits) if edits is not None else nullcontext():
        for layer in subject.decoder.layers:
            handles.append(
                layer.register_forward_hook(
                    lambda m, a, out: kept.append((out[0] if isinstance(out, tuple) else out).clone())
                )
            )
        try:
            with torch.no_grad():
                subject.model(**inputs)
        finally:
            for handle in handles:
                handle.remove()
    return kept
