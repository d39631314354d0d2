"""Draw docs/rooms.svg: the rooms of vlmguard_plugin in their layers, and what imports what.

    make picture

The imports are those that import-linter checks (types alone don't count), the layers those of its contract in
pyproject.toml. One line runs down to each room; it grows with every import that joins it. Needs Python 3.11.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Iterator

import grimp
import tomllib

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "vlmguard_plugin"
FRONT = "__main__"
"""What `python -m` runs: a door to cli/, and no room."""
PICTURE = Path(__file__).with_name("rooms.svg")

WIDTH, MARGIN = 860, 24
"""Of the picture, in pixels."""
BOX, LANE = 122, 24
"""Width that a room takes in its row, and a line that passes it."""
ROW, GAP, TOP = 42, 46, 30
"""Height of a row, of what lies between two, and of what lies above the first."""

Node = tuple[int, str, bool]
"""(row, room, whether it is the room itself): the line down to a room is a node in each row that it passes."""
Step = tuple[Node, Node]

STYLE = """
  .paper { fill: #ffffff; stroke: #d0d7de } .row { fill: #f6f8fa } .box { fill: #ffffff; stroke-width: 1.5 }
  .name { fill: #1f2328; font-weight: 600; font-size: 13px } .size { fill: #59636e; font-size: 10.5px }
  text { font-family: -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; text-anchor: middle }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; stroke: #3d444d } .row { fill: #151b23 } .box { fill: #0d1117 }
    .name { fill: #f0f6fc } .size { fill: #9198a1 }
  }
"""


def main() -> None:
    """Write the picture, whole."""
    PICTURE.write_text(picture(layers(), imports()), encoding="utf-8")


def layers() -> list[list[str]]:
    """The rooms from top to bottom, those that may not import each other in one row."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    rows: list[str] = next(contract["layers"] for contract in contracts if contract["id"] == "rooms")
    return [[room.strip() for room in row.split("|")] for row in rows if row != FRONT]


def imports() -> Counter[tuple[str, str]]:
    """How many imports lead from one room to another: (importing, imported) room -> modules that are imported."""
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    counted: Counter[tuple[str, str]] = Counter()
    for module in graph.modules - {PACKAGE}:
        for imported in graph.find_modules_directly_imported_by(module) - {PACKAGE}:
            rooms = module.split(".")[1], imported.split(".")[1]
            counted[rooms] += rooms[0] != rooms[1] and FRONT not in rooms
    return +counted


def size(room: str) -> tuple[int, int]:
    """Python files of a room, and their lines."""
    folder = REPOSITORY / PACKAGE / room
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    return len(files), sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


def steps(rows: list[list[str]], counted: Counter[tuple[str, str]]) -> Counter[Step]:
    """The lines cut at every row: (node, node in the next row) -> imports that run there."""
    row_of = {room: index for index, row in enumerate(rows) for room in row}
    cut: Counter[Step] = Counter()
    for (importing, imported), number in sorted(counted.items()):
        first, last = row_of[importing], row_of[imported]
        path = [(first, importing, True), *((row, imported, False) for row in range(first + 1, last))]
        for step in pairwise([*path, (last, imported, True)]):
            cut[step] += number
    return cut


def places(rows: list[list[str]], cut: Counter[Step]) -> dict[Node, float]:
    """The middle of each node, in pixels from the left: near its neighbours, and none upon another."""
    near: dict[Node, dict[Node, int]] = {}
    for (upper, lower), number in cut.items():
        near.setdefault(upper, {})[lower] = number
        near.setdefault(lower, {})[upper] = number
    ordered = [sorted({node for node in near if node[0] == row}) for row in range(len(rows))]
    place: dict[Node, float] = {}
    for nodes in ordered:
        place.update(spread(nodes, dict.fromkeys(nodes, WIDTH / 2.0)))
    best, fewest = dict(place), crossings(place, cut)
    for turn in range(200):
        downwards = turn % 2 == 0
        for nodes in ordered if downwards else reversed(ordered):
            wanted = {node: mean_place(node, near[node], place, downwards) for node in nodes}
            place.update(spread(sorted(nodes, key=lambda node: (wanted[node], node)), wanted))
        if (now := crossings(place, cut)) < fewest:
            best, fewest = dict(place), now
    return best


def mean_place(node: Node, neighbours: dict[Node, int], place: dict[Node, float], downwards: bool) -> float:
    """Where the neighbours are on the mean: those above while the rows are gone through downwards, else those below."""
    asked = [other for other in neighbours if (other[0] < node[0]) == downwards] or list(neighbours)
    return sum(place[other] for other in asked) / len(asked)


def spread(nodes: list[Node], wanted: dict[Node, float]) -> dict[Node, float]:
    """Nodes of one row in this order, as near as may be to where they are wanted, within the margins."""
    wide = [BOX if is_room else LANE for _, _, is_room in nodes]
    from_left = pushed([wanted[node] for node in nodes], wide)
    from_right = pushed([WIDTH - wanted[node] for node in reversed(nodes)], wide[::-1])[::-1]
    return {node: (left + WIDTH - right) / 2 for node, left, right in zip(nodes, from_left, from_right)}


def pushed(wanted: list[float], wide: list[int]) -> list[float]:
    """Places from left to right, each pushed on by those before it, and held back by the room those behind it need."""
    place: list[float] = []
    edge = float(MARGIN)
    for index, where in enumerate(wanted):
        last = WIDTH - MARGIN - sum(wide[index + 1 :]) - wide[index] / 2
        place.append(min(max(where, edge + wide[index] / 2), last))
        edge = place[-1] + wide[index] / 2
    return place


def crossings(place: dict[Node, float], cut: Counter[Step]) -> int:
    """How many pairs of lines cross between two rows."""
    found = 0
    by_row: dict[int, list[tuple[float, float]]] = {}
    for upper, lower in cut:
        by_row.setdefault(upper[0], []).append((place[upper], place[lower]))
    for ends in by_row.values():
        found += sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for a in ends for b in ends) // 2
    return found


def picture(rows: list[list[str]], counted: Counter[tuple[str, str]]) -> str:
    """The whole SVG."""
    cut = steps(rows, counted)
    place = places(rows, cut)
    height = TOP + len(rows) * (ROW + GAP) - GAP + MARGIN
    colours = {room: f"hsl({index * 137 % 360} 55% 52%)" for index, room in enumerate(sum(rows, []))}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        "<title>The rooms of vlmguard_plugin: each imports only those below it</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="paper" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
        *(f'<rect class="row" x="8" y="{top(row) - 6}" width="{WIDTH - 16}" height="{ROW + 12}" rx="4"/>'
          for row in range(len(rows))),
        *drawn_lines(cut, place, colours),
        *(part for row, rooms in enumerate(rows) for room in rooms
          for part in drawn_room(room, place[row, room, True], row, colours[room], counted)),
        "</svg>",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def top(row: int) -> int:
    """Upper edge of a row, in pixels."""
    return TOP + row * (ROW + GAP)


def thickness(number: int) -> float:
    """Of the line of so many imports, in pixels."""
    return 0.8 + 0.16 * number


def drawn_lines(cut: Counter[Step], place: dict[Node, float], colours: dict[str, str]) -> Iterator[str]:
    """The lines between rows, and through the rows that they pass."""
    leaving: dict[Node, list[Node]] = {}
    for upper, lower in cut:
        leaving.setdefault(upper, []).append(lower)
    passing: Counter[Node] = Counter()
    for (_, lower), number in cut.items():
        if not lower[2]:
            passing[lower] += number
    for (upper, lower), number in sorted(cut.items()):
        below = sorted(leaving[upper], key=lambda node: (place[node], node))
        shift = (below.index(lower) + 1) / (len(below) + 1) - 0.5 if upper[2] else 0.0
        start, end = place[upper] + shift * (BOX - 14), place[lower]
        high, low = top(upper[0]) + ROW, top(lower[0]) - (7 if lower[2] else 0)
        bend = (high + low) / 2
        yield (
            f'<path d="M{start:.1f} {high} C{start:.1f} {bend:.1f} {end:.1f} {bend:.1f} {end:.1f} {low}" fill="none" '
            f'stroke="{colours[lower[1]]}" stroke-width="{thickness(number):.1f}" stroke-opacity="0.75"/>'
        )
    for node, number in sorted(passing.items()):
        yield (
            f'<path d="M{place[node]:.1f} {top(node[0])} v{ROW}" stroke="{colours[node[1]]}" '
            f'stroke-width="{thickness(number):.1f}" stroke-opacity="0.75"/>'
        )


def drawn_room(room: str, middle: float, row: int, colour: str, counted: Counter[tuple[str, str]]) -> Iterator[str]:
    """A room's box with its name and size, and the head of the line that comes down to it."""
    files, lines = size(room)
    wide, high = BOX - 10, top(row)
    above = sum(number for (_, imported), number in counted.items() if imported == room)
    if above:
        yield f'<path d="M{middle - 7:.1f} {high - 9} h14 l-7 9 z" fill="{colour}"/>'
        yield f'<text class="size" x="{middle + 18:.1f}" y="{high - 10}" dx="2">{above}</text>'
    yield (
        f'<rect class="box" x="{middle - wide / 2:.1f}" y="{high}" width="{wide}" height="{ROW}" rx="4" '
        f'stroke="{colour}"/>'
    )
    yield f'<text class="name" x="{middle:.1f}" y="{high + 18}">{room}</text>'
    counts = f"{files} {'file' if files == 1 else 'files'}, {round(lines, -1):,} lines"
    yield f'<text class="size" x="{middle:.1f}" y="{high + 33}">{counts}</text>'


if __name__ == "__main__":
    main()
