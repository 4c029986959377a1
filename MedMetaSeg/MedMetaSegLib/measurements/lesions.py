"""The connected parts of a structure, each with its size, its place, its diameters and what is near it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..imageio.geometry import Geometry, Index3, index3
from ..support.structure import StructureMask
from .diameters import as_point, axial_diameters
from .measurements import Connectivity, Lesion
from .statistics import centroid
from .surface_distance import SurfaceCorners, nearest_of

_RANK = {6: 1, 18: 2, 26: 3}
"""scipy's connectivity, by neighbours."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The connected parts of a structure: those that are counted, largest first, and how many are not.

    small_voxels: of all parts too small to be counted.
    """

    counted: tuple[StructureMask, ...]
    small_count: int
    small_voxels: int


def connected_parts(
    one: StructureMask, geometry: Geometry, connectivity: Connectivity, smallest_mm3: float
) -> Parts:
    """The connected parts of a structure, those of `smallest_mm3` or more each as a mask of its own.

    Parts of the same size are in the order of their centres, the last along k first, then along j, then i:
    of two ways to store one grid the order is not the same.
    """
    if not one.mask.any():
        return Parts((), 0, 0)
    labels, _ = ndimage.label(one.mask, ndimage.generate_binary_structure(3, _RANK[connectivity]))
    voxels = np.bincount(labels.ravel())[1:]
    counts = voxels * geometry.voxel_ml * 1000 >= smallest_mm3 * (1 - 1e-9)
    boxes = ndimage.find_objects(labels)
    parts = []
    for number in np.flatnonzero(counts):
        k, j, i = boxes[number]
        offset = index3(np.add(one.offset, (k.start, j.start, i.start)))
        parts.append(StructureMask(one.structure, offset, labels[k, j, i] == number + 1))
    parts.sort(key=lambda part: (part.voxels, *(centroid(part.mask) + part.offset)), reverse=True)
    return Parts(tuple(parts), int(np.count_nonzero(~counts)), int(voxels[~counts].sum()))


def measured_lesion(
    number: int,
    part: StructureMask,
    others: Sequence[SurfaceCorners],
    geometry: Geometry,
    connectivity: Connectivity,
) -> Lesion:
    """A connected part, on a grid whose slices k are axial, as the lesion of this number.

    others: the surfaces of the other structures on the grid.
    """
    voxels = part.voxels
    diameters = axial_diameters(part.mask, geometry.cropped(part.offset, part.mask.shape), connectivity)
    nearest = nearest_of(SurfaceCorners(part, geometry), others)
    return Lesion(
        number=number,
        voxel_count=voxels,
        volume_cm3=voxels * geometry.voxel_ml,
        centroid_ras=as_point(geometry.index_to_world(centroid(part.mask)[None] + part.offset)[0]),
        slice_index=part.offset[0] + diameters.slice_index,
        longest=diameters.longest,
        perpendicular=diameters.perpendicular,
        nearest_structure="" if nearest is None else others[nearest[0]].mask.structure.name,
        nearest_mm=None if nearest is None else nearest[1],
        touches_border=touches_border(part, geometry.shape),
    )


def touches_border(one: StructureMask, shape: Index3) -> bool:
    """Whether a mask that is cropped to its voxels reaches the first or last voxel of a grid of `shape`."""
    ends = np.add(one.offset, one.mask.shape)
    return bool(one.mask.size) and (min(one.offset) == 0 or bool(np.any(ends == shape)))
