"""The demonstration's picture: what was painted, what was predicted and what is true, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..imageio.volume import Geometry, Volume
from ..support.structure import Structure
from .slicer_core import SlicerCore
from .views import SliceView, ThreeDView

PANEL_PIXELS = (460, 380)
# Slicer fits a sphere around everything into a 3D view; what it leaves at the sides is cut off.
_SOLID_PIXELS = (620, 512)
_SEE_THROUGH = 0.5

Masks = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Place:
    """World coordinates (RAS, mm) that the slices are drawn through."""

    axial_mm: float
    coronal_mm: float


@dataclass(frozen=True)
class Panel:
    """One picture, RGB (height, width, 3) uint8, and the height of its pixels when their width is 1."""

    rgb: np.ndarray
    aspect: float = 1.0


def telling_place(geometry: Geometry, masks: Masks, painted: Masks) -> Place:
    """Where the most structures are cut, axially at a slice of which as little as possible was painted."""
    canonical, axis_map = geometry.canonical()
    reordered = [axis_map.apply(mask) for mask in masks.values()]
    annotated = [axis_map.apply(mask).any((1, 2)) for mask in painted.values()]
    positions = []
    for axis in (0, 1):
        others = tuple(other for other in range(3) if other != axis)
        areas = np.array([mask.sum(others) for mask in reordered])
        # Every structure counts by how large it is on this slice against where it is largest.
        shown = (areas / np.maximum(areas.max(1, keepdims=True), 1)).sum(0)
        if axis == 0:
            shown = shown - 0.25 * np.sum(annotated, axis=0)
        number = int(shown.argmax())
        inside = np.argwhere(np.any([np.take(mask, number, axis) for mask in reordered], axis=0)).mean(0)
        positions.append(canonical.index_to_world(np.insert(inside, axis, number)[None])[0])
    return Place(axial_mm=float(positions[0][2]), coronal_mm=float(positions[1][1]))


def slicer_panels(core: SlicerCore, volumeNode: Any, nodes: Sequence[Any], place: Place) -> list[list[Panel]]:
    """Rows axial, coronal and 3D, a column for each segmentation node, by Slicer's own views.

    Raises RenderingUnavailableError where nothing can be drawn without a screen. Afterwards the
    scene shows the nodes as before.
    """
    shown = [node.GetDisplayNode().GetVisibility() for node in nodes]
    rows: list[list[Panel]] = []
    with ExitStack() as stack:
        drawings: list[Callable[[], np.ndarray]] = []
        for orientation, offset_mm in (("Axial", place.axial_mm), ("Coronal", place.coronal_mm)):
            view = stack.enter_context(SliceView(core, orientation, PANEL_PIXELS))
            view.show(volumeNode, offset_mm)
            drawings.append(view.render)
        solid = stack.enter_context(ThreeDView(core, _SOLID_PIXELS))
        for node in nodes:
            node.CreateClosedSurfaceRepresentation()
            node.GetDisplayNode().SetSegmentOpacity3D(_largest_segment(node), _SEE_THROUGH)
        solid.show(azimuth_degrees=-20.0, elevation_degrees=15.0)
        drawings.append(lambda: _centre(solid.render(), PANEL_PIXELS))
        for draw in drawings:
            row = []
            for node in nodes:
                for other in nodes:
                    other.GetDisplayNode().SetVisibility(other is node)
                row.append(Panel(draw()))
            rows.append(row)
    for node, visible in zip(nodes, shown, strict=True):
        node.GetDisplayNode().SetVisibility(visible)
    return rows


def _largest_segment(node: Any) -> str:
    """The id of the segment that may hide others: the one whose surface reaches furthest."""
    reach: dict[str, float] = {}
    for segment_id in node.GetSegmentation().GetSegmentIDs():
        bounds = np.zeros(6)
        node.GetSegmentation().GetSegment(segment_id).GetBounds(bounds)
        reach[segment_id] = float(np.prod(bounds[1::2] - bounds[::2]))
    return max(reach, key=lambda segment_id: reach[segment_id])


def _centre(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    top, left = (rgb.shape[0] - size[1]) // 2, (rgb.shape[1] - size[0]) // 2
    return rgb[top : top + size[1], left : left + size[0]]


def plain_panels(
    volume: Volume, columns: Sequence[Masks], structures: Sequence[Structure], place: Place
) -> list[list[Panel]]:
    """Rows axial and coronal in the volume's own grid, a column for each set of masks; needs no Slicer."""
    canonical, axis_map = volume.canonical()
    array, spacing = canonical.array, canonical.geometry.spacing_mm
    middle = canonical.geometry.index_to_world((np.array([array.shape]) - 1) / 2)[0]
    low, high = (
        (50 - 200, 50 + 200) if volume.modality == "CT" else np.percentile(array[::2, ::4, ::4], (1, 99))
    )
    rows = []
    for axis, level_mm in ((0, place.axial_mm), (1, place.coronal_mm)):
        point = middle.copy()
        point[2 - axis] = level_mm
        level = int(
            np.clip(
                np.rint(canonical.geometry.world_to_index(point[None])[0][axis]), 0, array.shape[axis] - 1
            )
        )
        grey = np.clip((np.take(array, level, axis).astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
        row = []
        for masks in columns:
            rgb = np.repeat(grey[..., None], 3, -1)
            for structure in structures:
                inside = np.take(axis_map.apply(masks[structure.name]), level, axis)
                rgb[inside] = 0.5 * rgb[inside] + 0.5 * np.array(structure.color, np.float32)
            # Rows up to down and columns as radiologists look: the patient's right on the left.
            picture = np.ascontiguousarray((rgb[::-1, ::-1] * 255).astype(np.uint8))
            row.append(Panel(picture, spacing[1 - axis] / spacing[2]))
        rows.append(row)
    return rows


def write_overview(
    path: Path,
    rows: Sequence[Sequence[Panel]],
    captions: Sequence[str],
    structures: Sequence[Structure],
    title: str,
    labels: Mapping[str, str],
) -> None:
    """Write the panels as one PNG: `captions` over the columns, a legend with `labels` by structure name."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    columns = len(captions)
    width = 4.6 * columns
    figure = Figure(figsize=(width, 3.8 * len(rows) + 1.1), facecolor="white", layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for axis, panel in zip(line, row, strict=True):
            axis.imshow(panel.rgb, aspect=panel.aspect, interpolation="lanczos")
            axis.set_axis_off()
    for axis, caption in zip(axes[0], captions, strict=True):
        axis.set_title(caption, fontsize=13)
    figure.suptitle(title, fontsize=15, fontweight="bold")
    patches = [Patch(color=one.color, label=labels.get(one.name, one.name)) for one in structures]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 4), frameon=False)
    figure.savefig(path, format="png", dpi=100)
