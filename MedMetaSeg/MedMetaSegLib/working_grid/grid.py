"""The working grid: where the network looks for one structure, at a spacing that suits it, and the way back.

A working grid is parallel to the reference grid (the one that was annotated), with the drawing axis first.
Its corners lie on a lattice of the reference grid and its spacing on a ladder, so that annotating a little
more usually leaves the grid as it was and what the encoder made of the image can be used again, with the same
result as if it had been made anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK as sitk
from scipy import sparse

from ..imageio.geometry import Geometry, Index3, corners, index3
from ..imageio.volume import Volume, to_sitk
from ..network import STRIDE
from ..stages import stage
from ..support.parts import annotated_in_parts
from ..support.structure import AnnotatedStructure, bounding_box, filled_slices
from .intensity import IntensityNormalization
from .margins import margins
from .separable import (
    AxisPositions,
    interpolation_matrix,
    lies_within,
    resampled,
    smoothing_matrix,
)

SMALL_PART_MM = 15.0
"""Thickness, mm, up to which parts are small: lesions and vessels, not bowel, where detail is only slow."""
FINEST = 1 / 1.5
"""Smallest in-plane spacing over that of the reference grid: finer grids would only interpolate."""
OUTSIDE_LOGIT = -20.0
"""Logit of what lies outside a working grid: surely not the structure."""
_LADDER = 2.0**0.25
"""Ratio of one in-plane spacing that a working grid may have to the next."""
_THIN_VOXELS = 96**3
"""Voxels of a grid, above which its spacing gets coarser however thin the structure is."""
_SNAP = 4
"""Working voxels between the places on which a working grid may begin."""
_SHORTEST = 4
"""Voxels along an axis that a recursive Gaussian needs."""
_ANTIALIASED = 1.05
"""Coarsening from which on an image is smoothed before it is resampled."""


@dataclass(frozen=True)
class Detail:
    """How fine working grids are.

    across: working voxels that the thickest part of a structure should have across; along: that it should at
    most have from end to end, unless it is thin; voxels: of a grid, whose spacing gets coarser above it as
    long as `least_across` voxels are left across the thickest part; along_in_parts, voxels_in_parts: the same
    for a structure annotated in many small parts, which may be less across.
    """

    across: float
    along: float
    voxels: int
    along_in_parts: float
    voxels_in_parts: int
    least_across: float = 0.0


DETAILS = {
    "fast": Detail(across=8.0, along=48.0, voxels=64**3, along_in_parts=72.0, voxels_in_parts=88**3),
    "balanced": Detail(
        across=11.0,
        along=66.0,
        voxels=80**3,
        along_in_parts=110.0,
        voxels_in_parts=128**3,
        least_across=6.0,
    ),
    "best": Detail(across=16.0, along=96.0, voxels=128**3, along_in_parts=110.0, voxels_in_parts=128**3),
}
BALANCED = DETAILS["balanced"]
FINER = Detail(across=12.0, along=72.0, voxels=96**3, along_in_parts=110.0, voxels_in_parts=128**3)
"""Instead of the balanced one where a single slice is annotated, from which a structure is followed far; and
of the grids that embeddings are read on, so that those that were kept can be compared.
"""


@dataclass(frozen=True)
class WorkingGrid:
    """Where the network looks for one structure.

    order: axes of the reference grid, the drawing axis first; start and step (3,): the reference grid's index
    of the first working voxel and of its distance to the next, along `order`; shape: working voxels, each a
    multiple of the stride.
    """

    reference_grid: Geometry
    order: tuple[int, int, int]
    start: tuple[float, float, float]
    step: tuple[float, float, float]
    shape: tuple[int, int, int]

    @cached_property
    def geometry(self) -> Geometry:
        """The grid in the world; its axis 0 is the drawing axis."""
        to_reference = np.eye(4)
        to_reference[:3, :3] = 0
        for axis, reference_axis in enumerate(self.order):
            to_reference[2 - reference_axis, 2 - axis] = self.step[axis]
            to_reference[2 - reference_axis, 3] = self.start[axis]
        return Geometry(self.shape, self.reference_grid.affine @ to_reference)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Along the drawing axis and in the plane, millimetres."""
        spacing = self.reference_grid.spacing_mm
        return tuple(float(spacing[a] * s) for a, s in zip(self.order, self.step, strict=True))  # type: ignore[return-value]

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
        return (self.reference_grid.affine.tobytes(), self.order, self.start, self.step, self.shape)

    def to_working(self, index: np.ndarray, axis: int) -> np.ndarray:
        """Indices of the reference grid along `order[axis]` as (fractional) working indices."""
        return (np.asarray(index, float) - self.start[axis]) / self.step[axis]

    def to_reference(self, index: np.ndarray, axis: int) -> np.ndarray:
        """Working indices as (fractional) indices of the reference grid along `order[axis]`."""
        return np.asarray(index, float) * self.step[axis] + self.start[axis]


