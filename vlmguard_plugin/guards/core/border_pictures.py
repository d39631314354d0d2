"""Borders around pictures: where they stand, what is shown in them, and their levels as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

from vlmguard_plugin.lazy import numpy as np, torch

if TYPE_CHECKING:
    from torch import Tensor


def bordered(image: Image.Image, border: Image.Image, margin: float) -> Image.Image:
    """The image, resized, in the middle of the border picture, which keeps its size."""
    edge = edges(border.size, margin)
    inside = image.resize((border.width - 2 * edge[0], border.height - 2 * edge[1]))
    result = border.convert("RGB")
    result.paste(inside, edge)
    return result


def edges(size: tuple[int, int], margin: float) -> tuple[int, int]:
    """How many pixels of a border picture of this size stand left and right of the image, and above and below."""
    return round(margin * size[0]), round(margin * size[1])


def check_margin(size: tuple[int, int], margin: float) -> tuple[int, int]:
    """The `edges` of a border of (width, height) pixels; ValueError where it, or what it is put around, is not seen."""
    across, down = edges(size, margin)
    in_size = f"in a picture of {size[0]} x {size[1]} pixels"
    if not across and not down:
        raise ValueError(f"margin is {margin}, which leaves no border {in_size}; give a larger one")
    if 2 * across >= size[0] or 2 * down >= size[1]:
        raise ValueError(
            f"margin is {margin}, which leaves no place for the image {in_size}; give a smaller one, or a larger "
            "picture"
        )
    return across, down


def border_mask(size: tuple[int, int], margin: float) -> Tensor:
    """Where a border of (width, height) pixels is seen: bool [height, width, 1]. ValueError as `check_margin`."""
    across, down = check_margin(size, margin)
    mask = torch.ones(size[1], size[0], 1, dtype=torch.bool)
    mask[down : size[1] - down, across : size[0] - across] = False
    return mask


def on_white(image: Image.Image) -> Image.Image:
    """The image in the middle of a white square as wide as its longer side."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def levels_of(image: Any) -> Tensor:
    """The levels of an RGB picture: float32 [height, width, 3], 0 to 255."""
    return torch.from_numpy(np.array(image, dtype=np.float32))


def picture_of(levels: Tensor) -> Image.Image:
    """Levels [height, width, 3], whole numbers 0 to 255, as an RGB picture."""
    return Image.fromarray(levels.detach().numpy().astype(np.uint8))


def is_levels(border: Tensor) -> bool:
    """Whether numbers are whole and from 0 to 255."""
    return bool(((border == border.round()) & (border >= 0) & (border <= 255)).all())
