"""Images as tensors on the device, and their values between voxels, linear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from ..network.box_filter import box_mean
from ..working_grid.grid import antialias_sigma
from ..working_grid.reduced_image import ReducedImage
from ..working_grid.separable import interpolation_matrix

_TRUNCATED = 4.0
"""Standard deviations after which a Gaussian is cut off, as scipy does."""


@dataclass(frozen=True, eq=False)
class TensorImage:
    """A reduced image on the device.

    intensity: float32 (k, j, i); spacing_mm, start_mm: (3,) along (k, j, i), see `ReducedImage`.
    """

    intensity: Tensor
    spacing_mm: np.ndarray
    start_mm: np.ndarray

    @classmethod
    def of(cls, image: ReducedImage, device: torch.device) -> TensorImage:
        """The same image on a device."""
        intensity = torch.from_numpy(image.intensity).to(device).float()
        return cls(intensity, image.spacing_mm, image.start_mm)

    @property
    def last(self) -> np.ndarray:
        """(3,) indices of the last voxel."""
        return np.array(self.intensity.shape) - 1

    @property
    def extent_mm(self) -> np.ndarray:
        """Length along each axis, whole voxels counted."""
        return (self.last + 1) * self.spacing_mm

    @property
    def end_mm(self) -> np.ndarray:
        """The place of the last voxel."""
        return self.start_mm + self.last * self.spacing_mm

    def index(self, places: Tensor) -> Tensor:
        """(..., 3, k, j, i) millimetres as fractional voxel indices."""
        return (places - _column(self.start_mm, places)) / _column(self.spacing_mm, places)

    def places(self) -> Tensor:
        """(3, k, j, i) float32: millimetres of every voxel."""
        return places_of(self.start_mm, self.spacing_mm, self.intensity.shape, self.intensity.device)


def places_of(
    start_mm: np.ndarray, spacing_mm: np.ndarray, shape: Sequence[int], device: torch.device
) -> Tensor:
    """(3, k, j, i) float32: millimetres of every voxel of a grid."""
    axes = [
        torch.from_numpy(start + step * np.arange(n)).float().to(device)
        for start, step, n in zip(start_mm, spacing_mm, shape, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _column(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32)).to(like.device).view(3, 1, 1, 1)


def sampled(values: Tensor, index: Tensor) -> Tensor:
    """Values (N, C, k, j, i) at fractional indices (N, 3, *out), linear: (N, C, *out), `out` of three axes.

    The edge is repeated outside.
    """
    size = values.shape[2:]
    unit = [index[:, axis] * (2 / max(size[axis] - 1, 1)) - 1 for axis in (2, 1, 0)]
    return functional.grid_sample(
        values, torch.stack(unit, -1), mode="bilinear", padding_mode="border", align_corners=True
    )


def inside(index: Tensor, shape: Sequence[int], margin: float = 0.0) -> Tensor:
    """Bool (..., k, j, i): where indices (..., 3, k, j, i) lie in a grid of this shape, or in a margin."""
    last = _column(np.array(shape) - 1, index)
    return ((index >= -margin) & (index <= last + margin)).all(-4)


def box(values: Tensor, width: int) -> Tensor:
    """Mean of the (width)^3 neighbourhood of values (..., k, j, i), edges repeated."""
    flat = values.reshape(1, -1, *values.shape[-3:])
    return box_mean(flat, (width,) * 3).reshape(values.shape)


def resampled(image: TensorImage, spacing_mm: np.ndarray) -> Tensor:
    """float32 (k, j, i) at another spacing from the same first voxel, smoothed where that is coarser."""
    ratio = spacing_mm / image.spacing_mm
    values = image.intensity
    for axis, sigma in enumerate(antialias_sigma(ratio)):
        size = values.shape[axis]
        length = max(int(np.floor((size - 1) / ratio[axis] + 1e-6)) + 1, 2)
        index = np.minimum(np.arange(length) * ratio[axis], size - 1)
        matrix = torch.from_numpy(interpolation_matrix(index, size) @ _gaussian(size, float(sigma)))
        values = torch.tensordot(matrix.float().to(values.device), values, ([1], [axis])).movedim(0, axis)
    return values.contiguous()


def _gaussian(size: int, sigma: float) -> np.ndarray:
    """(size, size): a Gaussian filter along an axis, edges repeated."""
    if sigma == 0:
        return np.eye(size)
    radius = int(_TRUNCATED * sigma + 0.5)
    steps = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    matrix = np.zeros((size, size))
    rows = np.arange(size)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        np.add.at(matrix, (rows, np.clip(rows + step, 0, size - 1)), weight)
    return matrix
