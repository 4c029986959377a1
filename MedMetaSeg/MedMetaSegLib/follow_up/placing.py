"""The connected parts of one structure at two times, placed upon one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK as sitk
from scipy.sparse import coo_array

from ..imageio.geometry import Geometry, index3
from ..imageio.volume import to_sitk
from ..measurements.lesions import connected_parts
from ..measurements.measure import upright_mask
from ..measurements.measurements import Connectivity
from ..support.structure import StructureMask, tight
from .alignment import Alignment
from .matching import PlacedParts

_FINER = 4
"""Places along an axis in each voxel of the present image that are looked up in the earlier one, at most."""
_LOOKED_UP = 30_000_000
"""Places that are looked up for a structure, about, at most."""
_SAMPLE = 100
"""Voxels of a lesion, about, that tell whether it lies in the other image's field of view."""


@dataclass(frozen=True, eq=False)
class TimeParts:
    """All connected parts of a structure at one time, largest first, lesions and what is too small for one.

    parts: masks on `grid`, whose axes run to superior, anterior and right. lesions: how many of them, the
    first ones, are counted.
    """

    parts: tuple[StructureMask, ...]
    grid: Geometry
    lesions: int

    @classmethod
    def of(cls, one: StructureMask, grid: Geometry, connectivity: Connectivity, lesions: int) -> TimeParts:
        """The parts of a structure, a mask on a grid; lesions: how many of them are counted.

        On the upright grid, on which `measure` numbers them: parts of one size are in an order of places.
        """
        upright, axis_map = grid.canonical()
        mask = upright_mask(one, axis_map)
        return cls(connected_parts(mask, upright, connectivity, smallest_mm3=0.0).counted, upright, lesions)

    @cached_property
    def volumes_mm3(self) -> np.ndarray:
        """(N,)."""
        return np.array([part.voxels for part in self.parts], float) * self.grid.voxel_ml * 1000

    @cached_property
    def centres(self) -> np.ndarray:
        """(N, 3) RAS mm in the image's own world."""
        index = [np.argwhere(part.mask).mean(0) + part.offset for part in self.parts]
        return self.grid.index_to_world(np.array(index, float).reshape(-1, 3))

    def placed(self, centres: np.ndarray) -> PlacedParts:
        """What matching needs, with the centres (N, 3) where they lie in the earlier image."""
        return PlacedParts(self.volumes_mm3, centres, np.arange(len(self.parts)) < self.lesions)

    def sample(self, number: int) -> np.ndarray:
        """(M, 3) RAS mm: voxels of a part, evenly chosen."""
        part = self.parts[number]
        index = np.argwhere(part.mask) + part.offset
        return self.grid.index_to_world(index[:: max(1, len(index) // _SAMPLE)])

    def numbered(self) -> sitk.Image:
        """The numbers of the parts, one at least, from 1 on, on the block of the grid that holds them."""
        low = np.min([part.offset for part in self.parts], axis=0)
        high = np.max([np.add(part.offset, part.mask.shape) for part in self.parts], axis=0)
        numbers = np.zeros(high - low, np.uint32)
        for number, part in enumerate(self.parts, 1):
            there = StructureMask(part.structure, index3(np.subtract(part.offset, low)), part.mask)
            numbers[there.region][part.mask] = number
        return to_sitk(numbers, self.grid.cropped(low.tolist(), numbers.shape))


def placed_parts(before: TimeParts, now: TimeParts, alignment: Alignment) -> tuple[PlacedParts, PlacedParts]:
    """What matching needs of the parts of both times."""
    return before.placed(before.centres), now.placed(alignment.to_before(now.centres))


def overlaps(before: TimeParts, now: TimeParts, alignment: Alignment) -> coo_array:
    """(N before, N now) mm3: how much of each part now lies on each earlier one.

    Places in the voxels of the parts now are looked up in the earlier segmentation, more than one in a voxel
    where that is finer.
    """
    shape = len(before.parts), len(now.parts)
    if not min(shape):
        return coo_array(shape)
    image = now.numbered()
    ratio = np.ceil(np.array(now.grid.spacing_mm) / min(before.grid.spacing_mm) - 0.1)
    finer = np.clip(ratio, 1, _FINER).astype(int)
    if np.prod(finer) * image.GetNumberOfPixels() > _LOOKED_UP:
        finer = np.ones(3, int)
    image = sitk.Expand(image, finer[::-1].tolist(), sitk.sitkNearestNeighbor)
    there = sitk.Resample(before.numbered(), image, alignment.transform, sitk.sitkNearestNeighbor, 0)
    numbers = [sitk.GetArrayViewFromImage(one).ravel() for one in (there, image)]
    both = (numbers[0] > 0) & (numbers[1] > 0)
    pair = np.ravel_multi_index(tuple(one[both].astype(np.int64) - 1 for one in numbers), shape)
    pairs, count = np.unique(pair, return_counts=True)
    volume = count * now.grid.voxel_ml * 1000 / np.prod(finer)
    return coo_array((volume, np.unravel_index(pairs, shape)), shape)


def in_view(points: np.ndarray, grid: Geometry) -> bool:
    """Whether most of some places (N, 3), RAS mm, nan where not known, lie in an image's field of view."""
    known = points[np.isfinite(points).all(1)]
    return bool(np.count_nonzero(grid.contains(known)) * 2 >= len(points))


def mask_of(masks: Sequence[StructureMask], name: str) -> StructureMask:
    """The mask of a name, cropped to its voxels."""
    one = next(mask for mask in masks if mask.structure.name == name)
    return StructureMask(one.structure, *tight(one.mask, one.offset))
