"""What all figures share: where they are written, their panels and their colours."""

from __future__ import annotations

import io
import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, Iterator

from vlmguard_plugin.files import check_writable, write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


BLACK, ORANGE, GREEN, BLUE, VERMILION, PURPLE, GREY = (  # Okabe and Ito, told apart by colour-blind people
    "#000000", "#E69F00", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#999999",
)  # fmt: skip
PANEL_SIZE = (4.4, 3.5)  # inches
SVG = {"svg.fonttype": "none", "svg.hashsalt": "vlmguard_plugin", "font.sans-serif": ["DejaVu Sans", "Arial"]}
MARK = re.compile(r'(?<=")( style="[^"]*")/>$')
"""The style of a mark, which stands at the end of its line."""
RESOLUTION = 150  # dots per inch of a PNG


def check_plot(path: str | Path, name: str = "figure") -> list[Path]:
    """The files that a figure at `path` will be written to: worth asking before a long measurement.

    name: what the files are called where path is a folder that is there.
    Raises ValueError for a suffix other than .png and .svg, ImportError without matplotlib, OSError where nothing can
    be written.
    """
    figure_class()
    path = Path(path)
    if path.is_dir():
        files = [path / f"{name}.png", path / f"{name}.svg"]
    elif not path.suffix:
        files = [path.with_suffix(".png"), path.with_suffix(".svg")]
    elif path.suffix.lower() in (".png", ".svg"):
        files = [path]
    else:
        raise ValueError(f"figure {str(path)!r} ends in {path.suffix!r}; give .png, .svg, or no suffix for both")
    for file in files:
        check_writable(file)
    return files


def figure_class() -> type[Figure]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"figures need matplotlib ({error}); pip install vlmguard_plugin[plot]") from error
    return Figure


def new_figure(panels: int, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, row by row."""
    rows = -(-panels // columns)
    size = (max(PANEL_SIZE[0] * columns, 6), PANEL_SIZE[1] * rows + 0.9)
    figure = figure_class()(figsize=size, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.1)
    every = list(figure.subplots(rows, columns, squeeze=False).flat)
    for empty in every[panels:]:
        empty.remove()
    for axes in every[:panels]:
        axes.set_facecolor("white")
        axes.grid(color="#E5E5E5", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, every[:panels]


def save_figure(figure: Figure, files: list[Path]) -> list[Path]:
    """Write the figure; an .svg keeps its words as text, which is small and can be searched, and has no date."""
    import matplotlib

    for file in files:
        drawn = io.BytesIO()
        facts = {"Date": None} if file.suffix.lower() == ".svg" else {}
        with matplotlib.rc_context(SVG):
            figure.savefig(drawn, dpi=RESOLUTION, format=file.suffix[1:] or None, metadata=facts)
        content = drawn.getvalue()
        write_whole(file, slim(content.decode()) if facts else content)
    return files


def slim(svg: str) -> str:
    """An SVG of half the size.

    Two decimals of a point are enough, lines need no indentation, and neighbouring marks of one style share it.
    """
    lines = re.sub(r"(\d\.\d\d)\d+", r"\1", svg).split("\n")
    return "\n".join(with_shared_styles([line.lstrip(" ") for line in lines]))


def style_of(line: str) -> str | None:
    """The style of a mark; None for a line that is none."""
    found = MARK.search(line) if line.startswith("<use ") else None
    return found[1] if found else None


def with_shared_styles(lines: Iterable[str]) -> Iterator[str]:
    """Lines of an SVG where neighbouring marks of one style stand in a group that has it."""
    for style, marks in groupby(lines, lambda line: style_of(line)):
        group = list(marks)
        if style is None or len(group) < 3:
            yield from group
        else:
            yield f"<g{style}>"
            yield from (MARK.sub("/>", line) for line in group)
            yield "</g>"
