"""Where all placements of all atlases together expect each structure.

They are fused voxel by voxel, each weighted by how much it looks like the query around that voxel
(Artaechevarria, Munoz-Barrutia and Ortiz-de-Solorzano, IEEE TMI 2009).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..registration.pose import Pose
from ..registration.sampling import inside, sampled
from ..registration.warping import moved
from ..support.structure import region
from ..task.atlas import Atlas

_TRUST = 4
"""Power of the local correlation by which atlases are weighted in fusion."""
_AT_ONCE = 16
"""Structures that are sampled at once, at most: that many images of the atlas are held."""


@dataclass(frozen=True, eq=False)
class RegisteredAtlas:
    """An atlas in one of its placements on a query, on the device.

    atlas_mm: (3, k, j, i) float32, of every voxel of the query's close image its place in the atlas, in
    millimetres along (k, j, i). local_ncc: (k, j, i) float32, 0 to 1, correlation of the MIND descriptors of
    query and atlas around every voxel, 0 outside the atlas. warped: False where the pose alone places it.
    """

    atlas: Atlas
    pose: Pose
    atlas_mm: Tensor
    local_ncc: Tensor
    warped: bool


@dataclass(frozen=True, eq=False)
class FusedOccupancies:
    """How far each of S structures fills each of the query's close voxels, by all atlases, on the device.

    by_all: (S, k, j, i) float32, 0 to 1; by_warped: the same by the warped placements alone. affine_voxels:
    (S,) close voxels that a structure fills where the poses alone place it, mean over the warped placements
    of atlases that have it, 0 where none has. disagreement: (S,), how little the warped placements agree:
    variance of the occupancy among them over its mean, both summed over the close voxels, 0 to 1.
    """

    by_all: Tensor
    by_warped: Tensor
    affine_voxels: Tensor
    disagreement: Tensor


@torch.no_grad()
def fused_occupancies(registered: Sequence[RegisteredAtlas], places: Tensor) -> FusedOccupancies:
    """The occupancies of all structures; an atlas without a structure speaks against it.

    registered: one at least; places: (3, k, j, i) millimetres of the query's close voxels.
    """
    number = len(registered[0].atlas.places)
    by_warped = places.new_zeros(number, *places.shape[1:])
    by_affine = torch.zeros_like(by_warped)
    weights = [places.new_zeros(places.shape[1:]) for _ in range(2)]
    affine_voxels = places.new_zeros(number)
    mean, mean_square = torch.zeros_like(by_warped), torch.zeros_like(by_warped)
    for atlas in {id(one.atlas): one.atlas for one in registered}.values():
        placements = [one for one in registered if one.atlas is atlas]
        trusts = [one.local_ncc**_TRUST + 1e-6 for one in placements]
        for one, trust in zip(placements, trusts, strict=True):
            weights[one.warped] += trust
        for numbers, occupancies in _stacked(atlas, places.device):
            for one, trust in zip(placements, trusts, strict=True):
                total = by_warped if one.warped else by_affine
                found = _sampled(occupancies, atlas, one.atlas_mm)
                total[numbers] += trust * found
                if one.warped:
                    mean[numbers] += found
                    mean_square[numbers] += found.square_()
                    placed = _sampled(occupancies, atlas, moved(one.pose, places))
                    affine_voxels[numbers] += placed.sum((1, 2, 3))
    having = [
        sum(one.warped and one.atlas.places[n] is not None for one in registered) for n in range(number)
    ]
    by_all = by_affine.add_(by_warped).div_(weights[0] + weights[1])
    counts = torch.tensor(having, device=places.device).clamp(min=1)
    warps = sum(one.warped for one in registered)
    variance = mean_square.div_(warps).sub_(mean.div_(warps).square()).sum((1, 2, 3))
    disagreement = variance / mean.sum((1, 2, 3)).clamp(min=1e-6)
    by_warped.div_(weights[1].clamp(min=1e-6))
    return FusedOccupancies(by_all, by_warped, affine_voxels / counts, disagreement)


def grown(masks: Tensor, steps: int) -> Tensor:
    """Masks (..., k, j, i), bool, and the voxels within so many steps from voxel to adjacent voxel."""
    for _ in range(steps):
        before, masks = masks, masks.clone()
        for axis in (-3, -2, -1):
            length = masks.shape[axis] - 1
            masks.narrow(axis, 1, length).logical_or_(before.narrow(axis, 0, length))
            masks.narrow(axis, 0, length).logical_or_(before.narrow(axis, 1, length))
    return masks


@torch.no_grad()
def ncc_around_structures(one: RegisteredAtlas) -> float:
    """Mean local correlation in and around the structures."""
    filled = torch.zeros_like(one.local_ncc, dtype=torch.bool)
    for _, occupancies in _stacked(one.atlas, filled.device):
        filled |= _sampled(occupancies, one.atlas, one.atlas_mm).amax(0) > 0.3
    near = grown(filled, 3)
    return float((one.local_ncc * near).sum() / near.sum().clamp(min=1))


def _stacked(atlas: Atlas, device: torch.device) -> Iterator[tuple[list[int], Tensor]]:
    """Some structures at a time that the atlas has, and their occupancies (1, C, k, j, i) on its close image.

    They lie side by side in memory, so that one look-up finds all of them.
    """
    there = [number for number, place in enumerate(atlas.places) if place is not None]
    for first in range(0, len(there), _AT_ONCE):
        numbers = there[first : first + _AT_ONCE]
        full = np.zeros((*atlas.close.intensity.shape, len(numbers)), np.uint8)
        for channel, number in enumerate(numbers):
            place = atlas.places[number]
            assert place is not None
            full[..., channel][region(place.offset, place.occupancy.shape)] = place.occupancy
        yield numbers, torch.from_numpy(full).to(device).permute(3, 0, 1, 2)[None] / 255


def _sampled(occupancies: Tensor, atlas: Atlas, atlas_mm: Tensor) -> Tensor:
    """(C, k, j, i), 0 to 1: occupancies (1, C, k, j, i) at places (3, k, j, i) in the atlas; 0 outside it."""
    start, step = (
        torch.from_numpy(one).to(atlas_mm).view(3, 1, 1, 1)
        for one in (atlas.close.start_mm, atlas.close.spacing_mm)
    )
    index = (atlas_mm - start) / step
    return sampled(occupancies, index[None])[0] * inside(index, occupancies.shape[2:])
