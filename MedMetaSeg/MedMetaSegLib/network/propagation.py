"""Annotated contours propagated from slice to slice: each follows what moves between one slice and the next.

The motion between neighbouring slices is found by the method of Lucas and Kanade (IJCAI 1981), coarse to
fine, in windows, on both contrasts of the image; contours are propagated along it from the annotated slices
up and down. Where two of them meet, the nearer one counts more, and the one that arrives where things look as
they did where it was annotated. Everything runs on the device that the image is on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor

from .box_filter import box_mean

_ROUNDS = (3, 2, 2)
"""Of every level, the finest first: more of them follow no better, two at the finest follow less well."""
_WINDOW = 5
_STIFFNESS = 0.05
"""Added to the squared slopes of a window: where there are none, nothing moves."""
_SMALLEST = 6
"""Voxels across, of a level that is still looked at."""
_DEEP = 6.0
"""In-plane voxels: between two annotated slices, signed distances are cut there before they are averaged."""
_TRUST = 5.0
"""Of two ways to a slice, the one whose squared difference is larger by 1 counts e^5 times less."""
_UNLIKE = 4.0
_SHRINK = 0.5
"""In-plane voxels for every in-plane voxel that a contour is propagated beyond the outer slices."""
_CACHED = 100_000
"""In-plane voxels that a CPU works on at a time: what all steps in between leave in its cache."""


class Motion(NamedTuple):
    """(k - 1, 2, j, i) each, voxels along (j, i): what slice k + 1 shows at x, slice k shows at x + up; and
    what slice k shows at x, slice k + 1 shows at x + down.
    """

    up: Tensor
    down: Tensor


@torch.no_grad()
def slice_motion(image: Tensor) -> Motion:
    """The motion between the slices of an image (C, k, j, i) float32."""
    slices = image.transpose(0, 1).contiguous()
    size = slices.shape[2:]
    if len(slices) < 2:
        none = slices.new_zeros(0, 2, *size)
        return Motion(none, none)
    levels = [n for n in range(len(_ROUNDS)) if min(size) >= _SMALLEST * 2**n] or [0]
    flow = slices.new_zeros(2 * (len(slices) - 1), 2, 1, 1)
    for level in reversed(levels):
        # From level to level a voxel gets half as large; the coarsest begins with no motion.
        flow = _refined(_pooled(slices, 2**level), 2 * flow, _ROUNDS[level])
    return Motion(*flow.chunk(2))


class PropagatedContours(NamedTuple):
    """shape (k, j, i) float32: signed distances in in-plane voxels; matching_residual (k, j, i): how much a
    slice differs from what was propagated there, mean squared over contrasts and a window, at most 4; 0 where
    annotated.
    """

    shape: Tensor
    matching_residual: Tensor


@torch.no_grad()
def propagated_contours(
    image: Tensor, motion: Motion, planes: Sequence[int], shapes: Tensor, aspect: float
) -> PropagatedContours:
    """Signed distances at some planes of an image, propagated to every plane.

    shapes: (S, j, i), at S ascending planes of image (C, k, j, i). Between two annotated planes the nearer
    one counts more, and where one of them looks more like the slice, that one. Beyond the outer planes a
    shape shrinks by half a voxel for every voxel that it is propagated. aspect: slice spacing in in-plane
    voxels. All tensors lie on one device.
    """
    slices = image.transpose(0, 1).contiguous()
    annotated = list(planes)
    given = shapes[:, None]
    shape, matching_residual = torch.zeros_like(slices[:, :1]), torch.zeros_like(slices[:, :1])
    weight = torch.zeros_like(shape)
    ways = _ways(annotated, len(slices))
    if ways:
        at = torch.tensor([(way.source, way.target) for way in _in_step(ways)], device=image.device)
        numbers = [_weights(way, annotated, aspect) for way in _in_step(ways)]
        nearness, deepest, shrunk, strict = torch.tensor(numbers, device=image.device).T[
            :, :, None, None, None
        ]
        offset = _offsets(motion, ways)
        outlined = torch.cat([slices[annotated], given], 1)
        for part in _parts(offset):
            source, target = at[part].T
            seen = _warped(outlined[source], offset[part])
            difference = (seen[:, :-1] - slices[target]).square().mean(1, keepdim=True)
            unlike = box_mean(difference, (_WINDOW, _WINDOW)).clamp(max=_UNLIKE)
            trust = nearness[part] * torch.exp(strict[part] * unlike)
            value = seen[:, -1:].clamp(-deepest[part], deepest[part]) - shrunk[part]
            # At most two ways lead to a plane: their order does not matter.
            shape.index_add_(0, target, trust * value)
            matching_residual.index_add_(0, target, trust * unlike)
            weight.index_add_(0, target, trust)
    shape[annotated], matching_residual[annotated], weight[annotated] = given, 0.0, 1.0
    return PropagatedContours((shape / weight)[:, 0], (matching_residual / weight)[:, 0])


class _Way(NamedTuple):
    """From an annotated plane, its number and where it lies, through all planes up (step 1) or down (-1) to
    the next annotated one. planes: how many that are; gap: to that annotated plane, 0 if there is none.
    """

    source: int
    plane: int
    step: int
    planes: int
    gap: int


class _Arrival(NamedTuple):
    """What came along a way to one of its planes."""

    source: int
    target: int
    gap: int


def _ways(planes: Sequence[int], depth: int) -> list[_Way]:
    """All ways of at least one plane, the longest first."""
    ends = [-1, *planes, depth]
    found = []
    for number, plane in enumerate(planes):
        for step, other in ((1, ends[number + 2]), (-1, ends[number])):
            gap = abs(other - plane)
            found.append(_Way(number, plane, step, gap - 1, gap if 0 <= other < depth else 0))
    return sorted((way for way in found if way.planes), key=lambda way: -way.planes)


def _in_step(ways: Sequence[_Way]) -> Iterator[_Arrival]:
    """Where the ways arrive when all go on by a plane at a time; as `_offsets`."""
    for steps in range(1, ways[0].planes + 1):
        for way in ways:
            if way.planes >= steps:
                yield _Arrival(way.source, way.plane + steps * way.step, way.gap)


def _weights(way: _Arrival, planes: Sequence[int], aspect: float) -> tuple[float, float, float, float]:
    """Nearness, depth where distances are cut, what they shrink by, what looks count (in powers of e)."""
    apart = abs(way.target - planes[way.source])
    if way.gap:
        return 1 - apart / way.gap, _DEEP, 0.0, -_TRUST
    return 1.0, float("inf"), _SHRINK * aspect * apart, 0.0


def _offsets(motion: Motion, ways: Sequence[_Way]) -> Tensor:
    """(W, 2, j, i): what the target of an arrival shows at x, the annotated plane shows at x + offset."""
    steps = torch.cat([motion.up, motion.down])
    at = [
        way.plane + steps_before if way.step > 0 else len(motion.up) + way.plane - 1 - steps_before
        for steps_before in range(ways[0].planes)
        for way in ways
        if way.planes > steps_before
    ]
    taken = steps[torch.tensor(at, device=steps.device)]
    offset, first = torch.zeros_like(taken[: len(ways)]), 0
    found = torch.empty_like(taken)
    for steps_before in range(ways[0].planes):
        number = sum(way.planes > steps_before for way in ways)
        step = taken[first : first + number]
        offset = torch.add(step, _warped(offset[:number], step), out=found[first : first + number])
        first += number
    return found


def _parts(values: Tensor) -> list[slice]:
    """Parts of the first axis of values (N, ..., j, i): all on a GPU, what its cache holds on a CPU."""
    number = len(values)
    if values.device.type == "cpu":
        number = max(1, _CACHED // (values.shape[-2] * values.shape[-1]))
    return [slice(start, start + number) for start in range(0, len(values), number)]


def _refined(slices: Tensor, flow: Tensor, rounds: int) -> Tensor:
    """(2 (k - 1), 2, j, i): the motion up and then down between slices (k, C, j, i), from `flow` of another
    resolution, in voxels of this one.
    """
    fixed, moving = torch.cat([slices[1:], slices[:-1]]), torch.cat([slices[:-1], slices[1:]])
    found = flow.new_empty(len(fixed), 2, *slices.shape[2:])
    for part in _parts(fixed):
        a, b = fixed[part], moving[part]
        at = functional.interpolate(flow[part], size=a.shape[2:], mode="bilinear", align_corners=False)
        for _ in range(rounds):
            at = box_mean(_step(a, _warped(b, at)).add_(at), (_WINDOW, _WINDOW))
        found[part] = at
    return found


def _step(fixed: Tensor, seen: Tensor) -> Tensor:
    """(N, 2, j, i), within +-1: how much further moving must be looked at, where `seen` shows what was found
    so far: least squares in a window.
    """
    along_j, along_i, left = _difference(seen, 2), _difference(seen, 3), fixed - seen
    products = seen.new_empty(len(seen), 5, *seen.shape[2:])
    for number, (one, other) in enumerate(
        ((along_j, along_j), (along_j, along_i), (along_i, along_i), (along_j, left), (along_i, left))
    ):
        product = torch.mul(one[:, 0], other[:, 0], out=products[:, number])
        for channel in range(1, one.shape[1]):
            product.addcmul_(one[:, channel], other[:, channel])
    jj, ji, ii, j, i = box_mean(products, (_WINDOW, _WINDOW)).unbind(1)
    # Slopes are half of the differences: four times the stiffness, and twice the step.
    jj, ii = jj.add_(4 * _STIFFNESS), ii.add_(4 * _STIFFNESS)
    scale = torch.mul(jj, ii).addcmul_(ji, ji, value=-1).reciprocal_().mul_(2)
    step = torch.empty_like(products[:, :2])
    torch.mul(ii, j, out=step[:, 0]).addcmul_(ji, i, value=-1).mul_(scale)
    torch.mul(jj, i, out=step[:, 1]).addcmul_(ji, j, value=-1).mul_(scale)
    return step.clamp_(-1, 1)


def _difference(values: Tensor, axis: int) -> Tensor:
    """The neighbour after minus the one before of values (N, C, j, i) along axis 2 or 3, edges repeated."""
    length = values.shape[axis]
    result = torch.empty_like(values)
    for first, number in ((0, 1), (1, length - 2), (length - 1, 1)):
        after, before = min(first + 1, length - 1), max(first - 1, 0)
        if number > 0:
            torch.sub(
                values.narrow(axis, after, number),
                values.narrow(axis, before, number),
                out=result.narrow(axis, first, number),
            )
    return result


def _pooled(values: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return values
    return functional.avg_pool2d(values, factor, ceil_mode=True, count_include_pad=False)


def _warped(values: Tensor, flow: Tensor) -> Tensor:
    """values (N, C, j, i) at x + flow (N, 2, j, i), linear; the edge is repeated outside."""
    rows, columns = values.shape[2:]
    j = torch.linspace(-1, 1, rows, device=flow.device)[:, None].expand(rows, columns)
    i = torch.linspace(-1, 1, columns, device=flow.device).expand(rows, columns)
    unit = torch.empty(len(flow), rows, columns, 2, device=flow.device)
    torch.add(i, flow[:, 1], alpha=2 / max(columns - 1, 1), out=unit[..., 0])
    torch.add(j, flow[:, 0], alpha=2 / max(rows - 1, 1), out=unit[..., 1])
    return functional.grid_sample(values, unit, padding_mode="border", align_corners=True)
