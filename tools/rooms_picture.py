"""A picture of the rooms and of who imports whom; an arrow is left out where a longer way says the same.

python tools/rooms_picture.py docs/pictures/rooms.svg
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve

from rooms import ROOMS, Room, imports, modules, room_arrows, without_transitive

WIDTH, HEIGHT, GAP, FLOOR = 4.3, 1.1, 0.7, 1.9
BEND = 0.5  # wide is a line that only passes a floor
TORCH, SLICER, PLAIN = "#fbe3b5", "#d5ead2", "#cfe1f2"

Node = tuple[str, int]  # a room and its floor; where a long arrow passes a floor, both its rooms in one name


def shown_arrows() -> dict[str, list[str]]:
    """The arrows of the picture, by the importing room."""
    return without_transitive(room_arrows(imports(modules())))


def described(arrows: Mapping[str, Sequence[str]]) -> str:
    """The same in words, kept in the picture's metadata, so that a test can see whether it is out of date."""
    return "; ".join(f"{here} -> {' + '.join(targets)}" for here, targets in arrows.items() if targets)


def floors(arrows: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Each room as low as its imports let it be: one above the highest of them."""
    found: dict[str, int] = {}
    for room in ROOMS:  # names only rooms before itself
        found[room.name] = max((found[there] + 1 for there in arrows[room.name]), default=0)
    return found


def draw(path: Path) -> None:
    """Write the picture as SVG or PNG, by the suffix; the same imports give the same bytes."""
    arrows = shown_arrows()
    floor = floors(arrows)
    lines = [
        [(here, floor[here]), *_passed(here, there, floor), (there, floor[there])]
        for here, targets in arrows.items()
        for there in targets
    ]
    x = _places([(room.name, floor[room.name]) for room in ROOMS], lines)
    left, right = min(x.values()) - WIDTH / 2 - 0.2, max(x.values()) + WIDTH / 2 + 0.2
    top = (max(floor.values()) + 1) * FLOOR
    figure = Figure(figsize=((right - left) * 0.52, (top + 1.1) * 0.52), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(left, right)
    axes.set_ylim(-1.2, top - 0.5)
    for line in lines:
        _line(axes, line, x)
    for room in ROOMS:
        _box(axes, x[room.name, floor[room.name]], floor[room.name] * FLOOR, room)
    for number, (color, text) in enumerate(
        (
            (PLAIN, "neither"),
            (TORCH, "may import torch"),
            (SLICER, "may import Slicer"),
        )
    ):
        axes.text(
            left + 0.3 + 4.6 * number,
            -1.0,
            text,
            fontsize=8,
            bbox={"boxstyle": "round", "fc": color, "ec": "#555555", "lw": 0.6},
        )
    with matplotlib.rc_context({"svg.hashsalt": "rooms"}):
        if path.suffix == ".svg":
            figure.savefig(path, metadata={"Date": None, "Description": described(arrows)})
        else:
            figure.savefig(path, dpi=110)


def _passed(here: str, there: str, floor: Mapping[str, int]) -> list[Node]:
    return [(f"{here} -> {there}", level) for level in range(floor[here] - 1, floor[there], -1)]


def _places(nodes: Sequence[Node], lines: Sequence[Sequence[Node]]) -> dict[Node, float]:
    """x of every node's middle: near its neighbours, on each floor in an order with few crossings."""
    neighbours: dict[Node, list[Node]] = {node: [] for node in nodes}
    for line in lines:
        for upper, lower in pairwise(line):
            neighbours.setdefault(upper, []).append(lower)
            neighbours.setdefault(lower, []).append(upper)
    levels = sorted({level for _, level in neighbours})
    rows = [[node for node in neighbours if node[1] == level] for level in levels]
    x: dict[Node, float] = {}
    for row in rows:
        x.update(_apart(row, dict.fromkeys(row, 0.0)))
    for sweep in range(60):
        for row in rows if sweep % 2 else rows[::-1]:
            wanted = {node: _mean(node, neighbours[node], x) for node in row}
            x.update(_apart(sorted(row, key=lambda node: (wanted[node], node)), wanted))
    return x


def _mean(node: Node, neighbours: Sequence[Node], x: Mapping[Node, float]) -> float:
    """Where a node wants to be: amid its neighbours; a long line counts most, which keeps it straight."""
    weights = {other: 8 if _passes(node) and _passes(other) else 1 for other in neighbours}
    return sum(weight * x[other] for other, weight in weights.items()) / max(1, sum(weights.values()))


def _passes(node: Node) -> bool:
    return " -> " in node[0]


def _apart(row: Sequence[Node], wanted: Mapping[Node, float]) -> dict[Node, float]:
    """The nodes of a floor in this order, pushed apart as far as they need, around the places wanted."""
    groups: list[tuple[list[Node], float]] = []  # neighbours that touch, and where their left end wants to be
    for node in row:
        group, start = [node], wanted[node] - _wide(node) / 2
        while groups and groups[-1][1] + sum(map(_wide, groups[-1][0])) > start:
            before, first = groups.pop()
            start = (len(before) * first + len(group) * (start - sum(map(_wide, before)))) / (
                len(before) + len(group)
            )
            group = before + group
        groups.append((group, start))
    found = {}
    for group, start in groups:
        for node in group:
            found[node] = start + _wide(node) / 2
            start += _wide(node)
    return found


def _wide(node: Node) -> float:
    return BEND if _passes(node) else WIDTH + GAP


def _line(axes: Axes, line: Sequence[Node], x: Mapping[Node, float]) -> None:
    """From the lower edge of the upper room to the upper edge of the lower one, straight down past others."""
    points, codes = [(x[line[0]], line[0][1] * FLOOR)], [Curve.MOVETO]
    for node in line[1:]:
        y = node[1] * FLOOR + HEIGHT
        middle = (points[-1][1] + y) / 2
        points += [(points[-1][0], middle), (x[node], middle), (x[node], y)]
        codes += [Curve.CURVE4] * 3
        if node != line[-1]:
            points.append((x[node], node[1] * FLOOR))
            codes.append(Curve.LINETO)
    axes.add_patch(PathPatch(Curve(points, codes), fc="none", ec="#777777", lw=0.9))
    tip = points[-1]
    axes.annotate(
        "", tip, (tip[0], tip[1] + 0.05), arrowprops={"arrowstyle": "-|>", "color": "#555555", "lw": 0.9}
    )


def _box(axes: Axes, x: float, y: float, room: Room) -> None:
    color = SLICER if "slicer" in room.libraries else TORCH if "torch" in room.libraries else PLAIN
    axes.add_patch(
        FancyBboxPatch(
            (x - WIDTH / 2, y),
            WIDTH,
            HEIGHT,
            "round,pad=0,rounding_size=0.18",
            fc=color,
            ec="#555555",
            lw=0.9,
        )
    )
    axes.text(x, y + 0.72, room.name, fontsize=10, weight="bold", ha="center", va="center")
    axes.text(x, y + 0.32, room.purpose, fontsize=7.2, ha="center", va="center", color="#333333")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
