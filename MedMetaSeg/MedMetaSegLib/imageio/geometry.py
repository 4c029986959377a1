"""Where a voxel grid lies in the patient: shape, spacing, orientation, and its anatomical axes.

Axis order is (k, j, i) for arrays, shapes, spacings, offsets and indices; world is RAS in millimetres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from types import EllipsisType

import numpy as np

Index3 = tuple[int, int, int]

LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""4x4: world of files and of ITK (LPS, mm) to the world used here (RAS, mm), and back."""

# Headers store directions as float32 or as rounded decimals; this much of a voxel is rounding, not geometry.
_DRIFT_VOXELS = 0.1
_TIE = 1e-6
_CARELESS = 1.5e-3
"""Cosine between axes up to which they are meant to be perpendicular: sforms are off by up to 1e-3."""


@dataclass(frozen=True)
class AxisMap:
    """Permutation and flips that reorient the axes of one grid to those of another; both ways are views."""

    shape: Index3
    order: Index3
    flipped: tuple[bool, bool, bool]

    @property
    def reoriented_shape(self) -> Index3:
        """Shape after `apply`."""
        return index3([self.shape[axis] for axis in self.order])

    def apply(self, array: np.ndarray) -> np.ndarray:
        """View of `array` (..., k, j, i) with its last three axes permuted, then flipped."""
        lead = array.ndim - 3
        reoriented = np.transpose(array, (*range(lead), *(lead + axis for axis in self.order)))
        return reoriented[self._flips()]

    def undo(self, array: np.ndarray) -> np.ndarray:
        """View of a reoriented `array` (..., k, j, i) with its last three axes as before `apply`."""
        lead = array.ndim - 3
        inverse = np.argsort(self.order)
        return np.transpose(array[self._flips()], (*range(lead), *(lead + int(a) for a in inverse)))

    def apply_offset(self, offset: Index3, size: Index3) -> Index3:
        """Offset, on the reoriented grid, of the block at `offset` with `size` voxels on the source grid."""
        ends = [self.shape[a] - offset[a] - size[a] for a in range(3)]
        axes = zip(self.order, self.flipped, strict=True)
        return index3([ends[axis] if flip else offset[axis] for axis, flip in axes])

    def undo_offset(self, offset: Index3, size: Index3) -> Index3:
        """Offset, on the source grid, of the block at `offset` with `size` voxels on the reoriented grid."""
        source = [0, 0, 0]
        for reoriented, (axis, flip) in enumerate(zip(self.order, self.flipped, strict=True)):
            start = offset[reoriented]
            source[axis] = self.shape[axis] - start - size[reoriented] if flip else start
        return index3(source)

    def _flips(self) -> tuple[EllipsisType | slice, ...]:
        return (..., *(slice(None, None, -1 if flip else 1) for flip in self.flipped))


