"""Whether what is printed and drawn can be read."""

import xml.etree.ElementTree as xml
from io import StringIO

from PIL import Image
from rich.console import Console


def printed(show, what):
    """What `show(what, console)` prints, 120 columns wide."""
    console = Console(file=StringIO(), width=120)
    show(what, console)
    return console.file.getvalue()


def check_readable(files):
    """Each is a figure with something on it, as PNG or SVG."""
    for file in files:
        assert file.stat().st_size > 5000
        if file.suffix == ".png":
            with Image.open(file) as picture:
                picture.load()
                assert min(picture.size) > 300 and len(set(picture.convert("RGB").resize((90, 90)).tobytes())) > 10
        else:
            assert xml.parse(file).getroot().tag == "{http://www.w3.org/2000/svg}svg"
