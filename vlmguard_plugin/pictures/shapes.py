"""Colours, shapes and noise of the demo's pictures.

What is random comes from the generator that each function is given, in a fixed order: a seed settles every pixel.
"""

from __future__ import annotations

import math
import random

from PIL import Image, ImageDraw

COLOURS = {
    "red": (220, 35, 35),
    "green": (35, 160, 55),
    "blue": (40, 70, 220),
    "yellow": (245, 220, 30),
    "orange": (250, 140, 20),
    "purple": (130, 40, 165),
    "pink": (255, 150, 195),
    "brown": (125, 75, 35),
    "black": (10, 10, 10),
    "gray": (130, 130, 130),
}
"""RGB by name, each channel 0 to 255."""
WHITE = (250, 250, 250)
SHAPES = ("circle", "square", "triangle", "star", "diamond", "heart", "cross")


def shade(name: str, rng: random.Random) -> tuple[int, int, int]:
    """RGB of a colour name, each channel up to 12 of 255 off."""
    base = WHITE if name == "white" else COLOURS[name]
    red, green, blue = (max(0, min(255, channel + rng.randint(-12, 12))) for channel in base)
    return red, green, blue


def noise(rng: random.Random, size: int) -> Image.Image:
    """Gaussian noise around mid grey, strong or faint, every channel on its own; RGB, size x size pixels."""
    deviation = rng.uniform(12, 65)
    values = bytes(max(0, min(255, round(rng.gauss(128, deviation)))) for _ in range(3 * size * size))
    return Image.frombytes("RGB", (size, size), values)


def places(count: int, radius: float, rng: random.Random) -> list[tuple[float, float]]:
    """Centres of count shapes that neither overlap nor leave the picture, as fractions of its side."""
    margin = radius + 0.03
    while True:
        centres: list[tuple[float, float]] = []
        for _ in range(40):
            place = (rng.uniform(margin, 1 - margin), rng.uniform(margin, 1 - margin))
            if all(math.dist(place, centre) > 2.15 * radius for centre in centres):
                centres.append(place)
            if len(centres) == count:
                return centres


def draw_shape(
    image: Image.Image, shape: str, place: tuple[float, float], radius: float, paint: tuple[int, int, int]
) -> None:
    """Draw one upright shape of SHAPES into a square image. place (x, y), radius: fractions of the image's side."""
    side = image.width
    x, y, r = place[0] * side, place[1] * side, radius * side
    draw = ImageDraw.Draw(image)
    if shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=paint)
    elif shape == "square":
        half = 0.85 * r
        draw.rectangle((x - half, y - half, x + half, y + half), fill=paint)
    elif shape == "cross":
        arm = 0.3 * r
        draw.rectangle((x - r, y - arm, x + r, y + arm), fill=paint)
        draw.rectangle((x - arm, y - r, x + arm, y + r), fill=paint)
    elif shape == "heart":
        draw.ellipse((x - r, y - 0.8 * r, x, y + 0.1 * r), fill=paint)
        draw.ellipse((x, y - 0.8 * r, x + r, y + 0.1 * r), fill=paint)
        draw.polygon([(x - 0.95 * r, y - 0.15 * r), (x + 0.95 * r, y - 0.15 * r), (x, y + r)], fill=paint)
    else:
        corners = {"triangle": 3, "diamond": 4, "star": 10}[shape]
        points = []
        for corner in range(corners):
            reach = 0.42 * r if shape == "star" and corner % 2 else r
            angle = 2 * math.pi * corner / corners - math.pi / 2
            points.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
        draw.polygon(points, fill=paint)
