"""Closed contours filled on a grid: a voxel is inside where its centre is, by the even-odd rule.

All contours of a structure on one slice count together: one within another is a hole, one within that an
island. Each is cut at the voxels' centres alone, so that an edge that runs through centres gives them to the
side of larger indices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..imageio.geometry import Geometry, Index3, index3
from .label_values import SupportProblem

_OFF = 0.2
"""Fraction of the distance of slices that a contour may lie off its slice: slices need not be quite even."""
_DECIMALS = 6
"""Of places in voxels: what differs by less is rounding."""
_HALF_VOXEL = 0.501


@dataclass(frozen=True, eq=False)
class FilledContours:
    """What the contours of a structure enclose.

    offset, mask: as of `StructureMask`. outside: contours that lie outside the grid, all or in part; what is
    outside is not in the mask. crossing: slices on which contours cross or repeat each other.
    """

    offset: Index3
    mask: np.ndarray
    outside: int
    crossing: int


def filled(name: str, contours: Sequence[np.ndarray], geometry: Geometry) -> FilledContours:
    """Fill the contours of a structure, each (n, 3) mm RAS with n >= 3, on a grid.

    name: of the structure, for messages. A contour lies on one slice, of any of the grid's three planes.
    Raises SupportProblem for one between two slices, or in no such plane.
    """
    by_slice, outside = _by_slice(name, contours, geometry)
    if not by_slice:
        return FilledContours((0, 0, 0), np.zeros((0, 0, 0), bool), outside, 0)
    start, stop = _box(by_slice, geometry.shape)
    mask, crossing = np.zeros(tuple(np.subtract(stop, start)), bool), 0
    for (axis, number), polygons in by_slice.items():
        rows, columns = _in_plane(axis)
        first = np.array([start[rows], start[columns]])
        plane = np.moveaxis(mask, axis, 0)[number - start[axis]]
        there = [one - first for one in polygons]
        plane |= _even_odd(there, plane.shape)
        crossing += _cross(there, plane.shape)
    return FilledContours(index3(start), mask, outside, crossing)


def _in_plane(axis: int) -> tuple[int, int]:
    """The axes along rows and columns of a slice across `axis`."""
    rows, columns = (one for one in range(3) if one != axis)
    return rows, columns


def _by_slice(
    name: str, contours: Sequence[np.ndarray], geometry: Geometry
) -> tuple[dict[tuple[int, int], list[np.ndarray]], int]:
    """The contours of each slice (axis, number), (n, 2) voxels along its rows and columns, and how many
    contours lie outside the grid, all or in part.
    """
    by_slice: dict[tuple[int, int], list[np.ndarray]] = {}
    outside = 0
    size = np.array(geometry.shape)
    for contour in contours:
        places = np.round(geometry.world_to_index(contour), _DECIMALS)
        outside += bool(np.any((places < -_HALF_VOXEL) | (places > size - 1 + _HALF_VOXEL)))
        axis = int(np.ptp(places, axis=0).argmin())
        height = places[:, axis]
        number = int(np.rint(height.mean()))
        if not 0 <= number < size[axis]:
            continue
        _check_on_slice(name, height, number)
        by_slice.setdefault((axis, number), []).append(places[:, _in_plane(axis)])
    return by_slice, outside


def _check_on_slice(name: str, height: np.ndarray, number: int) -> None:
    """Raise SupportProblem unless a contour at `height`, in voxels, lies on the slice of that number."""
    off = float(np.abs(height - number).max())
    if off <= _OFF:
        return
    if np.ptp(height) > 2 * _OFF:
        where = "that lies in no plane of the image's slices"
    else:
        where = f"between slices of the image ({off:.2g} of their distance off slice {number})"
    raise SupportProblem(f"{name} has a contour {where}; give the image it was drawn on.")


def _box(by_slice: dict[tuple[int, int], list[np.ndarray]], shape: Index3) -> tuple[list[int], list[int]]:
    """First and last voxel, the last excluded, of a box inside a grid that holds what contours enclose."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for (axis, number), polygons in by_slice.items():
        points = np.concatenate(polygons)
        plane = list(_in_plane(axis))
        low[axis], high[axis] = min(low[axis], number), max(high[axis], number)
        low[plane] = np.minimum(low[plane], points.min(axis=0))
        high[plane] = np.maximum(high[plane], points.max(axis=0))
    start = [int(min(max(np.ceil(one), 0), size)) for one, size in zip(low, shape, strict=True)]
    stop = [int(min(max(np.floor(one) + 1, 0), size)) for one, size in zip(high, shape, strict=True)]
    return start, [max(one, other) for one, other in zip(start, stop, strict=True)]


def _even_odd(polygons: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The voxels (row, column), bool, from whose centres a line along the row crosses polygons an odd number
    of times. polygons: (n, 2) in voxels, row and column.
    """
    rows, columns = shape
    points = np.concatenate(polygons)
    after = np.concatenate([np.roll(one, -1, axis=0) for one in polygons])
    # Both ways along one edge are computed alike, so that the two sides of a keyhole cancel to the last bit.
    upward = (points[:, 0] <= after[:, 0])[:, None]
    low, high = np.where(upward, points, after), np.where(upward, after, points)
    first = np.clip(np.ceil(low[:, 0]), 0, rows).astype(int)
    count = np.clip(np.ceil(high[:, 0]), 0, rows).astype(int) - first
    edge = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    share = (row - low[edge, 0]) / (high[edge, 0] - low[edge, 0])
    crossed = low[edge, 1] + share * (high[edge, 1] - low[edge, 1])
    column = np.clip(np.ceil(np.round(crossed, _DECIMALS)), 0, columns).astype(int)
    crossings = np.bincount(row * (columns + 1) + column, minlength=rows * (columns + 1))
    odd = (crossings & 1).astype(bool).reshape(rows, columns + 1)[:, :-1]
    return np.logical_xor.accumulate(odd, axis=1)


def _cross(polygons: Sequence[np.ndarray], shape: tuple[int, ...]) -> bool:
    """Whether two polygons of a slice share voxels, and neither lies within the other."""
    if len(polygons) < 2:
        return False
    masks = [_even_odd([one], shape) for one in polygons]
    if np.sum(masks, axis=0, dtype=np.int32).max(initial=0) < 2:
        return False
    for one, other in combinations(masks, 2):
        common, sizes = np.count_nonzero(one & other), (np.count_nonzero(one), np.count_nonzero(other))
        if common and (common < min(sizes) or sizes[0] == sizes[1]):
            return True
    return False
