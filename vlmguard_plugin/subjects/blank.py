"""Draw the meaningless images that image shifts are measured with."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from vlmguard_plugin.subjects.base import BlankImage

_NOISE_SEED = 0
_DEFAULT_SIZE = (336, 336)


def draw_blank(blank: BlankImage, image_processor: Any) -> Image.Image:
    """An RGB image that shows nothing, of the blank image's size or the processor's own input size.

    "mean" is the image processor's mean colour (mid grey where it has none); "noise" is Gaussian, mean 127.5,
    standard deviation 64 of 255, clipped, fixed seed (our convention).
    """
    size = blank.size or input_size(image_processor)
    if blank.kind == "noise":
        noise = np.random.default_rng(_NOISE_SEED).normal(127.5, 64.0, (size[1], size[0], 3))
        return Image.fromarray(noise.clip(0, 255).round().astype(np.uint8))
    mean = getattr(image_processor, "image_mean", None) or (0.5, 0.5, 0.5)
    colours = {"mean": tuple(round(255 * value) for value in mean), "white": (255,) * 3, "black": (0,) * 3}
    return Image.new("RGB", size, colours[blank.kind])


def input_size(image_processor: Any) -> tuple[int, int]:
    """(width, height) in pixels that an image processor resizes to; 336 x 336 where it keeps the image's own size."""
    for attribute in ("crop_size", "size"):
        size = getattr(image_processor, attribute, None)
        if size is None:
            continue
        if isinstance(size, int):
            return size, size
        size = {name: size[name] for name in ("height", "width", "shortest_edge") if name in size and size[name]}
        if "height" in size and "width" in size:
            return size["width"], size["height"]
        if "shortest_edge" in size and not hasattr(image_processor, "merge_size"):  # Qwen-VL means an area by it
            return size["shortest_edge"], size["shortest_edge"]
    return _DEFAULT_SIZE
