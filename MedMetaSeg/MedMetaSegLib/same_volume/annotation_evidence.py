"""What was drawn of a structure, as evidence on a working grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from torch import Tensor

from ..network.image_evidence import ImageEvidence
from ..network.prompt_channels import KnownSlice, scribble_prompt, signed_distance, slice_prompt
from ..support.structure import AnnotatedStructure
from ..working_grid.grid import WorkingGrid

FREE_GAPS = 0.25
"""Beyond the outermost drawn slices, this many gaps between slices cost nothing."""
PENALTY_PER_GAP = 4.0
"""Logits that every further gap costs."""
_BARELY_INSIDE = 0.1


def prompt_on(
    grid: WorkingGrid,
    image: ImageEvidence,
    painted: AnnotatedStructure,
    others: Sequence[AnnotatedStructure] = (),
) -> Tensor:
    """The network's prompt (PROMPT_CHANNELS, k, j, i) for one structure on its working grid.

    image: what the image says there. Whole slices speak through their outlines at their exact positions;
    scribbles through the working voxels that hold a painted one, where `others` is what the structure is not;
    if none of that lies on the grid, the grid's own border stands in for it.
    """
    if painted.axis is not None:
        return slice_prompt(image, known_slices(grid, painted))
    inside, outside = _marked(grid, painted), np.zeros(grid.shape, bool)
    for one in others:
        outside |= _marked(grid, one)
    if not outside.any():
        outside[[0, -1]] = outside[:, [0, -1]] = outside[:, :, [0, -1]] = True
    return scribble_prompt(image, inside, outside & ~inside)


def known_slices(grid: WorkingGrid, painted: AnnotatedStructure) -> list[KnownSlice]:
    """The drawn slices in the plane of the working grid, with signed distances in working voxels."""
    drawing, rows, columns = grid.order
    planes = np.transpose(painted.mask, grid.order)
    native = [
        np.arange(painted.offset[a] - 2, painted.offset[a] + painted.mask.shape[a] + 2)
        for a in (rows, columns)
    ]
    wanted = [grid.to_frame(np.arange(grid.shape[axis]), axis) for axis in (1, 2)]
    low = [int(np.floor(min(n[0], w[0]))) for n, w in zip(native, wanted, strict=True)]
    high = [int(np.ceil(max(n[-1], w[-1]))) for n, w in zip(native, wanted, strict=True)]
    inner = tuple(
        slice(painted.offset[a] - first, painted.offset[a] - first + painted.mask.shape[a])
        for a, first in zip((rows, columns), low, strict=True)
    )
    unit = grid.in_plane_mm
    spacing = (grid.frame.spacing_mm[rows] / unit, grid.frame.spacing_mm[columns] / unit)
    at = np.meshgrid(*(w - first for w, first in zip(wanted, low, strict=True)), indexing="ij")
    result = []
    for number in painted.slices:
        drawn = np.zeros([h - first + 1 for h, first in zip(high, low, strict=True)], bool)
        drawn[inner] = planes[number - painted.offset[drawing]]
        distance = ndimage.map_coordinates(signed_distance(drawn, spacing), at, order=1, mode="nearest")
        if distance.max() <= 0:
            # Thinner than the working voxels: the closest one stands for it.
            distance += _BARELY_INSIDE - distance.max()
        result.append(KnownSlice(float(grid.to_working(np.array(number), 0)), distance))
    return result


def held_out_prompts(
    grid: WorkingGrid, image: ImageEvidence, painted: AnnotatedStructure
) -> list[tuple[int, Tensor, np.ndarray]]:
    """Of every drawn slice its plane on the working grid, the prompt of the others without it, and bool
    (j, i) where it was drawn. Empty for scribbles and for a single slice.
    """
    if painted.axis is None or len(painted.slices) < 2:
        return []
    slices = known_slices(grid, painted)
    found = []
    for one in slices:
        plane = int(np.floor(one.position + 0.5))
        rest = [other for other in slices if other is not one]
        if 0 <= plane < grid.shape[0]:
            found.append((plane, slice_prompt(image, rest), one.signed_distance > 0))
    return found


def beyond_penalty(grid: WorkingGrid, slices: Sequence[int]) -> np.ndarray:
    """(k, 1, 1) float32, what to take from the logits beyond the outermost of two or more drawn slices.

    Slices drawn at some distance from one another are taken to span their structure, so that a neighbour of
    the same kind (the next vertebra) is not entered; a structure that the network is sure of still goes on.
    """
    if len(slices) < 2:
        return np.zeros((1, 1, 1), np.float32)
    position = grid.to_working(np.array(sorted(slices)), 0)
    gap = max(float(np.diff(position).mean()), 1.0)
    k = np.arange(grid.shape[0])
    beyond = np.maximum(np.maximum(position[0] - k, k - position[-1]), 0.0)
    penalty = PENALTY_PER_GAP * np.maximum(beyond / gap - FREE_GAPS, 0.0)
    return penalty.astype(np.float32)[:, None, None]


def _marked(grid: WorkingGrid, painted: AnnotatedStructure) -> np.ndarray:
    """Bool (k, j, i): working voxels that hold a painted voxel; those off the grid are left out."""
    index = np.argwhere(painted.mask) + np.array(painted.offset)
    working = np.stack(
        [np.rint(grid.to_working(index[:, f], axis)).astype(int) for axis, f in enumerate(grid.order)], 1
    )
    working = working[((working >= 0) & (working < grid.shape)).all(1)]
    marked = np.zeros(grid.shape, bool)
    marked[tuple(working.T)] = True
    return marked
