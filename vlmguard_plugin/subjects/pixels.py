"""Gradients of hidden states by the pixels of a picture, through the model's own processor and preparation."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from typing import Any, Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vlmguard_plugin.query import Query
from vlmguard_plugin.steering.record import last_tokens
from vlmguard_plugin.subjects.huggingface import HuggingFaceSubject
from vlmguard_plugin.subjects.scoring import ONE_PASS

PIXELS = "pixel_values"
LEVELS = 256
CLOSE = 1e-3
"""By how much what is worked out here may differ from what the image processor gives."""


class NoPixelGradients(ValueError):
    """A model's hidden states can't be followed back to the pixels of a picture."""


class PixelPlaces:
    """Where the processor puts the pixels of a picture of one size: each number of `pixel_values` is one pixel's level
    (0 to 255), scaled and shifted, or a constant.

    subject: the model and its processor. size: (width, height) of the picture, which the processor must not resize.
    Found by showing the processor pictures in which each pixel is another number, and tried on one of noise.
    Raises NoPixelGradients where that is not all that happens to a picture (it is resized, or cut up into tiles that
    are).
    """

    def __init__(self, subject: HuggingFaceSubject, size: tuple[int, int]) -> None:
        self.subject, self.size = subject, size
        count = size[0] * size[1] * 3
        numbers = np.arange(count)
        noise = np.random.RandomState(0).randint(0, LEVELS, count)
        digits = [numbers // power % LEVELS for power in (1, LEVELS, LEVELS**2)]
        flat = [np.full(count, level) for level in (0, LEVELS - 1)]
        black, white, *shown, seen = (self._processed(levels) for levels in (*flat, *digits, noise))
        alike = all(pixels.shape == black.shape for pixels in (white, *shown, seen))
        if alike:
            self.shift, self.scale = black, (white - black) / (LEVELS - 1)
            varies = self.scale != 0
            steps = torch.where(varies, self.scale, 1)
            read = [torch.where(varies, (pixels - black) / steps, 0).round().clamp(0, LEVELS - 1) for pixels in shown]
            place = sum(digit.to(torch.int64) * LEVELS**power for power, digit in enumerate(read))
            self.place = torch.as_tensor(place).clamp(0, count - 1)
            worked_out = self.of(torch.from_numpy(noise).reshape(1, size[1], size[0], 3).float())
        if not alike or not bool(varies.any()) or not torch.allclose(worked_out, seen, atol=CLOSE):
            raise NoPixelGradients(
                f"{type(subject.processor).__name__} resizes a picture of {size[0]} x {size[1]} pixels or cuts it into "
                "tiles, so hidden states can't be followed back to its pixels; give a size that it keeps as it is "
                "(canvas=PIXELS), or a border that was made elsewhere (image=FILE)"
            )

    def of(self, canvases: Tensor) -> Tensor:
        """`pixel_values` of pictures [rows, height, width, 3], levels 0 to 255, with gradients by them."""
        flat = canvases.flatten(1)
        device = canvases.device
        place, scale, shift = (part.to(device) for part in (self.place, self.scale, self.shift))
        return torch.cat([scale * row[place] + shift for row in flat])

    def _processed(self, levels: np.ndarray[Any, Any]) -> Tensor:
        pixels = levels.astype(np.uint8).reshape(self.size[1], self.size[0], 3)
        query = Query("?", (Image.fromarray(pixels),))
        inputs = self.subject.prompts.inputs([query], None, torch.device("cpu"), torch.float32)
        if PIXELS not in inputs:
            raise NoPixelGradients(
                f"{type(self.subject.processor).__name__} gives the model {', '.join(inputs)} and no {PIXELS}, so "
                "hidden states can't be followed back to pixels; give a border that was made elsewhere (image=FILE)"
            )
        shown: Tensor = inputs[PIXELS]
        return shown


def given_size(subject: HuggingFaceSubject, shown: tuple[int, int]) -> tuple[int, int] | None:
    """(width, height) of what the processor makes of a picture of such a size; None where that is no picture."""
    query = Query("?", (Image.new("RGB", shown),))
    pixels = subject.prompts.inputs([query], None, torch.device("cpu"), torch.float32).get(PIXELS)
    if pixels is None or pixels.dim() < 4:
        return None
    height, width = pixels.shape[-2:]
    return int(width), int(height)


def pixel_states(places: PixelPlaces, queries: Sequence[Query], canvases: Tensor, layer: int) -> Tensor:
    """Hidden states after a decoder layer at the last prompt token, with gradients by the canvases: float32 [rows, d].

    queries: each with one picture, the same levels as its canvas. canvases: [rows, height, width, 3].
    The pass is prepared and begun by the model's own `generate`, and cut short behind the layer.
    NoPixelGradients where no gradient comes through.
    """
    subject = places.subject
    inputs = subject.encode(queries)
    pixels, given = places.of(canvases), inputs[PIXELS]
    if given.shape != pixels.shape:
        raise NoPixelGradients(
            f"{PIXELS} of {len(queries)} pictures has the shape {tuple(given.shape)}, not {tuple(pixels.shape)}"
        )
    inputs[PIXELS] = pixels.to(given.dtype)
    generate = inspect.unwrap(type(subject.model).generate)  # less the no_grad around it
    with torch.enable_grad():
        (states,) = last_tokens(subject.decoder, [layer], lambda: generate(subject.model, **inputs, **ONE_PASS))
    if not states.requires_grad:
        raise NoPixelGradients(
            f"{type(subject.model).__name__} runs its picture's part without gradients, so hidden states can't be "
            "followed back to pixels; give a border that was made elsewhere (image=FILE)"
        )
    return states


@contextmanager
def frozen_weights(model: nn.Module) -> Iterator[None]:
    """While open, no weight of a model asks for a gradient; afterwards those do that did before."""
    asking = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in asking:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)
