"""A region of the scene outside which nothing is looked for: a segment, all of a segmentation, or an ROI."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer.util

from ..errors import InputError
from ..imageio.geometry import Geometry, corners, index3
from ..support.search_region import SearchRegion, placed_region
from ..support.seg_nrrd import SegmentationContent
from .common_grid import onCommonGrid
from .reader import readSegment, readVolume
from .space import commonSpace, linearTransform

_EDGE_MM = 1e-6
"""Furthest that the centre of a voxel may lie beyond a face of an ROI and still be inside."""


def readRegion(node: Any, volumeNode: Any, segmentId: str = "") -> SearchRegion:
    """The region on the voxels of a volume: those whose centre lies in a segment, or in the box of an ROI.

    node: a segmentation or an ROI, under any linear transform. segmentId: of a segmentation, one segment
    alone; all of them together when "". Raises InputError for another node, for a segment that is not there,
    for an ROI that was not placed or is bent by its transform, and where nothing of it lies in the volume.
    """
    volume = readVolume(volumeNode)
    if node is not None and node.IsA("vtkMRMLSegmentationNode"):
        content, source = _segments(node, volumeNode, volume.geometry, segmentId)
        return placed_region(content, volume, source)
    if node is not None and node.IsA("vtkMRMLMarkupsROINode"):
        return _box(node, volumeNode, volume.geometry)
    raise InputError("Choose a segmentation or an ROI as the region.")


def regionOf(within: Any, volumeNode: Any) -> SearchRegion | None:
    """The region that a script names: None, an ROI, a segmentation, or (segmentation, name of a segment).

    Raises InputError as `readRegion`, and when no segment or several have that name.
    """
    if within is None:
        return None
    if not isinstance(within, tuple):
        return readRegion(within, volumeNode)
    node, name = within
    return readRegion(node, volumeNode, _segmentIdByName(node, name))


def _segmentIdByName(node: Any, name: str) -> str:
    segmentation = node.GetSegmentation()
    ids = segmentation.GetSegmentIDs()
    found = [one for one in ids if segmentation.GetSegment(one).GetName() == name]
    if len(found) != 1:
        names = ", ".join(segmentation.GetSegment(one).GetName() for one in ids)
        count = "no segment" if not found else f"{len(found)} segments"
        raise InputError(f"Segmentation '{node.GetName()}' has {count} called '{name}'; it has {names}.")
    return str(found[0])


def _segments(
    node: Any, volumeNode: Any, volume: Geometry, segmentId: str
) -> tuple[SegmentationContent, str]:
    """Segments on one grid, and what reports call them."""
    segmentation = node.GetSegmentation()
    present = list(segmentation.GetSegmentIDs())
    if not present:
        raise InputError(f"Segmentation '{node.GetName()}' has no segments: choose another region.")
    if segmentId and segmentId not in present:
        raise InputError(
            f"The segment chosen as the region is no longer in '{node.GetName()}': choose another."
        )
    chosen = [segmentId] if segmentId else present
    masks = [readSegment(node, one, label, volumeNode) for label, one in enumerate(chosen, start=1)]
    source = node.GetName()
    if segmentId:
        source = f"{source}: {segmentation.GetSegment(segmentId).GetName()}"
    grid = onCommonGrid(masks, volume, "complete")
    return SegmentationContent(grid.geometry, grid.masks), source


def _box(node: Any, volumeNode: Any, volume: Geometry) -> SearchRegion:
    """The voxels whose centres lie in the box of an ROI, whichever way it is turned."""
    half = np.array(node.GetSize()) / 2
    if not node.GetNumberOfControlPoints() or half.min() <= 0:
        raise InputError(f"ROI '{node.GetName()}' has no box yet: place it in the views.")
    if node.GetInsideOut():
        raise InputError(f"ROI '{node.GetName()}' is inside out: switch that off in the Markups module.")
    toSpace = linearTransform(node.GetParentTransformNode(), commonSpace(volumeNode))
    if toSpace is None:
        raise InputError(
            f"ROI '{node.GetName()}' reaches the volume through a transform that is not linear: give it none."
        )
    box = toSpace @ slicer.util.arrayFromVTKMatrix(node.GetObjectToNodeMatrix())
    low, high = _indexBounds(box, half, volume)
    size = np.maximum(high - low, 0)
    inside = np.ones(size, bool)
    # A coordinate of the box is a sum of one term for each index.
    toBox = np.linalg.solve(box, volume.affine)
    for axis in range(3):
        k, j, i = (toBox[axis, 2 - along] * (low[along] + np.arange(size[along])) for along in range(3))
        rows = j[:, None] + i + toBox[axis, 3]
        for number, start in enumerate(k):
            inside[number] &= np.abs(rows + start) <= half[axis] + _EDGE_MM
    if not inside.any():
        raise InputError(f"ROI '{node.GetName()}' holds no voxel of the volume: move or enlarge it.")
    return SearchRegion(index3(low), inside, node.GetName())


def _indexBounds(box: np.ndarray, half: np.ndarray, volume: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """(3,) each: the first voxel (k, j, i) that may lie in a box, and the one after the last.

    box: 4x4 from its coordinates, with the origin in its middle, to the space of the volume. half: its size.
    """
    ends = corners((3, 3, 3), (-1, -1, -1)) * half
    index = volume.world_to_index((box @ np.c_[ends, np.ones(8)].T)[:3].T)
    low = np.clip(np.floor(index.min(0)), 0, volume.shape).astype(int)
    high = np.clip(np.ceil(index.max(0)) + 1, 0, volume.shape).astype(int)
    return low, high
