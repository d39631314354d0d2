"""Pictures and readings for tests of benchmarks in their authors' layouts."""

import base64
import io

from PIL import Image, ImageChops


def paint(path, colour="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)
    return path


def read(module, name, source, **options):
    benchmark = module.BENCHMARKS[name]
    return benchmark.read(source, **benchmark.fixed, **options)


def ink(picture):
    """The box that letters lie in, (left, upper, right, lower) in pixels, or None."""
    return ImageChops.invert(picture.convert("L")).getbbox()


def picture_of(cell):
    return Image.open(io.BytesIO(base64.b64decode(cell)))
