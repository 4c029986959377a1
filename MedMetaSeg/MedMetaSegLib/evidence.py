"""What was drawn of a structure, as evidence on a working grid."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .grid import WorkingGrid
from .network.conditions import KnownSlice, signed_distance, slice_condition, voxel_condition
from .structure import PaintedStructure


def condition_on(
    grid: WorkingGrid, image: np.ndarray, painted: PaintedStructure, background: PaintedStructure | None
) -> np.ndarray:
    """The network's condition (CONDITION_CHANNELS, k, j, i) for one structure on its working grid.

    image: (IMAGE_CHANNELS, k, j, i). Whole slices speak through their outlines at their exact positions; scribbles
    through the working voxels that hold a painted one.
    """
    if painted.axis is not None:
        return slice_condition(image, known_slices(grid, painted), grid.aspect)
    nothing = np.zeros(grid.shape, bool)
    outside = nothing if background is None else _marked(grid, background)
    inside = _marked(grid, painted)
    return voxel_condition(image, inside, outside & ~inside, grid.aspect)


def known_slices(grid: WorkingGrid, painted: PaintedStructure) -> list[KnownSlice]:
    """The drawn slices in the plane of the working grid, with signed distances in working voxels."""
    drawing, rows, columns = grid.order
    planes = np.transpose(painted.mask, grid.order)
    native = [np.arange(painted.offset[a] - 2, painted.offset[a] + painted.mask.shape[a] + 2) for a in (rows, columns)]
    wanted = [grid.to_frame(np.arange(grid.shape[axis]), axis) for axis in (1, 2)]
    low = [int(np.floor(min(n[0], w[0]))) for n, w in zip(native, wanted, strict=True)]
    high = [int(np.ceil(max(n[-1], w[-1]))) for n, w in zip(native, wanted, strict=True)]
    inner = tuple(
        slice(painted.offset[a] - first, painted.offset[a] - first + painted.mask.shape[a])
        for a, first in zip((rows, columns), low, strict=True)
    )
    unit = grid.in_plane_mm
    spacing = (grid.frame.spacing_mm[rows] / unit, grid.frame.spacing_mm[columns] / unit)
    at = np.meshgrid(*(w - first for w, first in zip(wanted, low, strict=True)), indexing="ij")
    result = []
    for number in painted.slices:
        drawn = np.zeros([h - first + 1 for h, first in zip(high, low, strict=True)], bool)
        drawn[inner] = planes[number - painted.offset[drawing]]
        distance = ndimage.map_coordinates(signed_distance(drawn, spacing), at, order=1, mode="nearest")
        result.append(KnownSlice(float(grid.to_working(np.array(number), 0)), distance))
    return result


def _marked(grid: WorkingGrid, painted: PaintedStructure) -> np.ndarray:
    """Bool (k, j, i): working voxels that hold a painted voxel; those off the grid are left out."""
    index = np.argwhere(painted.mask) + np.array(painted.offset)
    working = np.stack([np.rint(grid.to_working(index[:, f], axis)).astype(int) for axis, f in enumerate(grid.order)], 1)
    working = working[((working >= 0) & (working < grid.shape)).all(1)]
    marked = np.zeros(grid.shape, bool)
    marked[tuple(working.T)] = True
    return marked
