"""A picture of the network, its widths read from the architecture.

python -m MedMetaSegLib.training.architecture_picture docs/pictures/architecture.svg
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from ..network.model import Architecture
from ..network.prototypes import SIMILARITY_CHANNELS

ENCODER, PROTOTYPES, DECODER, GIVEN = "#cfe1f2", "#fbe3b5", "#d5ead2", "#eeeeee"
_SCALES = ("1/2", "1/4", "1/8", "1/16", "1/32")


def draw_architecture(path: Path, network: Architecture) -> None:
    """Write the picture as SVG or PNG, by the suffix."""
    depth = len(network.widths)
    figure = Figure(figsize=(11.5, 2.6 + 1.15 * depth), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(0, 23)
    axes.set_ylim(-1.9, 2.3 * depth + 1.6)
    top = 2.3 * depth
    _box(axes, 0.3, top, 3.6, f"image\n{network.image_channels} contrasts", GIVEN)
    _box(axes, 18.4, top, 4.2, "logits, full resolution", GIVEN)
    _box(
        axes,
        11.8,
        top,
        5.2,
        f"image, prompt of a structure\n{network.image_channels} + {network.condition_channels} channels",
        GIVEN,
    )
    levels = [top - 2.3 * (level + 1) for level in range(depth)]
    for level, (width, y) in enumerate(zip(network.widths, levels, strict=True)):
        name = f"{width} channels\nat {_SCALES[level]}"
        _box(axes, 0.3, y, 3.6, name, ENCODER)
        _box(axes, 11.8, y, 5.2, f"fuse, {name}", DECODER)
        above = levels[level - 1] if level else top
        _arrow(axes, (2.1, above), (2.1, y + 1.2))
        _arrow(axes, (14.4, above), (14.4, y + 1.2))
        _arrow(axes, (3.9, y + 0.25), (11.8, y + 0.25))
        if level < depth - 1:
            _box(axes, 18.4, y, 4.2, f"up, {name}", DECODER)
            _arrow(axes, (17.0, y + 0.6), (18.4, y + 0.6))
            _arrow(axes, (20.5, y + 1.2), (20.5, above))
        elif level:
            _arrow(axes, (17.0, y + 0.6), (20.5, levels[level - 1]))
    first = levels[0]
    _box(
        axes, 5.3, first + 0.5, 5.2, f"embedding, {network.embedding} channels\nat 1/2, unit length", ENCODER
    )
    _arrow(axes, (3.9, first + 1.0), (5.3, first + 1.0))
    _note(axes, 4.6, first + 1.2, "all levels")
    counts = f"{network.foreground_prototypes} + {network.background_prototypes}"
    _box(axes, 5.3, top, 5.2, f"up to {counts} prototypes,\nridge classifier", PROTOTYPES)
    _arrow(axes, (7.4, first + 1.7), (7.4, top))
    _arrow(axes, (8.4, top), (8.4, first + 1.7))
    _note(axes, 9.3, first + 1.85, "compared")
    _arrow(axes, (11.8, top + 0.6), (10.5, top + 0.6))
    _note(axes, 11.15, top + 0.8, "annotated")
    _arrow(axes, (10.5, first + 0.85), (11.8, first + 0.85))
    _note(axes, 11.15, first + 1.05, f"{SIMILARITY_CHANNELS} maps")
    _arrow(axes, (17.0, top + 0.6), (18.4, top + 0.6))
    _note(axes, 17.7, top + 0.8, "seen again")
    foot = levels[-1] - 1.0
    for x, wide, color, text in (
        (0.3, 10.2, ENCODER, "from the image alone: kept between runs"),
        (11.8, 10.8, DECODER, "for each structure and each annotation"),
    ):
        _box(axes, x, foot - 0.6, wide, text, color, height=0.7)
    figure.savefig(path, dpi=110)


def _box(axes: Axes, x: float, y: float, width: float, text: str, color: str, height: float = 1.2) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x, y), width, height, "round,pad=0,rounding_size=0.18", fc=color, ec="#555555", lw=0.9
        )
    )
    axes.text(x + width / 2, y + height / 2, text, fontsize=9, ha="center", va="center")


def _note(axes: Axes, x: float, y: float, text: str) -> None:
    axes.text(x, y, text, fontsize=7, ha="center", color="#444444")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#555555", "lw": 1.0})


if __name__ == "__main__":
    draw_architecture(Path(sys.argv[1]), Architecture())
