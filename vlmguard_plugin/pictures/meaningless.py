"""Pictures that show nothing: one "blank" and one "noise" for guards, data sets and calibration alike."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from PIL import Image

from vlmguard_plugin.lazy import numpy as np
from vlmguard_plugin.query import BlankImage

PLAIN_COLOURS = {"white": (255, 255, 255), "black": (0, 0, 0), "gray": (128, 128, 128)}
"""RGB of the plain kinds."""
NOISE_SEED, NOISE_MEAN, NOISE_DEVIATION = 0, 128.0, 64.0
DEFAULT_SIZE = (336, 336)
"""(width, height) in pixels: LLaVA-1.5's input."""


def meaningless(
    kind: str, size: tuple[int, int] = DEFAULT_SIZE, image_processor: Any = None, noise_seed: int = NOISE_SEED
) -> Image.Image:
    """An RGB picture without content; the same pixels every time.

    kind: one of `query.BLANK_KINDS`, or "blank", which is "white" (our convention: a data set knows no model's mean
        colour, and a guard's meaningless picture is to be the one that the sets show). "noise": Gaussian, mean 128 and
        standard deviation 64 of 255, clipped. "mean": the image processor's mean colour, mid grey where it has none.
    size: (width, height) in pixels. noise_seed: of "noise", 0 to 2**32 - 1; data sets and guards show that of 0.
    Raises ValueError for another kind.
    """
    kind = BlankImage(kind).kind
    if kind == "noise":
        return _noise(size, noise_seed).copy()
    if kind == "mean":
        mean = getattr(image_processor, "image_mean", None) or (0.5, 0.5, 0.5)
        red, green, blue = (round(255 * value) for value in mean)
        return Image.new("RGB", size, (red, green, blue))
    return Image.new("RGB", size, PLAIN_COLOURS[kind])


def coloured(number: int, size: tuple[int, int] = DEFAULT_SIZE) -> Image.Image:
    """An RGB picture of one colour, every colour as likely as another. number: of the colour, 0 to 2**32 - 1."""
    red, green, blue = (int(level) for level in np.random.RandomState(number).randint(0, 256, 3))
    return Image.new("RGB", size, (red, green, blue))


def draw_blank(blank: BlankImage, image_processor: Any) -> Image.Image:
    """The picture that a BlankImage stands for: of its own size, or the size that the image processor resizes to."""
    return meaningless(blank.kind, blank.size or input_size(image_processor), image_processor)


@lru_cache(maxsize=8)
def _noise(size: tuple[int, int], seed: int) -> Image.Image:
    # numpy promises that a RandomState's numbers stay the same in all versions
    values = np.random.RandomState(seed).normal(NOISE_MEAN, NOISE_DEVIATION, (size[1], size[0], 3))
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))


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
    return DEFAULT_SIZE
