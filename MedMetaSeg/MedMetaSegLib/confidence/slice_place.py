"""A plane of a working grid as a slice that the user can open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..imageio.geometry import AxisMap, Geometry, Index3, rounded
from ..support.drawing_plane import plane_name
from ..working_grid.grid import Bounds, WorkingGrid
from .next_slice import NextSlice, least_sure_slice, next_slice


@dataclass(frozen=True)
class SliceToPaint:
    """The slice that is most worth painting next.

    plane: "axial", "coronal" or "sagittal"; index: of the slice on its grid, counted from 0; ras_mm: the
    centre of the answer there, in the world. reason: the end of a sentence.
    """

    plane: str
    index: int
    reason: str
    ras_mm: tuple[float, float, float]

    def as_dict(self) -> dict[str, Any]:
        """For reports."""
        return {
            "plane": self.plane,
            "index": self.index,
            "reason": self.reason,
            "ras_mm": [rounded(one, 2) for one in self.ras_mm],
        }


def next_plane(
    logits: np.ndarray, grid: WorkingGrid, bounds: Bounds, painted: np.ndarray | None
) -> NextSlice | None:
    """The plane of a working grid that is most worth painting, of those that lie in the image.

    logits: (k, j, i) on the grid; bounds: of the image on the reference grid. painted: its slices across the
    drawing axis that hold painted voxels, None where no slice is complete.
    """
    axis = grid.order[0]
    along = grid.to_reference(np.arange(len(logits)), 0)
    inside = np.flatnonzero((along >= bounds.low[axis] - 0.5) & (along <= bounds.high[axis] + 0.5))
    if not inside.size:
        return None
    start, some = int(inside[0]), logits[inside[0] : inside[-1] + 1]
    if painted is None:
        found = least_sure_slice(some)
    else:
        found = next_slice(some, (grid.to_working(painted, 0) - start).tolist(), grid.aspect)
    return None if found is None else NextSlice(found.plane + start, found.reason)


def slice_to_paint(
    found: NextSlice,
    logits: np.ndarray,
    grid: WorkingGrid,
    geometry: Geometry,
    axis_map: AxisMap,
    offset: Index3 = (0, 0, 0),
) -> SliceToPaint:
    """The slice of `geometry` that lies closest to a plane of a working grid.

    logits: (k, j, i) on the working grid. axis_map: from the grid of slices to the reference grid, which
    begins at `offset` of it.
    """
    plane = found.plane
    inside = np.argwhere(logits[plane] > 0)
    centre = inside.mean(0) if len(inside) else np.array(logits.shape[1:]) / 2 - 0.5
    index = np.zeros(3)
    for axis, place in enumerate((plane, *centre)):
        reference_axis = grid.order[axis]
        own_axis = axis_map.order[reference_axis]
        along = float(grid.to_reference(np.array(place), axis))
        if axis_map.flipped[reference_axis]:
            along = axis_map.shape[own_axis] - 1 - along
        index[own_axis] = along + offset[own_axis]
    drawing = axis_map.order[grid.order[0]]
    index[drawing] = np.clip(np.floor(index[drawing] + 0.5), 0, geometry.shape[drawing] - 1)
    x, y, z = geometry.index_to_world(index[None])[0].tolist()
    return SliceToPaint(plane_name(geometry, drawing), int(index[drawing]), found.reason, (x, y, z))
