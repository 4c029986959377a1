"""Drawn outlines carried from slice to slice: each follows what moves between one slice and the next.

The motion between neighbouring slices is found by the method of Lucas and Kanade (IJCAI 1981), coarse to
fine, in windows, on both contrasts of the image; outlines are carried along it from the drawn slices up and
down. Where two of them meet, the nearer one counts more, and the one that arrives where things look as they
did where it was drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

_LEVELS = 3
_ROUNDS = 8
_WINDOW = 5
_STIFFNESS = 0.05
"""Added to the squared slopes of a window: where there are none, nothing moves."""
_SMALLEST = 6
"""Voxels across, of a level that is still looked at."""
_DEEP = 6.0
"""In-plane voxels: between two drawn slices, signed distances are cut there before they are averaged."""
_TRUST = 5.0
"""Of two ways to a slice, the one whose squared difference is larger by 1 counts e^5 times less."""
_UNLIKE = 4.0
_SHRINK = 0.5
"""In-plane voxels for every in-plane voxel that an outline is carried beyond the outer slices."""


class Motion(NamedTuple):
    """(k - 1, 2, j, i) each, voxels along (j, i): what slice k + 1 shows at x, slice k shows at x + up; and
    what slice k shows at x, slice k + 1 shows at x + down.
    """

    up: Tensor
    down: Tensor


def slice_motion(image: np.ndarray) -> Motion:
    """The motion between the slices of an image (C, k, j, i)."""
    with torch.no_grad():
        slices = torch.from_numpy(image).transpose(0, 1).contiguous()
        both = _flow(torch.cat([slices[1:], slices[:-1]]), torch.cat([slices[:-1], slices[1:]]))
        return Motion(*both.chunk(2))


class PropagatedContours(NamedTuple):
    """shape (k, j, i) float32: signed distances in in-plane voxels; doubt (k, j, i) float32: how much a slice
    differs from what was carried there, mean squared over contrasts and a window, at most 4; 0 where drawn.
    """

    shape: np.ndarray
    matching_residual: np.ndarray


def propagated_contours(
    image: np.ndarray, motion: Motion, planes: Sequence[int], shapes: Sequence[np.ndarray], aspect: float
) -> PropagatedContours:
    """Shapes (j, i), signed distances at ascending planes of image (C, k, j, i), carried to every plane.

    Between two drawn planes the nearer one counts more, and where one of them looks more like the slice, that
    one. Beyond the outer planes a shape shrinks by half a voxel for every voxel that it is carried.
    aspect: slice spacing in in-plane voxels.
    """
    with torch.no_grad():
        slices = torch.from_numpy(image).transpose(0, 1).contiguous()
        given = torch.from_numpy(np.stack(shapes).astype(np.float32, copy=False))[:, None]
        shape, matching_residual = torch.zeros_like(slices[:, :1]), torch.zeros_like(slices[:, :1])
        weight = torch.zeros_like(shape)
        ways = _ways(motion, planes, len(slices))
        if ways:
            source, target = [way.source for way in ways], [way.target for way in ways]
            seen = torch.cat([slices[list(planes)][source], given[source]], 1)
            seen = _warped(seen, torch.cat([way.offset for way in ways]))
            unlike = _box((seen[:, :-1] - slices[target]).square().mean(1, keepdim=True)).clamp(max=_UNLIKE)
            for way, value, off in zip(ways, seen[:, -1:], unlike, strict=True):
                k, apart = way.target, abs(way.target - planes[way.source])
                if way.gap:
                    trust = (1 - apart / way.gap) * torch.exp(-_TRUST * off)
                    value = value.clamp(-_DEEP, _DEEP)
                else:
                    trust = torch.ones_like(off)
                    value = value - _SHRINK * aspect * apart
                shape[k] += trust * value
                matching_residual[k] += trust * off
                weight[k] += trust
        weight[list(planes)] = 1.0
        shape[list(planes)] = given
        return PropagatedContours((shape / weight)[:, 0].numpy(), (matching_residual / weight)[:, 0].numpy())


class _Way(NamedTuple):
    """From a drawn plane (its number among them) to another one; offset (1, 2, j, i): what the target shows
    at x, the drawn plane shows at x + offset; gap: to the next drawn plane on that side, 0 if there is none.
    """

    source: int
    target: int
    offset: Tensor
    gap: int


def _ways(motion: Motion, planes: Sequence[int], depth: int) -> list[_Way]:
    ends = [-1, *planes, depth]
    found: list[_Way] = []
    for number, plane in enumerate(planes):
        before, after = ends[number], ends[number + 2]
        for targets, steps, other in (
            (range(plane + 1, after), motion.up, after),
            (range(plane - 1, before, -1), motion.down, before),
        ):
            gap = abs(other - plane) if 0 <= other < depth else 0
            offset = torch.zeros(1, 2, *motion.up.shape[2:])
            for k in targets:
                step = steps[k - 1 if steps is motion.up else k][None]
                offset = step + _warped(offset, step)
                found.append(_Way(number, k, offset, gap))
    return found


def _flow(fixed: Tensor, moving: Tensor) -> Tensor:
    """(N, 2, j, i): fixed (N, C, j, i) shows at x what moving shows at x + flow."""
    size = (fixed.shape[2], fixed.shape[3])
    levels = [n for n in range(_LEVELS) if min(size) >= _SMALLEST * 2**n] or [0]
    flow = torch.zeros(len(fixed), 2, 1, 1)
    for level in reversed(levels):
        a, b = (_pooled(one, 2**level) for one in (fixed, moving))
        shape = a.shape[2:]
        flow = functional.interpolate(flow, size=shape, mode="bilinear", align_corners=False)
        if level != levels[-1]:
            flow = 2 * flow
        for _ in range(_ROUNDS):
            seen = _warped(b, flow)
            along_j, along_i = _slope(seen, 2), _slope(seen, 3)
            left = a - seen
            terms = [
                (one * other).sum(1, keepdim=True)
                for one, other in (
                    (along_j, along_j),
                    (along_j, along_i),
                    (along_i, along_i),
                    (along_j, left),
                    (along_i, left),
                )
            ]
            jj, ji, ii, j, i = _box(torch.cat(terms, 1)).split(1, 1)
            jj, ii = jj + _STIFFNESS, ii + _STIFFNESS
            step = torch.cat([ii * j - ji * i, jj * i - ji * j], 1) / (jj * ii - ji * ji)
            flow = _box(flow + step.clamp(-1, 1))
    return flow


def _slope(values: Tensor, axis: int) -> Tensor:
    """Half the difference of the neighbours of values (N, C, j, i) along axis 2 or 3, edges repeated."""
    pad = (0, 0, 1, 1) if axis == 2 else (1, 1, 0, 0)
    padded = functional.pad(values, pad, mode="replicate")
    length = values.shape[axis]
    return (padded.narrow(axis, 2, length) - padded.narrow(axis, 0, length)) / 2


def _box(values: Tensor) -> Tensor:
    padded = functional.pad(values, (_WINDOW // 2,) * 4, mode="replicate")
    return functional.avg_pool2d(padded, _WINDOW, stride=1)


def _pooled(values: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return values
    return functional.avg_pool2d(values, factor, ceil_mode=True, count_include_pad=False)


def _warped(values: Tensor, flow: Tensor) -> Tensor:
    """values (N, C, j, i) at x + flow (N, 2, j, i), linear; the edge is repeated outside."""
    rows, columns = values.shape[2:]
    j = torch.arange(rows, dtype=torch.float32)[:, None] + flow[:, 0]
    i = torch.arange(columns, dtype=torch.float32)[None, :] + flow[:, 1]
    unit = torch.stack([2 * i / max(columns - 1, 1) - 1, 2 * j / max(rows - 1, 1) - 1], -1)
    return functional.grid_sample(values, unit, padding_mode="border", align_corners=True)
