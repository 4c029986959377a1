"""Slices of other planes: what they say of a structure corrects what its drawing plane's slices let expect.

A surface through contours that cross is interpolated by radial basis functions (Turk and O'Brien, SIGGRAPH
1999; with the biharmonic |r|, Carr et al., SIGGRAPH 2001). Here they interpolate by how much the crossing
slices differ from signed distances that were guessed between the slices of one plane, and are 0 on these: a
guess that follows the image stays what it was where nothing contradicts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.interpolate import RBFInterpolator
from torch import Tensor

_MOST_CENTRES = 600
"""Voxels of the crossing slices, and of the drawing plane's, at which the interpolation is exact."""
_LATTICE = 3
"""Working voxels between the points where it is evaluated; linear in between."""


@dataclass(frozen=True)
class CrossingSlice:
    """One annotated slice across axis 1 or 2 of the working grid.

    position: along that axis in working voxels; signed_distance: (k, i) or (k, j) float32, positive inside
    the structure, in in-plane voxels.
    """

    axis: int
    position: float
    signed_distance: np.ndarray

    @property
    def plane(self) -> int:
        """The working voxel along its axis that the slice runs through."""
        return int(np.floor(self.position + 0.5))


def crossing_distance(shape: Sequence[int], slices: Sequence[CrossingSlice]) -> np.ndarray:
    """(k, j, i) float32: signed distances on the voxels that a crossing slice runs through, NaN elsewhere."""
    known = np.full(tuple(shape), np.nan, np.float32)
    for one in slices:
        if 0 <= one.plane < shape[one.axis]:
            np.moveaxis(known, one.axis, 0)[one.plane] = one.signed_distance
    return known


def corrected(guesses: Tensor, crossing: Tensor, planes: Sequence[int], aspect: float) -> Tensor:
    """Signed distances (C, k, j, i) as they are on the annotated `planes`, and as `crossing` says elsewhere.

    crossing: (k, j, i) from `crossing_distance`, on any device; aspect: slice spacing in in-plane voxels.
    """
    known = crossing.isfinite()
    known[list(planes)] = False
    if not known.any():
        return guesses
    residual = torch.where(known, crossing - guesses, 0.0)
    scale = np.array([aspect, 1.0, 1.0])
    at_crossing, at_planes = _spread(known.cpu().numpy()), _on_planes(guesses.shape[1:], planes)
    centres = np.concatenate([at_crossing, at_planes])
    values = residual[:, centres[:, 0], centres[:, 1], centres[:, 2]].T.cpu().numpy().astype(float)
    interpolated = RBFInterpolator(centres * scale, values, kernel="linear", degree=0)
    field = _evaluated(interpolated, guesses.shape[1:], scale)
    result = guesses + torch.from_numpy(field).to(guesses.device)
    result[:, known] = crossing[known]
    result[:, list(planes)] = guesses[:, list(planes)]
    return result


def _spread(known: np.ndarray) -> np.ndarray:
    """(N, 3) indices of voxels spread evenly over those known."""
    index = np.argwhere(known)
    return index[np.linspace(0, len(index) - 1, min(len(index), _MOST_CENTRES)).astype(int)]


def _on_planes(shape: Sequence[int], planes: Sequence[int]) -> np.ndarray:
    """(N, 3) indices of voxels on a lattice over the planes."""
    per_plane = _MOST_CENTRES / max(1, len(planes))
    step = max(1, int(np.ceil(np.sqrt(shape[1] * shape[2] / per_plane))))
    lattice = np.meshgrid(
        np.array(sorted(planes)), np.arange(0, shape[1], step), np.arange(0, shape[2], step), indexing="ij"
    )
    return np.stack([one.ravel() for one in lattice], 1)


def _evaluated(interpolated: RBFInterpolator, shape: Sequence[int], scale: np.ndarray) -> np.ndarray:
    """(C, k, j, i) float32 on a grid, from points on a coarser lattice over it."""
    counts = [max(2, -(-size // _LATTICE)) for size in shape]
    axes = [np.linspace(0, size - 1, count) for size, count in zip(shape, counts, strict=True)]
    points = np.stack([one.ravel() for one in np.meshgrid(*axes, indexing="ij")], 1)
    coarse = interpolated(points * scale).T.reshape(-1, *counts)
    where = np.meshgrid(
        *(np.linspace(0, count - 1, size) for size, count in zip(shape, counts, strict=True)), indexing="ij"
    )
    fine = [ndimage.map_coordinates(one, where, order=1) for one in coarse]
    return np.stack(fine).astype(np.float32)
