"""What was annotated of a structure, as the network reads it on a working grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage
from torch import Tensor

from ..network.crossing_slices import CrossingSlice, crossing_distance
from ..network.image_evidence import ImageEvidence
from ..network.prompt_channels import KnownSlice, scribble_prompt, signed_distance, slice_prompt
from ..support.structure import AnnotatedStructure, filled_slices
from ..working_grid.grid import WorkingGrid

FREE_GAPS = 0.25
"""Mean gaps between annotated slices that cost nothing beyond the outermost of them."""
PENALTY_PER_GAP = 4.0
"""Logits that every further gap costs."""
_BARELY_INSIDE = 0.1
"""Working voxels: signed distance of the closest voxel to an outline thinner than the working voxels."""


def prompt_on(
    grid: WorkingGrid,
    image: ImageEvidence,
    annotated: AnnotatedStructure,
    others: Sequence[AnnotatedStructure] = (),
) -> Tensor:
    """The network's prompt (PROMPT_CHANNELS, k, j, i) for one structure on its working grid.

    image: what the image says there. Whole slices speak through their outlines at their exact positions;
    scribbles through the working voxels that hold an annotated one, where `others` is what the structure is
    not; if none of that lies on the grid, the grid's own border stands in for it.
    """
    if annotated.axis is not None:
        crossing = crossing_distances(grid, annotated)
        return slice_prompt(image, annotated_slices(grid, annotated), crossing=crossing)
    inside, outside = _marked(grid, annotated), np.zeros(grid.shape, bool)
    for one in others:
        outside |= _marked(grid, one)
    if not outside.any():
        outside[[0, -1]] = outside[:, [0, -1]] = outside[:, :, [0, -1]] = True
    return scribble_prompt(image, inside, outside & ~inside)


def annotated_slices(grid: WorkingGrid, annotated: AnnotatedStructure) -> list[KnownSlice]:
    """The annotated slices in the plane of the working grid, with signed distances in working voxels.

    Of those that lie before the grid, and of those behind it, only the nearest counts.
    """
    found = [KnownSlice(*one) for one in _slices_across(grid, annotated, 0, annotated.slices)]
    before = sum(one.position < -0.5 for one in found)
    behind = sum(one.position >= grid.shape[0] - 0.5 for one in found)
    return found[max(before - 1, 0) : len(found) - max(behind - 1, 0)]


def crossing_distances(grid: WorkingGrid, annotated: AnnotatedStructure) -> np.ndarray | None:
    """(k, j, i) float32: signed distances in working voxels where slices of other planes run, barely inside
    where voxels are annotated by themselves, NaN elsewhere. None when there is neither.
    """
    loose = annotated.loose
    if not annotated.crossing and not loose.any():
        return None
    crossing = []
    for plane in annotated.crossing:
        axis = grid.order.index(plane.axis)
        crossing += [CrossingSlice(axis, *one) for one in _slices_across(grid, annotated, axis, plane.slices)]
    known = crossing_distance(grid.shape, crossing)
    by_themselves = _marked(grid, replace(annotated, mask=loose)) & np.isnan(known)
    known[by_themselves] = _BARELY_INSIDE
    return known


def _slices_across(
    grid: WorkingGrid, annotated: AnnotatedStructure, axis: int, slices: Sequence[int]
) -> list[tuple[float, np.ndarray]]:
    """Positions along an axis of the working grid, and signed distances on the plane of the other two."""
    others = [one for one in range(3) if one != axis]
    across, rows, columns = (grid.order[one] for one in (axis, *others))
    planes = np.transpose(annotated.mask, (across, rows, columns))
    native = [
        np.arange(annotated.offset[a] - 2, annotated.offset[a] + annotated.mask.shape[a] + 2)
        for a in (rows, columns)
    ]
    wanted = [grid.to_reference(np.arange(grid.shape[one]), one) for one in others]
    low = [int(np.floor(min(n[0], w[0]))) for n, w in zip(native, wanted, strict=True)]
    high = [int(np.ceil(max(n[-1], w[-1]))) for n, w in zip(native, wanted, strict=True)]
    inner = tuple(
        slice(annotated.offset[a] - first, annotated.offset[a] - first + annotated.mask.shape[a])
        for a, first in zip((rows, columns), low, strict=True)
    )
    unit = grid.in_plane_mm
    spacing = (grid.reference_grid.spacing_mm[rows] / unit, grid.reference_grid.spacing_mm[columns] / unit)
    at = np.meshgrid(*(w - first for w, first in zip(wanted, low, strict=True)), indexing="ij")
    result = []
    for number in slices:
        mask = np.zeros([h - first + 1 for h, first in zip(high, low, strict=True)], bool)
        mask[inner] = planes[number - annotated.offset[across]]
        distance = ndimage.map_coordinates(signed_distance(mask, spacing), at, order=1, mode="nearest")
        if distance.max() <= 0:
            # Thinner than the working voxels: the closest one stands for it.
            distance += _BARELY_INSIDE - distance.max()
        result.append((float(grid.to_working(np.array(number), axis)), distance))
    return result


def held_out_prompts(
    grid: WorkingGrid, image: ImageEvidence, annotated: AnnotatedStructure
) -> list[tuple[int, Tensor, np.ndarray]]:
    """Of every annotated slice its plane on the working grid, the prompt of the others without it, and bool
    (j, i) where it was annotated. Empty for scribbles and for a single slice.
    """
    if annotated.axis is None or len(annotated.slices) < 2:
        return []
    slices, crossing = annotated_slices(grid, annotated), crossing_distances(grid, annotated)
    found = []
    for one in slices:
        plane = int(np.floor(one.position + 0.5))
        rest = [other for other in slices if other is not one]
        if 0 <= plane < grid.shape[0]:
            found.append((plane, slice_prompt(image, rest, crossing=crossing), one.signed_distance > 0))
    return found


def beyond_penalty(grid: WorkingGrid, annotated: AnnotatedStructure) -> np.ndarray:
    """(k, 1, 1) float32, what to take from the logits beyond the outermost of two or more annotated slices.

    Slices annotated at some distance from one another are taken to span their structure, with what slices of
    other planes show of it, so that a neighbour of the same kind (the next vertebra) is not entered; a
    structure that the network is sure of still goes on.
    """
    if len(annotated.slices) < 2:
        return np.zeros((1, 1, 1), np.float32)
    position = grid.to_working(np.array(annotated.slices), 0)
    gap = max(float(np.diff(position).mean()), 1.0)
    on_slices = annotated.mask & ~annotated.loose
    shown = filled_slices(on_slices, grid.order[0]) + annotated.offset[grid.order[0]]
    ends = grid.to_working(shown[[0, -1]], 0)
    k = np.arange(grid.shape[0])
    beyond = np.maximum(np.maximum(ends[0] - k, k - ends[1]), 0.0)
    penalty = PENALTY_PER_GAP * np.maximum(beyond / gap - FREE_GAPS, 0.0)
    return penalty.astype(np.float32)[:, None, None]


def _marked(grid: WorkingGrid, annotated: AnnotatedStructure) -> np.ndarray:
    """Bool (k, j, i): working voxels that hold an annotated voxel; those off the grid are left out."""
    index = np.argwhere(annotated.mask) + np.array(annotated.offset)
    working = np.stack(
        [np.rint(grid.to_working(index[:, a], axis)).astype(int) for axis, a in enumerate(grid.order)], 1
    )
    working = working[((working >= 0) & (working < grid.shape)).all(1)]
    marked = np.zeros(grid.shape, bool)
    marked[tuple(working.T)] = True
    return marked
