"""Drawn outlines carried from slice to slice: each follows what moves between one slice and the next.

The motion between neighbouring slices is found by the method of Lucas and Kanade (IJCAI 1981), coarse to
fine, in windows, on both contrasts of the image; outlines are carried along it from the drawn slices up and
down, and where two of them meet, the nearer one counts more.
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


def carried_shape(
    motion: Motion, planes: Sequence[int], shapes: Sequence[np.ndarray], aspect: float
) -> np.ndarray:
    """(k, j, i) float32: shapes (j, i), signed distances at ascending planes, carried to every other plane.

    aspect: slice spacing in in-plane voxels; beyond the outer planes a shape shrinks by that much a slice.
    """
    with torch.no_grad():
        given = [torch.from_numpy(np.ascontiguousarray(one, np.float32))[None, None] for one in shapes]
        depth = len(motion.up) + 1
        carried: list[Tensor | None] = [None] * depth
        for number, plane in enumerate(planes):
            carried[plane] = given[number]
            shape, last = given[number], planes[number + 1] if number + 1 < len(planes) else depth
            for k in range(plane + 1, last):
                shape = _warped(shape, motion.up[k - 1 : k])
                gap = last - plane
                carried[k] = shape * (1 - (k - plane) / gap) if last < depth else shape - aspect * (k - plane)
            shape, first = given[number], planes[number - 1] if number else -1
            for k in range(plane - 1, first, -1):
                shape = _warped(shape, motion.down[k : k + 1])
                below = carried[k]
                if below is None:
                    carried[k] = shape - aspect * (plane - k)
                else:
                    carried[k] = below + shape * (1 - (plane - k) / (plane - first))
        return torch.cat([one for one in carried if one is not None])[:, 0].numpy()


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
