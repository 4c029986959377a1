"""The pictures of docs/tutorial.md, by Slicer's own slice and 3D views."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..imageio.volume import Volume
from ..imageio.writing import replace_all
from . import tutorial_outlines as outlines
from .slicer_core import boot
from .tutorial_case import LESION, VENTRICLES, Step
from .views import SliceView, ThreeDView

NAMES = ("tutorial-paint.png", "tutorial-result.png", "tutorial-correct.png")
"""Files that `write` makes: what is painted, what comes out, one slice corrected."""
WINDOW, LEVEL = 4000.0, 2000.0
"""Of the slice views, so that ventricles and lesion are seen."""
_PIXELS_PER_MM = 2
_AXIAL_CROP = (slice(16, 436), slice(96, 424))
_TILE_INCHES = 2.0
"""Width of a tile; a hundred pixels an inch."""
_LETTERS = ("SI", "AP", "RL")
"""Of positions above and below 0 along k, j and i."""
_COLORS = 256
"""Of the palette that keeps the files small."""


@dataclass(frozen=True)
class Tile:
    """One picture and what stands above it; rgb: (height, width, 3) uint8."""

    caption: str
    rgb: np.ndarray


@dataclass(frozen=True)
class Cut:
    """A slice of an orientation through the voxel whose index along `axis` (k, j, i: 0, 1, 2) is given."""

    orientation: str
    axis: int
    index: int


UNPAINTED = (
    Cut("Axial", 0, 21),
    Cut("Axial", 0, 25),
    Cut("Axial", 0, 27),
    Cut("Axial", 0, 32),
)
OTHER_PLANES = (
    Cut("Coronal", 1, 70),
    Cut("Coronal", 1, 105),
    Cut("Sagittal", 2, 108),
    Cut("Sagittal", 2, 128),
    Cut("Sagittal", 2, 140),
)


def write(out: Path, volume: Volume, volume_node: Any, first: Step, second: Step) -> list[Path]:
    """Write tutorial-*.png into the folder, all or none; returns their paths.

    Raises RenderingUnavailableError where nothing can be drawn without a screen.
    """
    display = volume_node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(WINDOW, LEVEL)
    with _Views(volume, volume_node) as views:
        pictures = (_painting(views, first), _result(views, second), _correction(views, first, second))
    out.mkdir(parents=True, exist_ok=True)
    named = zip(NAMES, pictures, strict=True)
    paths = {out / name: functools.partial(_write_png, rows) for name, rows in named}
    replace_all(paths)
    return list(paths)


class _Views:
    """A slice view for each orientation, opened when first needed, on one volume; a context manager."""

    def __init__(self, volume: Volume, volume_node: Any) -> None:
        self._geometry = volume.geometry
        self._volume_node = volume_node
        self._opened = ExitStack()
        self._views: dict[str, SliceView] = {}

    def __enter__(self) -> _Views:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def tiles(self, node: Any, cuts: Sequence[Cut], only: str | None = None) -> list[Tile]:
        """A tile for each cut, with the node alone to be seen, or one segment of it."""
        _show_alone(node, only)
        return [self._tile(cut) for cut in cuts]

    def _tile(self, cut: Cut) -> Tile:
        index = (np.array(self._geometry.shape) - 1) / 2
        index[cut.axis] = cut.index
        position_mm = float(self._geometry.index_to_world(index[None])[0][2 - cut.axis])
        # The normal of Slicer's sagittal slices points to the left.
        offset_mm = -position_mm if cut.orientation == "Sagittal" else position_mm
        view = self._view(cut.orientation)
        view.show(self._volume_node, offset_mm)
        rgb = view.render()
        caption = f"{_LETTERS[cut.axis][position_mm < 0]} {abs(position_mm):.1f} mm"
        return Tile(caption, rgb[_AXIAL_CROP] if cut.axis == 0 else rgb)

    def _view(self, orientation: str) -> SliceView:
        if orientation not in self._views:
            tall_mm = self._geometry.shape[0] * self._geometry.spacing_mm[0]
            height = 512 if orientation == "Axial" else round(tall_mm * _PIXELS_PER_MM)
            view = SliceView(boot(), orientation, (512, height))
            self._views[orientation] = self._opened.enter_context(view)
        return self._views[orientation]


def _painting(views: _Views, first: Step) -> list[list[Tile]]:
    rows = []
    for structure, drawn in ((VENTRICLES, outlines.VENTRICLES), (LESION, outlines.LESION)):
        cuts = [Cut("Axial", 0, number) for number in drawn]
        rows.append(views.tiles(first.painted, cuts, only=structure.name))
    return rows


def _result(views: _Views, step: Step) -> list[list[Tile]]:
    _contours_only(step.result)
    return [
        [*views.tiles(step.result, UNPAINTED), Tile("3D, from the left", _solid(step))],
        views.tiles(step.result, OTHER_PLANES),
    ]


def _correction(views: _Views, first: Step, second: Step) -> list[list[Tile]]:
    _contours_only(first.result)
    _contours_only(second.result)
    (number,) = outlines.LESION_CORRECTION
    here, above = Cut("Axial", 0, number), Cut("Axial", 0, number + 1)
    moments = (
        ("first answer", first.result, here),
        ("painted", second.painted, here),
        ("first answer", first.result, above),
        ("second answer", second.result, above),
    )
    tiles = []
    for title, node, cut in moments:
        (tile,) = views.tiles(node, [cut], only=LESION.name)
        tiles.append(Tile(f"{tile.caption}\n{title}", tile.rgb))
    return [tiles]


def _solid(step: Step) -> np.ndarray:
    step.result.CreateClosedSurfaceRepresentation()
    _show_alone(step.result, None)
    with ThreeDView(boot(), (400, 400)) as view:
        view.show(azimuth_degrees=50.0, elevation_degrees=15.0)
        return view.render()[:, 44:356]


def _contours_only(node: Any) -> None:
    display = node.GetDisplayNode()
    display.SetVisibility2DFill(False)
    display.SetSliceIntersectionThickness(2)


def _show_alone(node: Any, only: str | None) -> None:
    """Hide all other segmentations, and the node's other segments."""
    scene = node.GetScene()
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
        other = scene.GetNthNodeByClass(number, "vtkMRMLSegmentationNode")
        other.GetDisplayNode().SetVisibility(other is node)
    segmentation = node.GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        name = segmentation.GetSegment(segment_id).GetName()
        node.GetDisplayNode().SetSegmentVisibility(segment_id, only in (None, name))


def _caption_height(row: Sequence[Tile]) -> float:
    """Room for the captions of a row, in widths of a tile."""
    return 0.15 * max(tile.caption.count("\n") + 1 for tile in row)


def _write_png(rows: Sequence[Sequence[Tile]], path: Path) -> None:
    """Write the tiles in rows with their captions, as a PNG with a palette."""
    from matplotlib.figure import Figure
    from PIL import Image

    columns = max(len(row) for row in rows)
    heights = [
        max(tile.rgb.shape[0] / tile.rgb.shape[1] for tile in row) + _caption_height(row) for row in rows
    ]
    size = (_TILE_INCHES * columns, _TILE_INCHES * sum(heights))
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for axis in axes.flat:
        axis.set_axis_off()
    for line, row in zip(axes, rows, strict=True):
        for axis, tile in zip(line, row, strict=False):
            axis.imshow(tile.rgb, interpolation="lanczos")
            axis.set_title(tile.caption, fontsize=10)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    Image.open(drawn).convert("RGB").quantize(_COLORS, kmeans=1).save(path, format="PNG", optimize=True)
