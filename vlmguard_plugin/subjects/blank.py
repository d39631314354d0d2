"""Draw the meaningless images that image shifts are measured with."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from PIL import Image

_NOISE_SEED = 0


def draw_blank(kind: str, size: tuple[int, int], mean: Sequence[float]) -> Image.Image:
    """An RGB image of `size` (width, height) in pixels that shows nothing.

    kind: "mean" (every pixel the image processor's mean colour), "white", "black", or "noise" (Gaussian,
    mean 127.5, standard deviation 64 of 255, clipped, fixed seed: our convention).
    mean: the image processor's mean per channel, in 0..1.
    """
    if kind == "noise":
        noise = np.random.default_rng(_NOISE_SEED).normal(127.5, 64.0, (size[1], size[0], 3))
        return Image.fromarray(noise.clip(0, 255).round().astype(np.uint8))
    colours = {"mean": tuple(round(255 * value) for value in mean), "white": (255,) * 3, "black": (0,) * 3}
    return Image.new("RGB", size, colours[kind])
