"""Tell one model's weights from another's."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from vlmguard_plugin.lazy import torch

if TYPE_CHECKING:
    from torch import nn

_SAMPLES = 16  # elements read of each parameter


def model_fingerprint(model: nn.Module) -> str:
    """Identify a model's weights: "<model type>-<16 hex digits>".

    Equal for the same checkpoint on any device and in float32 or bfloat16: evenly spaced elements of every
    two-dimensional parameter are rounded to bfloat16 and hashed with the sorted shapes. Names are left out,
    since transformers renames modules between versions.
    """
    entries = []
    for parameter in model.parameters():
        if parameter.dim() < 2 or parameter.device.type == "meta":
            continue
        flat = parameter.detach().reshape(-1)
        steps = torch.linspace(0, flat.numel() - 1, min(_SAMPLES, flat.numel()), dtype=torch.float64).long()
        values = flat[steps.to(flat.device)].to("cpu", torch.bfloat16).view(torch.int16).numpy()
        entries.append(str(tuple(parameter.shape)).encode() + values.tobytes())
    digest = hashlib.sha256(b"".join(sorted(entries))).hexdigest()
    kind = getattr(getattr(model, "config", None), "model_type", None) or type(model).__name__
    return f"{kind}-{digest[:16]}"