@dataclass(frozen=True)
class Bounds:
    """Indices of the reference grid between which the image lies, (3,) each, in its axis order."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, image: Geometry, reference_grid: Geometry) -> Bounds:
        """The box of the image's corner voxels on the reference grid."""
        inside = reference_grid.world_to_index(image.index_to_world(corners(image.shape)))
        return cls(inside.min(0).round(6), inside.max(0).round(6))


def detail_of(annotated: AnnotatedStructure, quality: str) -> Detail:
    """How fine the grid of a structure is. quality: a key of DETAILS."""
    return FINER if quality == "balanced" and len(annotated.slices) == 1 else DETAILS[quality]


@stage("grid")
def working_grid(
    annotated: AnnotatedStructure,
    reference_grid: Geometry,
    bounds: Bounds,
    margin_factors: np.ndarray | None = None,
    detail: Detail = BALANCED,
) -> WorkingGrid:
    """The grid on which a structure is looked for.

    margin_factors: (2, 3), on the margins before and after along the drawing axis and in the plane; 1 at
    first, larger where a prediction touched the border.
    """
    drawing = annotated.axis if annotated.axis is not None else 0
    order = (drawing, *(axis for axis in range(3) if axis != drawing))
    spacing = np.array([reference_grid.spacing_mm[axis] for axis in order])
    offset = np.array([annotated.offset[axis] for axis in order], float)
    extent = np.array([annotated.mask.shape[axis] for axis in order], float)
    low_bound, high_bound = (np.array([b[axis] for axis in order]) for b in (bounds.low, bounds.high))
    factors = np.ones((2, 3)) if margin_factors is None else margin_factors
    thickness = _thickness(annotated, spacing, drawing)
    in_parts = thickness <= SMALL_PART_MM and annotated_in_parts(annotated.on_slices)
    along, most = (
        (detail.along_in_parts, detail.voxels_in_parts) if in_parts else (detail.along, detail.voxels)
    )
    wanted = _wanted_spacing(spacing, float((extent * spacing).max()) / along, thickness / detail.across)
    while True:
        step = _steps(wanted, spacing)
        aspect = step[0] * spacing[0] / math.sqrt(step[1] * spacing[1] * step[2] * spacing[2])
        slices = np.array(annotated.slices or (offset[0], offset[0] + extent[0] - 1)) / step[0]
        size = np.maximum(extent / step, 1)
        before, after = margins(tuple(np.ceil(size).astype(int)), np.unique(slices).tolist(), aspect)
        low = np.maximum(offset - before * factors[0] * step, low_bound)
        high = np.minimum(offset + extent - 1 + after * factors[1] * step, high_bound)
        first = np.floor(low / step / _SNAP) * _SNAP
        number = np.ceil(high / step) - first + 1
        shape = np.maximum(np.ceil(number / STRIDE) * STRIDE, 16).astype(int)
        # A sheet that is seen too coarsely breaks.
        breaks = not in_parts and thickness < detail.least_across * wanted * _LADDER
        if shape.prod() <= (_THIN_VOXELS if breaks else most):
            break
        wanted *= _LADDER
    start = first * step
    return WorkingGrid(
        reference_grid,
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


def _thickness(annotated: AnnotatedStructure, spacing: np.ndarray, drawing: int) -> float:
    """Diameter of the largest circle in any annotated slice, millimetres."""
    planes = np.moveaxis(annotated.on_slices, drawing, 0)
    planes = planes[filled_slices(planes, 0)][:16]
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
    """Reference voxels per working voxel for an in-plane spacing; thick slices stay as they are."""
    pixel = math.sqrt(spacing[1] * spacing[2])
    step = np.full(3, wanted_mm / pixel)
    step[0] = min(1.0, wanted_mm / pixel) if spacing[0] >= wanted_mm else wanted_mm / spacing[0]
    return step


@stage("grid")
def sampled_image(volume: Volume, grid: WorkingGrid, rule: IntensityNormalization) -> np.ndarray:
    """The image (k, j, i) float32 on a working grid, linear, smoothed first where that grid is coarser.

    Outside the image the nearest voxel is repeated.
    """
    crop, offset = _covering(volume.geometry, grid.geometry)
    array = volume.array[crop]
    source = volume.geometry.cropped(offset, array.shape)
    sigmas = [
        float(sigma) if length >= _SHORTEST else 0.0
        for sigma, length in zip(
            antialias_sigma(_coarsening(volume.geometry, grid.geometry)), array.shape, strict=True
        )
    ]
    positions = AxisPositions.of(grid.geometry, source)
    if positions is None:
        return _sampled_aslant(array, source, grid.geometry, sigmas, rule)
    matrices = []
    for axis, indices in zip(positions.order, positions.indices, strict=True):
        matrix = interpolation_matrix(indices, array.shape[axis])
        if sigmas[axis]:
            matrix = sparse.csr_array(matrix) @ smoothing_matrix(sigmas[axis], array.shape[axis])
        matrices.append(matrix)
    return resampled(array, positions.order, matrices, (rule.low, rule.high))


def _sampled_aslant(
    array: np.ndarray,
    source: Geometry,
    target: Geometry,
    sigmas: Sequence[float],
    rule: IntensityNormalization,
) -> np.ndarray:
    """As `sampled_image` from an array (k, j, i) on `source`, on a target that need not be parallel to it."""
    image = to_sitk(np.clip(array.astype(np.float32), rule.low, rule.high), source)
    for axis, sigma in enumerate(sigmas):
        if sigma:
            image = sitk.RecursiveGaussian(
                image,
                sigma * image.GetSpacing()[2 - axis],
                False,
                sitk.RecursiveGaussianImageFilter.ZeroOrder,
                2 - axis,
            )
    resample = sitk.ResampleImageFilter()
    resample.SetInterpolator(sitk.sitkLinear)
    resample.UseNearestNeighborExtrapolatorOn()
    return _resampled(resample, image, target)


def antialias_sigma(coarsening: float | np.ndarray) -> np.ndarray:
    """Sigma of the Gaussian that an image is smoothed with before `coarsening` of its voxels become one.

    In voxels of the image, of the shape of `coarsening`; 0 where that is not much above 1.
    """
    smoothing = 0.45 * np.sqrt(np.maximum(coarsening**2 - 1, 0))
    return np.where(np.asarray(coarsening) > _ANTIALIASED, smoothing, 0)


@stage("compose")
def sampled_back(
    values: np.ndarray, grid: WorkingGrid, target: Geometry, outside: float = OUTSIDE_LOGIT
) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Values (k, j, i) of a working grid, linear, on the voxels of `target` it covers, and where they are.

    outside: of the voxels there that lie off the working grid.
    """
    return _sampled_back(values, grid.geometry, target, outside)


@dataclass(frozen=True, eq=False)
class PositiveLogits:
    """Logits (k, j, i) float32 on the block `where` of a grid; what lies around it is not positive.

    seen: the block of the grid that the working grid covers.
    """

    logits: np.ndarray
    where: tuple[slice, ...]
    seen: tuple[slice, ...]


@stage("compose")
def positive_back(logits: np.ndarray, grid: WorkingGrid, target: Geometry) -> PositiveLogits:
    """Logits (k, j, i) of a working grid as `sampled_back` gives them, only where they may be positive.

    Between voxels that are not positive linear interpolation is not either, so that what is left out tells
    nothing of where the structure is.
    """
    seen, _ = _covering(target, grid.geometry, margin=0)
    box = bounding_box(logits > 0)
    if box is None:
        nowhere = (slice(0, 0), slice(0, 0), slice(0, 0))
        return PositiveLogits(np.zeros((0, 0, 0), np.float32), nowhere, seen)
    start = index3([max(along.start - 1, 0) for along in box])
    inner = logits[tuple(slice(first, along.stop + 1) for first, along in zip(start, box, strict=True))]
    geometry = grid.geometry.cropped(start, index3(inner.shape))
    return PositiveLogits(*_sampled_back(inner, geometry, target, OUTSIDE_LOGIT), seen)


def _sampled_back(
    values: np.ndarray, source: Geometry, target: Geometry, outside: float
) -> tuple[np.ndarray, tuple[slice, ...]]:
    """As `sampled_back`, of values on any grid."""
    where, offset = _covering(target, source, margin=0)
    block = target.cropped(offset, index3([s.stop - s.start for s in where]))
    positions = AxisPositions.of(block, source)
    if positions is None:
        resample = sitk.ResampleImageFilter()
        resample.SetInterpolator(sitk.sitkLinear)
        resample.SetDefaultPixelValue(outside)
        image = to_sitk(values.astype(np.float32, copy=False), source)
        return _resampled(resample, image, block), where
    lengths = [values.shape[axis] for axis in positions.order]
    axes = list(zip(positions.indices, lengths, strict=True))
    result = resampled(values, positions.order, [interpolation_matrix(*axis) for axis in axes])
    for axis, (indices, length) in enumerate(axes):
        np.moveaxis(result, axis, 0)[~lies_within(indices, length)] = outside
    return result, where


def _resampled(resample: sitk.ResampleImageFilter, image: sitk.Image, target: Geometry) -> np.ndarray:
    like = to_sitk(np.zeros((1, 1, 1), np.uint8), Geometry((1, 1, 1), target.affine))
    resample.SetOutputOrigin(like.GetOrigin())
    resample.SetOutputSpacing(like.GetSpacing())
    resample.SetOutputDirection(like.GetDirection())
    resample.SetSize(target.shape[::-1])
    return sitk.GetArrayFromImage(resample.Execute(image))


def _covering(image: Geometry, region: Geometry, margin: int = 3) -> tuple[tuple[slice, ...], Index3]:
    """The slices of `image`, and their first voxel, that hold the corners of another grid."""
    inside = image.world_to_index(region.index_to_world(corners(region.shape)))
    last = np.array(image.shape) - 1
    low = np.clip(np.floor(inside.min(0) + 1e-6) - margin, 0, last).astype(int)
    high = np.clip(np.ceil(inside.max(0) - 1e-6) + margin, 0, last).astype(int)
    where = tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))
    return where, index3(low)


def _coarsening(image: Geometry, grid: Geometry) -> np.ndarray:
    """For each image axis (k, j, i), how many of its voxels the most parallel working axis steps over."""
    cosines = np.abs(image.directions.T @ grid.directions)[::-1, ::-1]
    along = np.array(grid.spacing_mm)[cosines.argmax(1)]
    return along / np.array(image.spacing_mm)
