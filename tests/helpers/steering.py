"""An edit for tests, what a subject's layers give, and which hooks are on them."""

from contextlib import nullcontext

import torch


class AddConstant:
    """A layer edit for tests: adds `amount`, and notes what it was shown at the prefill."""

    def __init__(self, amount):
        self.amount = amount
        self.seen = []

    def decide(self, last, prompts):
        self.seen.append((last.clone(), prompts.has_image.clone()))
        return torch.full((len(last), 1), self.amount)

    def apply(self, hidden, decision):
        return hidden + decision


class ByTheLastToken:
    """Adds a vector that depends on the last prompt token and on the picture, so that a mix-up shows."""

    def __init__(self, by_picture=1.0):
        self.by_picture = by_picture

    def decide(self, last, prompts):
        return 0.3 * last.roll(1, dims=1).tanh() + self.by_picture * prompts.has_image.float().unsqueeze(1)

    def apply(self, hidden, decision):
        return hidden + decision


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
