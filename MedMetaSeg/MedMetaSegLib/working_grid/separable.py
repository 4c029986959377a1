"""Resampling between parallel grids: along one axis after the other, each step a product with a matrix.

Most of a matrix is zero, and products are those of sparse matrices. Numpy's own products are avoided: the
threads of its library stay busy for a while after each one, on cores on which other structures are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import sparse

from ..imageio.geometry import Geometry, Index3, index3

_PARALLEL_VOXELS = 1e-3
"""Voxels of the source by which the lines of a parallel grid may be off, at most."""
_NEGLIGIBLE = 1e-10
"""Weight of a voxel below which it is left out: far tails become denormal numbers in single precision, with
which a product takes ten times as long.
"""
_PIECE = 2**19
"""Voxels, about, that are turned into single precision at a time."""


@dataclass(frozen=True, eq=False)
class AxisPositions:
    """Where the voxels of a parallel grid lie on another one, the source.

    order: for each axis of the grid, the axis of the source that it runs along; indices: the source's
    (fractional) indices of its voxels along that axis, one array for each axis of the grid.
    """

    order: Index3
    indices: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def of(cls, grid: Geometry, source: Geometry) -> AxisPositions | None:
        """None when the two grids are not parallel."""
        to_source = np.linalg.solve(source.affine, grid.affine)
        steps, start = to_source[2::-1, 2::-1], to_source[2::-1, 3]
        order = np.abs(steps).argmax(axis=0)
        if len(set(order.tolist())) < 3:
            return None
        axes = np.arange(3)
        aside = np.abs(steps) * (np.array(grid.shape) - 1)
        aside[order, axes] = 0
        if aside.sum(axis=1).max() > _PARALLEL_VOXELS:
            return None
        k, j, i = (start[order[a]] + steps[order[a], a] * np.arange(grid.shape[a]) for a in axes)
        return cls(index3(order), (k, j, i))


def interpolation_matrix(indices: np.ndarray, length: int) -> np.ndarray:
    """(len(indices), length) float64: linear interpolation at (fractional) indices along an axis.

    Beyond the first and the last of `length` samples that one is repeated.
    """
    inside = np.clip(indices, 0, length - 1)
    low = np.minimum(inside.astype(int), max(length - 2, 0))
    rows = np.arange(len(indices))
    matrix = np.zeros((len(indices), length))
    matrix[rows, low] = 1 - (inside - low)
    matrix[rows, np.minimum(low + 1, length - 1)] += inside - low
    return matrix


def smoothing_matrix(sigma: float, length: int) -> np.ndarray:
    """(length, length) float64: ITK's recursive Gaussian along an axis of 4 voxels or more; sigma in them."""
    impulses = sitk.GetImageFromArray(np.eye(length))
    order = sitk.RecursiveGaussianImageFilter.ZeroOrder
    matrix = sitk.GetArrayFromImage(sitk.RecursiveGaussian(impulses, sigma, False, order, 0)).T.astype(float)
    matrix[np.abs(matrix) < _NEGLIGIBLE] = 0
    return matrix


def lies_within(indices: np.ndarray, length: int) -> np.ndarray:
    """Which (fractional) indices lie in one of `length` voxels along an axis; bool, of their shape."""
    return (indices >= -0.5) & (indices < length - 0.5)


def resampled(
    array: np.ndarray,
    order: Index3,
    matrices: Sequence[np.ndarray],
    limits: tuple[float, float] | None = None,
) -> np.ndarray:
    """The array (k, j, i), its axes in `order`, times one matrix along each of them; float32.

    matrices: (new length, length) each. limits: that values are cut to first. The array is turned into
    float32 piece by piece, so that a large one of integers is never copied as a whole.
    """
    array = np.transpose(array, order)
    first, second, third = (sparse.csr_array(matrix.astype(np.float32)) for matrix in matrices)
    length, rows, columns = array.shape
    result = np.empty((rows, first.shape[0], third.shape[0]), np.float32)
    step = max(1, _PIECE // (length * columns))
    for row in range(0, rows, step):
        piece = np.array(array[:, row : row + step], np.float32, order="C")
        if limits is not None:
            np.clip(piece, *limits, out=piece)
        fewer = _along_first(first, piece).transpose(2, 1, 0)
        result[row : row + step] = _along_first(third, fewer).transpose(1, 2, 0)
    return np.ascontiguousarray(_along_first(second, result).transpose(1, 0, 2))


def _along_first(matrix: sparse.csr_array, values: np.ndarray) -> np.ndarray:
    """The matrix (m, n) times values (n, a, b): (m, a, b)."""
    return (matrix @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:])
