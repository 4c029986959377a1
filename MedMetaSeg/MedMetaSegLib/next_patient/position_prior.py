"""Where atlases expect a structure, turned into what the network reads and into log odds.

What lies deep inside the expected place stands for painted voxels, what lies well outside for background; the
band between, as wide as registration is off, is left for the network to decide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..imageio.geometry import Geometry
from ..network.image_evidence import ImageEvidence
from ..network.prompt_channels import place_prompt, volume_distance
from ..support.structure import AnnotatedStructure, Structure
from ..working_grid.grid import WorkingGrid
from ..working_grid.reduced_image import ReducedImage, sampled_at, slice_axis

_TRACE = 0.05


@dataclass(frozen=True, eq=False)
class Prior:
    """Signed distance (k, j, i) float32 on a working grid, positive inside, in in-plane working voxels, and
    how many of those the boundary may be off.
    """

    distance: np.ndarray
    band: float

    @property
    def logits(self) -> np.ndarray:
        """Log odds (k, j, i) of the structure by its place alone."""
        return np.clip(2 * self.distance / self.band, -8, 8)


def expected_structure(
    structure: Structure, share: np.ndarray, close: ReducedImage, frame: Geometry
) -> AnnotatedStructure | None:
    """The expected place as if painted on the frame's voxels, whole slices along its thickest axis.

    share: (k, j, i) float32 on the close image; frame: a level grid. None where no voxel of it is filled.
    """
    least = occupancy_threshold(share)
    filled = np.argwhere(share > least)
    if not len(filled):
        return None
    spacing = np.array(frame.spacing_mm)
    low = (close.start_mm + (filled.min(0) - 1) * close.spacing_mm) / spacing
    high = (close.start_mm + (filled.max(0) + 1) * close.spacing_mm) / spacing
    first = np.clip(np.ceil(low), 0, np.array(frame.shape) - 1).astype(int)
    last = np.clip(np.floor(high), first, np.array(frame.shape) - 1).astype(int)
    axes = [np.arange(a, b + 1) * step for a, b, step in zip(first, last, spacing, strict=True)]
    mask = sampled_at(share, close.index(np.stack(np.meshgrid(*axes, indexing="ij"))), 0.0) > least
    if not mask.any():
        return None
    axis = slice_axis(spacing)
    rows = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) + first[axis]
    slices = tuple(range(int(rows[0]), int(rows[-1]) + 1))
    return AnnotatedStructure(structure, (int(first[0]), int(first[1]), int(first[2])), mask, axis, slices)


def occupancy_threshold(share: np.ndarray) -> float:
    """The share of a close voxel from which on it belongs: a half, less for what is thinner than a voxel."""
    return max(0.5 * min(1.0, float(share.max())), _TRACE)


def prior_on(grid: WorkingGrid, share: np.ndarray, close: ReducedImage, off: float = 1.0) -> Prior:
    """The expected place on a working grid of a level frame.

    off: voxels of the close image by which its boundary may be off.
    """
    inside = sampled_at(share, close.index(grid_places(grid)), 0.0) > occupancy_threshold(share)
    band = max(1.0, off * float(np.cbrt(np.prod(close.spacing_mm))) / grid.in_plane_mm)
    return Prior(volume_distance(inside, grid.aspect), band)


def prior_prompt(grid: WorkingGrid, image: np.ndarray, prior: Prior, elsewhere: np.ndarray) -> np.ndarray:
    """The network's prompt for the prior; elsewhere: bool, sure voxels of other structures."""
    evidence = ImageEvidence(torch.from_numpy(image), grid.aspect)
    return place_prompt(evidence, prior.distance, prior.band, elsewhere).numpy()


def grid_places(grid: WorkingGrid) -> np.ndarray:
    """(3, k, j, i): millimetres along (k, j, i) of a level frame of every voxel of a working grid."""
    spacing = np.array(grid.frame.spacing_mm)
    places = [
        grid.to_frame(np.arange(n), axis) * spacing[frame_axis]
        for axis, (n, frame_axis) in enumerate(zip(grid.shape, grid.order, strict=True))
    ]
    mesh = np.meshgrid(*places, indexing="ij")
    return np.stack([mesh[grid.order.index(axis)] for axis in range(3)])
