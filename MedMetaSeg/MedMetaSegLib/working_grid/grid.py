"""The working grid: where the network looks for one structure, at a spacing that suits it, and the way back.

A working grid is parallel to the frame (the grid that was drawn on), with the drawing axis first. Its corners
lie on a lattice of the frame and its spacing on a ladder, so that painting a little more usually leaves the
grid as it was and what the encoder made of the image can be used again, with the same result as if it had
been made anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK as sitk

from ..imageio.geometry import Geometry
from ..imageio.volume import Volume, to_sitk
from ..support.structure import AnnotatedStructure, drawn_in_parts
from .intensity import IntensityNormalization
from .margins import STRIDE, margins

SMALL_PART_MM = 15.0
"""Parts up to this thickness are small: lesions and vessels, not loops of bowel, where it is only slow."""
FINEST = 1 / 1.5
"""Of the drawn voxels: finer grids would only interpolate."""
_LADDER = 2.0**0.25
_SNAP = 4


@dataclass(frozen=True)
class Detail:
    """How fine working grids are.

    across: working voxels that the thickest part of a structure should have across; along: that it should at
    most have from end to end, unless it is thin; voxels: of a grid, whose spacing gets coarser above it; the
    other two are the same for a structure drawn in many small parts.
    """

    across: float
    along: float
    voxels: int
    along_in_parts: float
    voxels_in_parts: int


DETAILS = {
    "fast": Detail(8.0, 48.0, 64**3, 72.0, 88**3),
    "balanced": Detail(12.0, 72.0, 96**3, 110.0, 128**3),
    "best": Detail(16.0, 96.0, 128**3, 110.0, 128**3),
}
BALANCED = DETAILS["balanced"]


@dataclass(frozen=True)
class WorkingGrid:
    """order: axes of the frame, the drawing axis first; start and step (3,): the frame's index of the first
    working voxel and of its distance to the next, along `order`; shape: working voxels, each a multiple of
    the stride.
    """

    frame: Geometry
    order: tuple[int, int, int]
    start: tuple[float, float, float]
    step: tuple[float, float, float]
    shape: tuple[int, int, int]

    @cached_property
    def geometry(self) -> Geometry:
        """The grid in the world; its axis 0 is the drawing axis."""
        to_frame = np.eye(4)
        to_frame[:3, :3] = 0
        for axis, frame_axis in enumerate(self.order):
            to_frame[2 - frame_axis, 2 - axis] = self.step[axis]
            to_frame[2 - frame_axis, 3] = self.start[axis]
        return Geometry(self.shape, self.frame.affine @ to_frame)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Along the drawing axis and in the plane, millimetres."""
        spacing = self.frame.spacing_mm
        return tuple(float(spacing[f] * s) for f, s in zip(self.order, self.step, strict=True))  # type: ignore[return-value]

    @property
    def in_plane_mm(self) -> float:
        """The unit of in-plane lengths: the geometric mean of the two in-plane spacings."""
        return math.sqrt(self.spacing_mm[1] * self.spacing_mm[2])

    @property
    def aspect(self) -> float:
        """Slice spacing over in-plane spacing."""
        return self.spacing_mm[0] / self.in_plane_mm

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for grids that sample the same points."""
        return (self.frame.affine.tobytes(), self.order, self.start, self.step, self.shape)

    def to_working(self, index: np.ndarray, axis: int) -> np.ndarray:
        """Frame indices along `order[axis]` as (fractional) working indices."""
        return (np.asarray(index, float) - self.start[axis]) / self.step[axis]

    def to_frame(self, index: np.ndarray, axis: int) -> np.ndarray:
        """Working indices as (fractional) frame indices along `order[axis]`."""
        return np.asarray(index, float) * self.step[axis] + self.start[axis]


@dataclass(frozen=True)
class Bounds:
    """Frame indices between which the image lies, (3,) each, in the frame's axis order."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, image: Geometry, frame: Geometry) -> Bounds:
        """The box of the image's corner voxels in the frame."""
        corners = np.array([[k, j, i] for k in (0, 1) for j in (0, 1) for i in (0, 1)]) * (
            np.array(image.shape) - 1
        )
        inside = frame.world_to_index(image.index_to_world(corners))
        return cls(inside.min(0).round(6), inside.max(0).round(6))


