"""How far the surfaces of structures on one grid lie apart: 0 where they touch or overlap.

The surface is that of the voxels, not of their centres. On perpendicular axes two sets of voxels of one grid
are closest between two corners of voxels, so that only corners are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import product

import numpy as np
from scipy.spatial import KDTree

from ..imageio.geometry import Geometry, corners
from ..support.structure import StructureMask
from .statistics import TIE

_SAMPLED = 64
"""Corners, about, that say how far two surfaces lie apart at most."""


class SurfaceCorners:
    """The corners of the voxels on the surface of a mask that has some, in mm without the grid's origin."""

    def __init__(self, one: StructureMask, geometry: Geometry) -> None:
        self.mask = one
        self._to_mm = geometry.affine[:3, 2::-1].T
        ends = corners([size + 1 for size in one.mask.shape], one.offset) @ self._to_mm
        self.low_mm, self.high_mm = ends.min(axis=0), ends.max(axis=0)

    @cached_property
    def points_mm(self) -> np.ndarray:
        """(N, 3) corners that are not inside."""
        low, high = _corner_range(self.mask)
        around = _voxels_around(self.mask, low, high)
        surface = _any_of_eight(around) & _any_of_eight(~around)
        return (np.argwhere(surface) + low) @ self._to_mm

    @cached_property
    def tree(self) -> KDTree:
        """Finds the nearest of `points_mm`."""
        return KDTree(self.points_mm)

    def shared_corners(self, other: SurfaceCorners) -> int:
        """How many corners belong to voxels of both: none when they do not touch."""
        ranges = [_corner_range(one.mask) for one in (self, other)]
        low = np.max([one[0] for one in ranges], axis=0)
        high = np.min([one[1] for one in ranges], axis=0)
        if np.any(high < low):
            return 0
        both = [_any_of_eight(_voxels_around(one.mask, low, high)) for one in (self, other)]
        return int(np.count_nonzero(both[0] & both[1]))

    def box_distance_mm(self, points_mm: np.ndarray) -> np.ndarray:
        """(N,) distance of points (N, 3) to the box around the corners, 0 inside."""
        beyond = np.maximum(self.low_mm - points_mm, points_mm - self.high_mm)
        return np.asarray(np.linalg.norm(np.maximum(beyond, 0), axis=1))

    def least_distance_mm(self, other: SurfaceCorners) -> float:
        """The distance of the boxes around both: they are not closer than that."""
        beyond = np.maximum(self.low_mm - other.high_mm, other.low_mm - self.high_mm)
        return float(np.linalg.norm(np.maximum(beyond, 0)))

    def distance_mm(self, other: SurfaceCorners) -> float:
        """The distance of two surfaces that do not touch.

        With a ball of radius r around this surface, whose centre is d away from the other one, the surfaces
        are no further apart than d + r, so that the other's nearest corner is within d + 2 r of the centre.
        """
        centre = (self.low_mm + self.high_mm) / 2
        radius = float(np.linalg.norm(self.high_mm - centre))
        reach = float(other.tree.query(centre)[0]) + 2 * radius
        near = other.points_mm[other.tree.query_ball_point(centre, reach * (1 + TIE))]
        most = float(self.tree.query(near[:: max(1, len(near) // _SAMPLED)])[0].min())
        near = near[self.box_distance_mm(near) <= most]
        return min(most, float(self.tree.query(near, distance_upper_bound=most)[0].min(initial=np.inf)))


def nearest_of(one: SurfaceCorners, others: Sequence[SurfaceCorners]) -> tuple[int, float] | None:
    """Which of others has the surface nearest to that of a mask, and its distance in mm; None of none.

    Of several that it touches, the one it shares most corners with; of several as far, the first.
    """
    if not others:
        return None
    shared = [one.shared_corners(other) for other in others]
    if max(shared) > 0:
        return int(np.argmax(shared)), 0.0
    least = [one.least_distance_mm(other) for other in others]
    best, nearest = np.inf, 0
    for number in np.argsort(least, kind="stable"):
        if least[number] > best:
            break
        distance = one.distance_mm(others[number])
        if distance < best * (1 - TIE):
            best, nearest = distance, int(number)
    return nearest, float(best)


def _corner_range(one: StructureMask) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last corner (k, j, i) of a mask's box; voxel n lies between corners n and n + 1."""
    low = np.array(one.offset)
    return low, low + one.mask.shape


def _voxels_around(one: StructureMask, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Bool, one more than corners along each axis: the voxels that meet in the corners `low` to `high`."""
    start, stop = low - 1, high + 1
    around = np.zeros(stop - start, bool)
    first = np.maximum(start, one.offset)
    last = np.minimum(stop, np.add(one.offset, one.mask.shape))
    there = tuple(slice(a, b) for a, b in zip(first - start, last - start, strict=True))
    here = tuple(slice(a, b) for a, b in zip(first - one.offset, last - one.offset, strict=True))
    around[there] = one.mask[here]
    return around


def _any_of_eight(voxels: np.ndarray) -> np.ndarray:
    """For each corner between voxels (k, j, i) whether one of the eight around it is True."""
    size = np.array(voxels.shape) - 1
    found = np.zeros(size, bool)
    for at in product((0, 1), repeat=3):
        found |= voxels[tuple(slice(start, start + length) for start, length in zip(at, size, strict=True))]
    return found
