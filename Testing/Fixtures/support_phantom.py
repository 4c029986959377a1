"""Balls on grids, drawn on some of their slices."""

from __future__ import annotations

import numpy as np

from MedMetaSegLib.imageio.volume import Geometry
from MedMetaSegLib.support.support import Support

SHAPE = (20, 24, 28)


def grid(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float] = (1, 1, 1), at=(0, 0, 0)
) -> Geometry:
    """A grid in RAS; spacing and the position of the first voxel's centre as (k, j, i)."""
    affine = np.diag([*spacing_mm[::-1], 1.0])
    affine[:3, 3] = at[::-1]
    return Geometry(shape, affine)


def ball(shape: tuple[int, int, int] = SHAPE, radius: float = 7.0, centre=None) -> np.ndarray:
    middle = np.array(centre if centre is not None else [(size - 1) / 2 for size in shape])
    return np.sum((np.indices(shape) - middle[:, None, None, None]) ** 2, axis=0) <= radius**2


def on_slices(mask: np.ndarray, slices: list[int], axis: int = 0) -> np.ndarray:
    kept = np.zeros_like(mask)
    np.moveaxis(kept, axis, 0)[slices] = np.moveaxis(mask, axis, 0)[slices]
    return kept


def full(support: Support, number: int = 0) -> np.ndarray:
    array = np.zeros(support.geometry.shape, dtype=bool)
    one = support.structures[number]
    array[one.region] = one.mask
    return array