def working_grid(
    painted: AnnotatedStructure,
    frame: Geometry,
    bounds: Bounds,
    reach: np.ndarray | None = None,
    detail: Detail = BALANCED,
) -> WorkingGrid:
    """The grid on which a structure is looked for.

    reach: (2, 3) factors on the margins before and after along the drawing axis and in the plane; 1 at first,
    larger where a prediction touched the border.
    """
    drawing = painted.axis if painted.axis is not None else 0
    order = (drawing, *(axis for axis in range(3) if axis != drawing))
    spacing = np.array([frame.spacing_mm[axis] for axis in order])
    offset = np.array([painted.offset[axis] for axis in order], float)
    extent = np.array([painted.mask.shape[axis] for axis in order], float)
    low_bound, high_bound = (np.array([b[axis] for axis in order]) for b in (bounds.low, bounds.high))
    reach = np.ones((2, 3)) if reach is None else reach
    thickness = _thickness(painted, spacing, drawing)
    in_parts = thickness <= SMALL_PART_MM and drawn_in_parts(painted.mask)
    along, most = (
        (detail.along_in_parts, detail.voxels_in_parts) if in_parts else (detail.along, detail.voxels)
    )
    wanted = _wanted_spacing(spacing, float((extent * spacing).max()) / along, thickness / detail.across)
    while True:
        step = _steps(wanted, spacing)
        aspect = step[0] * spacing[0] / math.sqrt(step[1] * spacing[1] * step[2] * spacing[2])
        slices = np.array(painted.slices or (offset[0], offset[0] + extent[0] - 1)) / step[0]
        size = np.maximum(extent / step, 1)
        before, after = margins(tuple(np.ceil(size).astype(int)), np.unique(slices).tolist(), aspect)
        low = np.maximum(offset - before * reach[0] * step, low_bound)
        high = np.minimum(offset + extent - 1 + after * reach[1] * step, high_bound)
        first = np.floor(low / step / _SNAP) * _SNAP
        number = np.ceil(high / step) - first + 1
        shape = np.maximum(np.ceil(number / STRIDE) * STRIDE, 16).astype(int)
        if shape.prod() <= most:
            break
        wanted *= _LADDER
    start = first * step
    return WorkingGrid(
        frame,
        (order[0], order[1], order[2]),
        tuple(start.tolist()),
        tuple(step.tolist()),
        tuple(shape.tolist()),
    )


def _wanted_spacing(spacing: np.ndarray, whole: float, fine: float) -> float:
    """In-plane spacing on the ladder, mm: coarse enough to see the whole, fine enough for the thickness."""
    pixel = math.sqrt(spacing[1] * spacing[2])
    wanted = min(whole, fine)
    finest = pixel if fine >= pixel else max(fine, pixel * FINEST)
    if wanted <= finest:
        return finest if finest == pixel else pixel * _LADDER ** round(math.log(finest / pixel, _LADDER))
    return pixel * _LADDER ** math.floor(math.log(wanted / pixel, _LADDER) + 1e-6)


def _thickness(painted: AnnotatedStructure, spacing: np.ndarray, drawing: int) -> float:
    """Diameter of the largest circle in any drawn slice, millimetres."""
    planes = np.moveaxis(painted.mask, drawing, 0)
    planes = planes[planes.any((1, 2))][:16]
    image = sitk.GetImageFromArray(np.pad(planes, ((0, 0), (1, 1), (1, 1))).astype(np.uint8))
    widest = 0.0
    for k in range(image.GetDepth()):
        plane = image[:, :, k]
        plane.SetSpacing((float(spacing[2]), float(spacing[1])))
        distance = sitk.SignedMaurerDistanceMap(
            plane, insideIsPositive=True, squaredDistance=False, useImageSpacing=True
        )
        widest = max(widest, float(sitk.GetArrayViewFromImage(distance).max()))
    return 2 * widest + float(min(spacing[1:]))