@dataclass(frozen=True, eq=False)
class Geometry:
    """A voxel grid in space.

    shape: (k, j, i). affine: 4x4 float64, voxel index (i, j, k, 1) to RAS mm. Raises ValueError when the
    shape has an empty axis or the affine does not span three dimensions.
    """

    shape: Index3
    affine: np.ndarray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.all(np.isfinite(affine)):
            raise ValueError(f"The affine has to be a finite 4x4 matrix, not {affine!r}.")
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"The shape has to be three positive numbers, not {self.shape}.")
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if lengths.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
            raise ValueError(f"The affine has axes without length or in one plane: {affine.tolist()}.")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", index3(self.shape))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (k, j, i)."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(k), float(j), float(i)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres; sheared grids included."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def directions(self) -> np.ndarray:
        """3x3; the columns are the unit vectors of i, j and k in RAS."""
        columns = self.affine[:3, :3]
        return columns / np.linalg.norm(columns, axis=0)

    @property
    def axes(self) -> np.ndarray:
        """3x3; the columns are the unit vectors of k, j and i in RAS."""
        return self.directions[:, ::-1]

    @property
    def shear(self) -> float:
        """The largest cosine between two axes: 0 when they are perpendicular."""
        return float(np.abs(self.directions.T @ self.directions - np.eye(3)).max())

    @property
    def is_sheared(self) -> bool:
        """True when the axes are not perpendicular (a tilted gantry), by more than headers are careless."""
        return self.shear > _CARELESS

    @property
    def digest_bytes(self) -> bytes:
        """Equal for grids that differ by rounding only, whatever their spacing."""
        shortest = min(self.spacing_mm)
        return np.append(np.round(self.affine[:3] / shortest, 6) + 0.0, rounded(shortest, 6)).tobytes()

    def index_to_world(self, points_kji: np.ndarray) -> np.ndarray:
        """(N, 3) voxel indices (k, j, i), fractions allowed -> (N, 3) RAS mm."""
        points = np.asarray(points_kji, dtype=np.float64)[:, ::-1]
        return points @ self.affine[:3, :3].T + self.affine[:3, 3]

    def world_to_index(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) RAS mm -> (N, 3) voxel indices (k, j, i), as fractions."""
        centred = np.asarray(points, dtype=np.float64) - self.affine[:3, 3]
        return np.linalg.solve(self.affine[:3, :3], centred.T).T[:, ::-1]

    def contains(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) RAS mm -> (N,) bool, True inside the grid (half a voxel beyond the outer centres)."""
        index = self.world_to_index(points)
        return np.asarray(np.all((index >= -0.5) & (index < np.array(self.shape) - 0.5), axis=1))

    def same_grid(self, other: Geometry, tolerance: float = 1e-3) -> bool:
        """True when shapes agree and no corner is further than `tolerance` voxels from its counterpart."""
        if self.shape != other.shape:
            return False
        ends = corners(self.shape)
        return bool(np.abs(self.world_to_index(other.index_to_world(ends)) - ends).max() <= tolerance)

    def is_parallel(self, other: Geometry) -> bool:
        """True when each axis of `other` runs along an axis of this grid, whichever and either way round."""
        steps = np.linalg.solve(self.affine[:3, :3], other.affine[:3, :3])
        relative = np.abs(other.directions.T @ self.directions)
        main = np.zeros((3, 3), dtype=bool)
        for column, row in enumerate(_assignment(relative)):
            main[row, column] = True
        extent = np.array(other.shape[::-1], dtype=float)
        drift = np.abs(np.where(main, 0.0, steps)) * extent
        return bool(drift.max() <= _DRIFT_VOXELS)

    def cropped(self, offset: Sequence[int], shape: Sequence[int]) -> Geometry:
        """The block of `shape` voxels whose first voxel is at `offset`, which may lie outside the grid."""
        affine = self.affine.copy()
        affine[:3, 3] = self.index_to_world(np.array([offset], dtype=float))[0]
        return Geometry(index3(shape), affine)

    def canonical(self) -> tuple[Geometry, AxisMap]:
        """The grid with axes permuted and flipped to lie closest to k = I to S, j = P to A, i = L to R.

        The choice depends on where the axes point only, not on how they are stored: every storage of one
        grid, at 45 degrees too, gives the same canonical grid.
        """
        return self.aligned_to(np.eye(3))

    def aligned_to(self, directions: np.ndarray) -> tuple[Geometry, AxisMap]:
        """The grid with axes permuted and flipped to lie closest to `directions` (3x3, columns i, j, k)."""
        cosines = self.directions.T @ directions
        columns = _assignment(cosines)
        axes = [columns.index(target) for target in (2, 1, 0)]
        flips = [bool(cosines[axis, target] < 0) for axis, target in zip(axes, (2, 1, 0), strict=True)]
        axis_map = AxisMap(self.shape, index3([2 - axis for axis in axes]), (flips[0], flips[1], flips[2]))

        affine = np.eye(4)
        first = [0.0, 0.0, 0.0]
        for target, axis, flip in zip((2, 1, 0), axes, flips, strict=True):
            affine[:3, target] = -self.affine[:3, axis] if flip else self.affine[:3, axis]
            first[2 - axis] = self.shape[2 - axis] - 1 if flip else 0
        affine[:3, 3] = self.index_to_world(np.array([first]))[0]
        return Geometry(axis_map.reoriented_shape, affine), axis_map


def rounded(value: float, decimals: int) -> float:
    """A positive number with so many decimals, or as many significant digits where it is below 1."""
    if value <= 0:
        return round(value, decimals)
    return round(value, max(decimals, decimals - 1 - math.floor(math.log10(value))))


def index3(values: Sequence[int] | np.ndarray) -> Index3:
    """Three numbers of any integer kind as a tuple of int; a float is cut."""
    k, j, i = (int(value) for value in values)
    return k, j, i


def corners(shape: Sequence[int], offset: Sequence[int] = (0, 0, 0)) -> np.ndarray:
    """(8, 3) float: indices (k, j, i) of the corner voxels of a block of `shape` that starts at `offset`.

    The first is `offset` itself.
    """
    ends = ((start, start + size - 1) for start, size in zip(offset, shape, strict=True))
    return np.array(list(product(*ends)), dtype=float)


def _assignment(cosines: np.ndarray) -> tuple[int, int, int]:
    """For each row (own axis) the column (target axis) it takes, by the largest sum of |cos|.

    Equal sums, as at 45 degrees, are settled by the directions that result, so that the storage order of the
    axes has no say.
    """
    best: tuple[int, int, int] = (0, 1, 2)
    best_score = -1.0
    best_key: tuple[float, ...] = ()
    for chosen in permutations(range(3)):
        score = float(sum(abs(cosines[row, column]) for row, column in enumerate(chosen)))
        result = np.empty((3, 3))
        for row, column in enumerate(chosen):
            result[column] = cosines[row] * (-1.0 if cosines[row, column] < 0 else 1.0)
        key = tuple(np.round(result, 4).ravel().tolist())
        if score > best_score + _TIE or (score > best_score - _TIE and key > best_key):
            best, best_score, best_key = (chosen[0], chosen[1], chosen[2]), score, key
    return best
