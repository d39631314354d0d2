"""Draw docs/pictures/page-light.png and page-dark.png: the top of a leaderboard page, 1,200 pixels wide.

    python docs/draw_page.py demo-output/leaderboard.html

Needs chromium. The pictures keep 128 colours, which a page like this does not miss, and are a fraction as large for it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

PICTURES = Path(__file__).with_name("pictures")
SIZE = (1200, 1150)
COLOURS = 128
DARK = 'data-theme="dark"'


def main(page: Path) -> None:
    """Both pictures of one page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("there is no chromium here; install one (Debian: apt-get install chromium)")
    text = page.read_text(encoding="utf-8")
    for name, scheme in (("light", text.replace("<html", '<html data-theme="light"', 1)),
                         ("dark", text.replace("<html", f"<html {DARK}", 1))):  # fmt: skip
        draw(browser, scheme, PICTURES / f"page-{name}.png")


def draw(browser: str, text: str, target: Path) -> None:
    """One picture of a page's text."""
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder, "page.html"), Path(folder, "page.png")
        page.write_text(text, encoding="utf-8")
        subprocess.run(
            [
                browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={shot}", page.as_uri(),
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        with Image.open(shot) as picture:
            picture.convert("RGB").quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE).save(target, optimize=True)
    print(f"drawn: {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