def _steps(wanted_mm: float, spacing: np.ndarray) -> np.ndarray:
    """Frame voxels per working voxel for an in-plane spacing; thick slices are kept as they are."""
    pixel = math.sqrt(spacing[1] * spacing[2])
    step = np.full(3, wanted_mm / pixel)
    step[0] = min(1.0, wanted_mm / pixel) if spacing[0] >= wanted_mm else wanted_mm / spacing[0]
    return step


def sampled_image(volume: Volume, grid: WorkingGrid, rule: IntensityNormalization) -> np.ndarray:
    """The image (k, j, i) float32 on a working grid, linear, smoothed first where that grid is coarser.

    Outside the image the nearest voxel is repeated.
    """
    crop, offset = _covering(volume.geometry, grid.geometry)
    array = volume.array[crop].astype(np.float32)
    np.clip(array, rule.low, rule.high, out=array)
    image = to_sitk(array, volume.geometry.cropped(offset, array.shape))
    for axis, ratio in enumerate(_coarsening(volume.geometry, grid.geometry)):
        length = image.GetSize()[2 - axis]
        if ratio > 1.05 and length >= 4:
            sigma = 0.45 * math.sqrt(ratio**2 - 1) * image.GetSpacing()[2 - axis]
            image = sitk.RecursiveGaussian(
                image, sigma, False, sitk.RecursiveGaussianImageFilter.ZeroOrder, 2 - axis
            )
    resample = sitk.ResampleImageFilter()
    resample.SetInterpolator(sitk.sitkLinear)
    resample.UseNearestNeighborExtrapolatorOn()
    return _resampled(resample, image, grid.geometry)


def sampled_back(
    values: np.ndarray, grid: WorkingGrid, target: Geometry, outside: float
) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Values (k, j, i) of a working grid, linear, on the voxels of `target` it covers, and where they are."""
    where, offset = _covering(target, grid.geometry, margin=0)
    shape = tuple(s.stop - s.start for s in where)
    resample = sitk.ResampleImageFilter()
    resample.SetInterpolator(sitk.sitkLinear)
    resample.SetDefaultPixelValue(outside)
    image = to_sitk(values.astype(np.float32, copy=False), grid.geometry)
    return _resampled(resample, image, target.cropped(offset, shape)), where


def _resampled(resample: sitk.ResampleImageFilter, image: sitk.Image, target: Geometry) -> np.ndarray:
    like = to_sitk(np.zeros((1, 1, 1), np.uint8), Geometry((1, 1, 1), target.affine))
    resample.SetOutputOrigin(like.GetOrigin())
    resample.SetOutputSpacing(like.GetSpacing())
    resample.SetOutputDirection(like.GetDirection())
    resample.SetSize(target.shape[::-1])
    return sitk.GetArrayFromImage(resample.Execute(image))


def _covering(
    image: Geometry, region: Geometry, margin: int = 3
) -> tuple[tuple[slice, ...], tuple[int, int, int]]:
    """The slices of `image`, and their first voxel, that hold the corners of another grid."""
    corners = np.array([[k, j, i] for k in (0, 1) for j in (0, 1) for i in (0, 1)]) * (
        np.array(region.shape) - 1
    )
    inside = image.world_to_index(region.index_to_world(corners))
    last = np.array(image.shape) - 1
    low = np.clip(np.floor(inside.min(0) + 1e-6) - margin, 0, last).astype(int)
    high = np.clip(np.ceil(inside.max(0) - 1e-6) + margin, 0, last).astype(int)
    where = tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))
    return where, (int(low[0]), int(low[1]), int(low[2]))


def _coarsening(image: Geometry, grid: Geometry) -> np.ndarray:
    """For each image axis (k, j, i), how many of its voxels the most parallel working axis steps over."""
    cosines = np.abs(image.directions.T @ grid.directions)[::-1, ::-1]
    along = np.array(grid.spacing_mm)[cosines.argmax(1)]
    return along / np.array(image.spacing_mm)
