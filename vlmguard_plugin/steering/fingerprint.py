"""Tell one model from another by what it computes with."""

from __future__ import annotations

import hashlib
import secrets
from functools import cache
from typing import TYPE_CHECKING, Any, Iterator
from weakref import WeakKeyDictionary

from vlmguard_plugin.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

_SAMPLES = 32  # elements read of each tensor
_UNREAD = "unread"
_unread: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def model_fingerprint(model: nn.Module) -> str:
    """Identify a model's weights as they are now: "<model type>-<16 hex digits>".

    Equal for the same checkpoint on any device and in float32 or bfloat16: evenly spaced elements of every parameter
    and kept buffer (quantised weights are such), rounded to bfloat16 where they are floating, are hashed in the
    modules' order with their shapes; so are the frequencies of rotary positions, which tell their base and the heads'
    width. Names are left out, since transformers renames modules between versions. Of
    adapters the active ones count, with their strength. Off-loaded weights are read where accelerate keeps them.
    Where a weight can't be read, the name is this model object's own: see is_readable.
    """
    kind = getattr(getattr(model, "config", None), "model_type", None) or type(model).__name__
    digest = hashlib.sha256()
    try:
        for part in read_together(list(parts_of(model))):
            digest.update(part)
    except Unreadable:
        own = _unread.setdefault(model, secrets.token_hex(5))
        return f"{kind}-{_UNREAD}-{own}"
    return f"{kind}-{digest.hexdigest()[:16]}"


def is_readable(fingerprint: str) -> bool:
    """Whether a fingerprint is of weights that could be read, so that it means the same in another process."""
    return f"-{_UNREAD}-" not in fingerprint


class Unreadable(ValueError):
    """A tensor whose numbers can't be read."""


def read_together(parts: list[bytes | Tensor]) -> list[bytes]:
    """Parts with the tensors among them read: floating ones rounded to bfloat16. Raises Unreadable.

    Those of a device and dtype are copied at once, for a GPU is waited for at every copy, and a model has hundreds.
    """
    read = {number: part for number, part in enumerate(parts) if isinstance(part, bytes)}
    kinds: dict[tuple[Any, Any], list[int]] = {}
    for number, part in enumerate(parts):
        if not isinstance(part, bytes):
            kinds.setdefault((part.device, part.dtype), []).append(number)
    for numbers in kinds.values():
        values = [part for part in map(parts.__getitem__, numbers) if not isinstance(part, bytes)]
        try:
            joined = torch.cat(values)
            joined = joined.to("cpu", torch.bfloat16) if joined.is_floating_point() else joined.cpu()
            sizes = [len(own) * joined.element_size() for own in values]
            pieces = torch.split(joined.contiguous().view(torch.uint8), sizes)
            read |= {number: piece.numpy().tobytes() for number, piece in zip(numbers, pieces)}
        except (NotImplementedError, RuntimeError, TypeError) as error:
            raise Unreadable(f"weights of {values[0].dtype} can't be read ({error})") from error
    return [read[number] for number in range(len(parts))]


def parts_of(model: nn.Module) -> Iterator[bytes | Tensor]:
    """What identifies a model, module by module: bytes, and samples [n] of weights. Raises Unreadable."""
    seen: set[int] = set()
    left_out: set[int] = set()
    for module in model.modules():
        if hasattr(type(module), "adapter_layer_names"):  # of PEFT, which transformers' own adapters are too
            active = adapters_in(module)
            yield repr(active).encode()
            left_out |= {id(parameter) for parameter in of_other_adapters(module, [name for name, _ in active])}
        if "_packed_params" in vars(module) or "_packed_params" in module._modules:  # of PyTorch's quantised layers
            raise Unreadable(f"a {type(module).__name__} packs its weights away")
        for name, tensor in kept_tensors(module):
            if id(tensor) not in seen and id(tensor) not in left_out:  # tied weights count once
                seen.add(id(tensor))
                there = present(module, name, tensor)
                yield from tensor_parts(there, stays=there is tensor)


def kept_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """A module's own parameters, the buffers that a checkpoint keeps, and the frequencies of its rotary positions."""
    for name, parameter in module._parameters.items():
        if parameter is not None:
            yield name, parameter
    for name, buffer in module._buffers.items():
        if buffer is None:
            continue
        if name == "inv_freq":
            yield name, getattr(module, "original_inv_freq", buffer)  # some models change theirs for long prompts
        elif name not in module._non_persistent_buffers_set:
            yield name, buffer


def adapters_in(layer: Any) -> list[tuple[str, Any]]:
    """A layer's active adapters and their strengths, in order; none where they are switched off."""
    if getattr(layer, "disable_adapters", False):
        return []
    names: Any = getattr(layer, "active_adapters", None) or getattr(layer, "active_adapter", ())
    names = [names] if isinstance(names, str) else list(names)
    strengths = getattr(layer, "scaling", {})
    return [(name, strengths.get(name) if isinstance(strengths, dict) else strengths) for name in names]


def of_other_adapters(layer: Any, active: list[str]) -> Iterator[nn.Parameter]:
    """Parameters of a layer's adapters that are not active."""
    for holder in (getattr(layer, name, None) for name in layer.adapter_layer_names):
        if not isinstance(holder, (torch.nn.ModuleDict, torch.nn.ParameterDict)):
            continue
        for name, part in holder.items():
            if name not in active:
                yield from part.parameters() if isinstance(part, torch.nn.Module) else [part]


def present(module: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """The tensor itself, or where accelerate has off-loaded it, what it keeps. Raises Unreadable."""
    if tensor.device.type != "meta":
        return tensor
    kept = getattr(getattr(module, "_hf_hook", None), "weights_map", None)
    try:
        there: Tensor = kept[name] if kept is not None else tensor
    except KeyError:
        there = tensor
    if there.device.type == "meta":
        raise Unreadable(f"{name} of a {type(module).__name__} has no numbers")
    return there


@cache
def plain_kinds() -> tuple[type, type]:
    """What ordinary weights are."""
    return torch.Tensor, torch.nn.Parameter


def tensor_parts(tensor: Tensor, stays: bool = True) -> Iterator[bytes | Tensor]:
    """Shape and samples of a tensor; of one made of others (quantised), of those. Raises Unreadable.

    stays: whether it is the model's own; one that was loaded for this is read at once, so that it can go again.
    """
    yield str(tuple(tensor.shape)).encode()
    plain = type(tensor) in plain_kinds()
    inner = None if plain else getattr(tensor, "__tensor_flatten__", None)
    if inner is not None:
        for name in inner()[0]:
            yield from tensor_parts(getattr(tensor, name), stays)
        return
    try:
        step = max(1, tensor.numel() // _SAMPLES)
        if plain and tensor.is_contiguous():  # in one call: a model has hundreds, and this is asked for every batch
            count = min(_SAMPLES, -(-tensor.numel() // step))
            values = tensor.detach().as_strided((count,), (step,))
        else:
            view = tensor.detach().reshape(-1)[::step][:_SAMPLES]
            values = view.clone()  # the view would keep a copy of the whole tensor until all are read
        of_odd_floats = values.is_floating_point() and values.element_size() < 2  # of eight bits, which don't join
        values = values.to(torch.bfloat16) if of_odd_floats else values
        yield values if stays else read_together([values])[0]
    except (NotImplementedError, RuntimeError, TypeError) as error:
        raise Unreadable(f"a {type(tensor).__name__} can't be read ({error})") from error
