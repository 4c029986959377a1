"""Size, shape and intensities of one structure, by the definitions of Slicer's Segment Statistics.

Surface area is ITK's (Crofton's formula on 13 directions, Lehmann and Legland 2012), which Segment Statistics
uses, too; where slices are much thicker than pixels it is too large, by up to 15 % for flat shapes across
them. The Feret diameter is the largest distance between the centres of two voxels, 0 for a single voxel.
Percentiles, the median among them, are values of voxels: the one above a share of all; Segment Statistics
takes them from a histogram and tells the lower end of the bin before, less than 1 for whole numbers.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from ..imageio.geometry import Geometry, corners, index3
from ..imageio.itk import to_sitk
from .measurements import IntensityStatistics

TIE = 1e-9
"""Share of a length by which another has to be longer: less is rounding."""
_CHUNK = 2_000_000
"""Distances between points that are held at a time."""
_FEW = 60
"""Points up to which all distances are less work than a convex hull."""


def intensity_statistics(values: np.ndarray) -> IntensityStatistics | None:
    """Statistics of the finite values (N,) of a structure; None without any.

    stdev has the divisor n - 1, and is 0 for a single value.
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    count = finite.size
    if count == 0:
        return None
    ranks = [count * percent // 100 for percent in (5, 50, 95)]
    low, median, high = np.partition(finite, ranks)[ranks].tolist()
    return IntensityStatistics(
        mean=float(finite.mean()),
        median=median,
        stdev=float(finite.std(ddof=1)) if count > 1 else 0.0,
        min=float(finite.min()),
        max=float(finite.max()),
        percentile_05=low,
        percentile_95=high,
    )


def centroid(mask: np.ndarray) -> np.ndarray:
    """(3,) mean index (k, j, i) of the voxels of a mask that has some."""
    total = np.count_nonzero(mask)
    means = []
    for axis, size in enumerate(mask.shape):
        others = tuple(other for other in range(3) if other != axis)
        means.append(np.count_nonzero(mask, axis=others) @ np.arange(size) / total)
    return np.array(means)


def surface_area_mm2(mask: np.ndarray, geometry: Geometry) -> float:
    """Surface area of a mask (k, j, i) on its grid, as ITK estimates it.

    ITK takes axes for perpendicular. On a sheared grid the mask is first brought to perpendicular axes, each
    voxel by its nearest.
    """
    image = to_sitk(mask.astype(np.uint8), geometry)
    if geometry.is_sheared:
        image = _on_perpendicular_axes(image, geometry)
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.ComputePerimeterOn()
    shape.Execute(image)
    return float(shape.GetPerimeter(1))


def feret_diameter_mm(mask: np.ndarray, geometry: Geometry) -> float:
    """The largest distance between the centres of two voxels of a mask (k, j, i) on its grid."""
    points = _row_ends(mask)
    points_mm = points @ geometry.affine[:3, 2::-1].T
    extreme = points_mm[extreme_points(points_mm)]
    return farthest_pair(extreme)[2]


def farthest_pair(points_mm: np.ndarray) -> tuple[int, int, float]:
    """The two of (N, D) points that lie farthest apart, the first ones of several, and their distance."""
    best, pair = 0.0, (0, 0)
    step = max(1, _CHUNK // len(points_mm))
    for start in range(0, len(points_mm), step):
        distances = cdist(points_mm[start : start + step], points_mm)
        longest = float(distances.max())
        if longest > best * (1 + TIE):
            first = int(np.argmax(distances >= longest * (1 - TIE)))
            row, column = divmod(first, len(points_mm))
            best, pair = float(distances[row, column]), (start + row, column)
    return *pair, best


def extreme_points(points_mm: np.ndarray) -> np.ndarray:
    """Indices, ascending, of points among which the two of (N, D) that lie farthest apart are."""
    if len(points_mm) <= _FEW:
        return np.arange(len(points_mm))
    spread = points_mm - points_mm.mean(axis=0)
    _, sizes, axes = np.linalg.svd(spread, full_matrices=False)
    rank = int(np.count_nonzero(sizes > sizes[0] * TIE))
    along = spread @ axes[:rank].T
    if rank == 1:
        return np.unique([along.argmin(), along.argmax()])
    return np.sort(ConvexHull(along).vertices)


def _row_ends(mask: np.ndarray) -> np.ndarray:
    """(N, 3) indices (k, j, i) of the first and the last voxel of each row, some twice: corners are there."""
    rows = np.argwhere(mask.any(axis=2))
    filled = mask[rows[:, 0], rows[:, 1]]
    first = filled.argmax(axis=1)
    last = mask.shape[2] - 1 - filled[:, ::-1].argmax(axis=1)
    return np.concatenate([np.column_stack([rows, first]), np.column_stack([rows, last])])


def _on_perpendicular_axes(image: sitk.Image, geometry: Geometry) -> sitk.Image:
    """An image of a sheared grid on one whose slices are the same, with perpendicular axes."""
    perpendicular, steps = np.linalg.qr(geometry.affine[:3, :3])
    spacing = np.abs(np.diag(steps))
    axes = perpendicular * np.sign(np.diag(steps))
    ends = geometry.index_to_world(corners(geometry.shape)) @ axes / spacing
    low = np.floor(ends.min(axis=0) + TIE) - 1
    size = np.ceil(ends.max(axis=0) - low - TIE) + 2
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * spacing, axes @ (low * spacing)
    target = Geometry(index3(size[::-1]), affine)
    reference = to_sitk(np.zeros(target.shape, np.uint8), target)
    return sitk.Resample(image, reference, sitk.Transform(), sitk.sitkNearestNeighbor)
