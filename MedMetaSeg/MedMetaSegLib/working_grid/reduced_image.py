"""A volume in few grey levels and few voxels: what a task keeps of a patient, and what registration works on.

Places are millimetres along (k, j, i) of the canonical volume from its first voxel, so that where a patient
lay in the scanner has no say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ..imageio.geometry import Geometry, index3, rounded
from ..imageio.volume import Volume
from .grid import WorkingGrid, sampled_image
from .intensity import IntensityNormalization
from .separable import interpolation_matrix, resampled

_HOUNSFIELD = ((-1024, 0), (-250, 25), (-150, 45), (-50, 95), (150, 205), (300, 230), (2000, 255))
"""(Hounsfield units, grey level) between which CT is interpolated: most levels for soft tissue."""
_MAX_ASPECT = 2.0
"""Spacing across thick slices over that along them, at most."""


@dataclass(frozen=True, eq=False)
class ReducedImage:
    """An image in 256 intensities and few voxels, without a place in the world.

    intensity: uint8 (k, j, i); spacing_mm, start_mm: (3,) along (k, j, i), of the voxels, and of the first.
    """

    intensity: np.ndarray
    spacing_mm: np.ndarray
    start_mm: np.ndarray

    @property
    def end_mm(self) -> np.ndarray:
        """The place of the last voxel."""
        return self.start_mm + (np.array(self.intensity.shape) - 1) * self.spacing_mm

    @property
    def extent_mm(self) -> np.ndarray:
        """Length along each axis, whole voxels counted."""
        return np.array(self.intensity.shape) * self.spacing_mm

    def index(self, places: np.ndarray) -> np.ndarray:
        """(3, ...) millimetres as fractional voxel indices."""
        shape = (3, *[1] * (places.ndim - 1))
        return (places - self.start_mm.reshape(shape)) / self.spacing_mm.reshape(shape)

    def index_on_axes(self, places: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Millimetres along k, along j and along i as fractional voxel indices."""
        return [
            (one - start) / step
            for one, start, step in zip(places, self.start_mm, self.spacing_mm, strict=True)
        ]


def without_world_position(volume: Volume) -> Volume:
    """A canonical volume without its place and directions in the world: only spacing is left."""
    spacing = [rounded(step, 6) for step in volume.geometry.spacing_mm]
    return replace(volume, geometry=Geometry(volume.geometry.shape, np.diag([*spacing[::-1], 1.0])))


def reduced(
    volume: Volume,
    rule: IntensityNormalization,
    spacing_mm: np.ndarray,
    low_mm: np.ndarray,
    high_mm: np.ndarray,
) -> ReducedImage:
    """A volume without world position between two places, (3,) millimetres each, at a spacing (3,)."""
    native = np.array(volume.geometry.spacing_mm)
    shape = np.maximum(np.floor((high_mm - low_mm) / spacing_mm + 1e-6).astype(int) + 1, 4)
    start, step = low_mm / native, spacing_mm / native
    grid = WorkingGrid(volume.geometry, (0, 1, 2), _floats(start), _floats(step), index3(shape))
    intensity = grey_levels(sampled_image(volume, grid, rule), rule)
    return ReducedImage(intensity, np.array(spacing_mm, float), np.array(low_mm, float))


def grey_levels(values: np.ndarray, rule: IntensityNormalization) -> np.ndarray:
    """uint8 of the same shape: Hounsfield units by a fixed curve, anything else by rank among its kind."""
    if rule.modality == "CT":
        points, levels = zip(*_HOUNSFIELD, strict=True)
        return np.rint(np.interp(values, points, levels)).astype(np.uint8)
    quantiles = np.quantile(values, np.linspace(0, 1, 129))
    quantiles, first = np.unique(quantiles, return_index=True)
    last = np.append(first[1:] - 1, 128)
    return np.rint(np.interp(values, quantiles, (first + last) / 256 * 255)).astype(np.uint8)


def even_spacing(extent_mm: np.ndarray, native_mm: np.ndarray, voxels: int) -> np.ndarray:
    """(3,) a spacing nearly the same along each axis that needs at most `voxels`, none finer than the image.

    Thick slices are interpolated, but never to less than half of themselves: then the others get finer.
    """
    fine = float(np.sort(native_mm)[1])
    common = max((float(np.prod(extent_mm)) / voxels) ** (1 / 3), fine)
    thick = np.clip(native_mm, common, _MAX_ASPECT * common)
    excess = float(np.prod(extent_mm / thick)) / voxels
    return thick * max(1.0, excess ** (1 / 3))


def slice_axis(spacing_mm: np.ndarray) -> int:
    """The axis across the slices: that of clearly thicker voxels than the others, 0 when there is none."""
    return int(np.argmax(spacing_mm)) if spacing_mm.max() > 1.2 * np.sort(spacing_mm)[1] else 0


def sampled_at(values: np.ndarray, index: np.ndarray, outside: float) -> np.ndarray:
    """values (k, j, i) at fractional indices (3, ...), linear, float32."""
    return ndimage.map_coordinates(
        values.astype(np.float32, copy=False), index, order=1, mode="constant", cval=outside
    )


def sampled_on_axes(values: np.ndarray, axes: Sequence[np.ndarray]) -> np.ndarray:
    """values (k, j, i) on the grid of fractional indices along each axis, linear, float32; 0 outside."""
    matrices = [
        interpolation_matrix(index, n) * ((index >= 0) & (index <= n - 1))[:, None]
        for index, n in zip(axes, values.shape, strict=True)
    ]
    return resampled(values, (0, 1, 2), matrices)


def _floats(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
