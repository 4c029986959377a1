"""Where atlases expect a structure, turned into what the network reads and into log odds.

What lies deep inside the expected place stands for annotated voxels, what lies well outside for background;
the band between, as wide as registration may be off, is left for the network to decide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..imageio.geometry import Geometry
from ..network.image_evidence import ImageEvidence
from ..network.prompt_channels import place_prompt, volume_distance
from ..support.structure import AnnotatedStructure, Structure, filled_slices
from ..working_grid.grid import WorkingGrid
from ..working_grid.reduced_image import ReducedImage, sampled_on_axes, slice_axis

_LEAST_THRESHOLD = 0.05
"""Occupancy that a voxel of any structure needs at least to belong to it."""
_MOST_LOG_ODDS = 8
"""Log odds of a structure by its place alone, at most and, negative, at least."""


@dataclass(frozen=True, eq=False)
class Prior:
    """Where a structure is expected on a working grid, and how surely.

    distance: signed, (k, j, i) float32, positive inside, in in-plane working voxels. tolerance: how many of
    those its boundary may be off.
    """

    distance: np.ndarray
    tolerance: float

    @property
    def logits(self) -> np.ndarray:
        """Log odds (k, j, i) of the structure by its place alone."""
        return np.clip(2 * self.distance / self.tolerance, -_MOST_LOG_ODDS, _MOST_LOG_ODDS)


def expected_structure(
    structure: Structure, occupancy: np.ndarray, close: ReducedImage, reference: Geometry
) -> AnnotatedStructure | None:
    """The expected place as if annotated on the reference grid, whole slices along its thickest axis.

    occupancy: (k, j, i) float32 on the close image; reference: a grid without world position. None where no
    voxel of it is filled.
    """
    threshold = occupancy_threshold(occupancy)
    filled = np.argwhere(occupancy > threshold)
    if not len(filled):
        return None
    spacing = np.array(reference.spacing_mm)
    low = (close.start_mm + (filled.min(0) - 1) * close.spacing_mm) / spacing
    high = (close.start_mm + (filled.max(0) + 1) * close.spacing_mm) / spacing
    first = np.clip(np.ceil(low), 0, np.array(reference.shape) - 1).astype(int)
    last = np.clip(np.floor(high), first, np.array(reference.shape) - 1).astype(int)
    places = [np.arange(a, b + 1) * step for a, b, step in zip(first, last, spacing, strict=True)]
    mask = sampled_on_axes(occupancy, close.index_on_axes(places)) > threshold
    if not mask.any():
        return None
    axis = slice_axis(spacing)
    rows = filled_slices(mask, axis) + first[axis]
    slices = tuple(range(int(rows[0]), int(rows[-1]) + 1))
    return AnnotatedStructure(structure, (int(first[0]), int(first[1]), int(first[2])), mask, axis, slices)


def occupancy_threshold(occupancy: np.ndarray) -> float:
    """The occupancy from which on a voxel belongs to a structure, given that of all voxels.

    A half of the voxel; less for a structure so thin that it fills no voxel.
    """
    return max(0.5 * min(1.0, float(occupancy.max())), _LEAST_THRESHOLD)


def occupancy_thresholds(occupancies: Tensor) -> Tensor:
    """(S,): that of each of the occupancies (S, k, j, i), see `occupancy_threshold`."""
    most = occupancies.flatten(1).amax(1).clamp(max=1.0)
    return (0.5 * most).clamp(min=_LEAST_THRESHOLD)


def prior_on(
    grid: WorkingGrid, occupancy: np.ndarray, close: ReducedImage, misregistration_voxels: float = 1.0
) -> Prior:
    """The expected place on a working grid of a reference without world position.

    occupancy: (k, j, i) float32 on the close image; misregistration_voxels: voxels of the close image by
    which its boundary may be off.
    """
    inside = sampled_on_grid(occupancy, close, grid) > occupancy_threshold(occupancy)
    voxel_mm = float(np.cbrt(np.prod(close.spacing_mm)))
    tolerance = max(1.0, misregistration_voxels * voxel_mm / grid.in_plane_mm)
    return Prior(volume_distance(inside, grid.aspect), tolerance)


def prior_prompt(image: ImageEvidence, prior: Prior, other_structures: np.ndarray) -> Tensor:
    """The network's prompt (PROMPT_CHANNELS, k, j, i) for the prior, on the image's device.

    other_structures: bool (k, j, i), voxels that surely belong to others.
    """
    return place_prompt(image, prior.distance, prior.tolerance, other_structures)


def sampled_on_grid(values: np.ndarray, close: ReducedImage, grid: WorkingGrid) -> np.ndarray:
    """values (k, j, i) of the close image on a working grid, in the grid's order, linear; 0 outside it."""
    spacing = grid.reference_grid.spacing_mm
    places = [
        grid.to_reference(np.arange(grid.shape[grid.order.index(axis)]), grid.order.index(axis))
        * spacing[axis]
        for axis in range(3)
    ]
    found = sampled_on_axes(values, close.index_on_axes(places))
    return np.ascontiguousarray(found.transpose(grid.order))
