"""Geodesic distance: how much change of intensity lies between a voxel and what is known.

As in seeded segmentation by shortest paths (Bai and Sapiro, "Geodesic matting", IJCV 2009; Zhu et al., fast
GrowCut, 2014), computed by sweeps along each axis in both directions (raster scan, Toivanen 1996). A sweep
along the lines of an axis is a prefix minimum: on a GPU that is one kernel for all lines, on a CPU it is
faster plane by plane. Both give the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.lib.stride_tricks import as_strided
from torch import Tensor

_STEP_COST = 0.002
"""Of one in-plane voxel, in standard deviations of the image: breaks ties, keeps paths short."""
_ROUNDS = 2
"""Along the axes, before the steps aslant."""
_FAR = 1e3
_BEYOND = 1e6
"""The intensity beyond the image: no path leads there."""

Sweep = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def geodesic_preference(image: Tensor, foreground: Tensor, background: Tensor, aspect: float) -> Tensor:
    """(k, j, i) float32 from -1 (background is much nearer) to 1 (the structure is much nearer).

    image: (k, j, i), standardised and not smoothed: smoothing closes small lesions and opens borders.
    foreground, background: bool (k, j, i), on the image's device. Zero where one side is unknown altogether.
    """
    known = torch.stack([foreground, background])
    distance = torch.where(known, 0.0, _FAR)
    lengths = (aspect, 1.0, 1.0)
    along = along_planes if image.device.type == "cpu" else along_lines
    aslant = aslant_on_cpu if image.device.type == "cpu" else aslant_by_windows
    costs = [
        (image.diff(dim=axis).abs() + _STEP_COST * length).movedim(axis, 0).contiguous()
        for axis, length in enumerate(lengths)
    ]
    for _ in range(_ROUNDS):
        for axis, cost in enumerate(costs):
            distance = _along(distance, cost, axis, along)
    for axis in range(3):
        # Once settled, one round of the steps that are diagonal gives nearly what all 26 neighbours would.
        distance = aslant(distance, image, axis, lengths)
    to_foreground, to_background = distance
    preference = (to_background - to_foreground) / (to_foreground + to_background).clamp(min=1e-6)
    return preference * (foreground.any() & background.any())


def _along(distance: Tensor, cost: Tensor, axis: int, sweep: Sweep) -> Tensor:
    """Distances (2, k, j, i) shortened by paths along an axis; cost: of its steps, that axis first."""
    if axis < 2:
        return sweep(distance.movedim(axis + 1, 0), cost).movedim(0, axis + 1)
    shape = distance.shape
    planes = distance.reshape(-1, shape[3]).t().contiguous().view(shape[3], *shape[:3])
    return sweep(planes, cost).reshape(shape[3], -1).t().contiguous().view(shape)


def along_planes(planes: Tensor, cost: Tensor) -> Tensor:
    """Distances (n, 2, ., .) shortened in place by steps between neighbours of the n planes, costing
    (n - 1, ., .), up and then down, plane by plane.
    """
    distance, step = planes.numpy(), cost.numpy()
    way = np.empty_like(distance[0])
    for k in range(1, len(distance)):
        np.minimum(distance[k], np.add(distance[k - 1], step[k - 1], out=way), out=distance[k])
    for k in range(len(distance) - 2, -1, -1):
        np.minimum(distance[k], np.add(distance[k + 1], step[k], out=way), out=distance[k])
    return planes


def along_lines(planes: Tensor, cost: Tensor) -> Tensor:
    """As `along_planes`, by prefix minima, not in place."""
    travelled = functional.pad(cost.cumsum(0), (0, 0, 0, 0, 1, 0))[:, None]
    up = (planes - travelled).cummin(0).values + travelled
    return (up + travelled).flip(0).cummin(0).values.flip(0) - travelled


def aslant_by_windows(
    distance: Tensor, image: Tensor, axis: int, lengths: tuple[float, float, float]
) -> Tensor:
    """Distances (2, k, j, i) shortened by the eight diagonal steps from plane to plane along an axis, up and
    then down, all eight at once.
    """
    length = _aslant_lengths(axis, lengths).to(image.device)[:, :, None, None, None]
    planes = functional.pad(distance.movedim(axis + 1, 0), (1, 1, 1, 1), value=_FAR)
    intensity = image.movedim(axis, 0)
    padded = functional.pad(intensity, (1, 1, 1, 1), value=_BEYOND)
    number, rows, columns = intensity.shape
    for step in (1, -1):
        first, last = (1, number) if step > 0 else (number - 2, -1)
        target, source = (intensity[1:], padded[:-1]) if step > 0 else (intensity[:-1], padded[1:])
        cost = (_windows(source, rows, columns) - target[None, None]).abs_() + length
        for k in range(first, last, step):
            ways = _windows(planes[k - step], rows, columns) + cost[:, :, min(k, k - step)][:, :, None]
            inner = planes[k, :, 1:-1, 1:-1]
            torch.minimum(inner, ways.amin((0, 1)), out=inner)
    return planes[:, :, 1:-1, 1:-1].movedim(0, axis + 1)


def _windows(padded: Tensor, rows: int, columns: int) -> Tensor:
    """(3, 3, n, rows, columns), no copy: padded (n, rows + 2, columns + 2) from each of 3 x 3 offsets."""
    plane, row, column = padded.stride()
    return padded.as_strided(
        (3, 3, padded.shape[0], rows, columns),
        (row, column, plane, row, column),
        padded.storage_offset(),
    )


def _aslant_lengths(axis: int, lengths: tuple[float, float, float]) -> Tensor:
    """(3, 3): what a step to the next plane and -1 to 1 voxels aside costs; straight on, none is taken."""
    rows, columns = (length for other, length in enumerate(lengths) if other != axis)
    aside = torch.tensor([-1.0, 0.0, 1.0])
    length = (lengths[axis] ** 2 + (aside[:, None] * rows) ** 2 + (aside * columns) ** 2).sqrt()
    length[1, 1] = _BEYOND
    return _STEP_COST * length


def aslant_on_cpu(distance: Tensor, image: Tensor, axis: int, lengths: tuple[float, float, float]) -> Tensor:
    """As `aslant_by_windows`, on rows laid end to end: a shift aside is one along them.

    The steps to a plane are taken in six calls: two structures at work at the same time wait for each other
    at every one.
    """
    length = _aslant_lengths(axis, lengths).numpy()[:, :, None]
    number = image.shape[axis]
    planes = functional.pad(distance.movedim(axis + 1, 0), (1, 1, 1, 1), value=_FAR)
    intensity = functional.pad(image.movedim(axis, 0), (1, 1, 1, 1), value=_BEYOND)
    width = intensity.shape[2]
    flat, levels = planes.reshape(number, 2, -1).numpy(), intensity.reshape(number, -1).numpy()
    inner = slice(width + 1, levels.shape[1] - width - 1)
    known, seen = _neighbours(flat, width), _neighbours(levels, width)
    cost, ways = np.empty_like(seen[0]), np.empty_like(known[0])
    for back, order in ((-1, range(1, number)), (1, range(number - 2, -1, -1))):
        for k in order:
            np.abs(np.subtract(seen[k + back], levels[k, inner], out=cost), out=cost)
            np.add(known[k + back], np.add(cost, length, out=cost), out=ways)
            target = flat[k, :, inner]
            np.minimum(target, ways.min((1, 2)), out=target)
    return torch.from_numpy(flat).view(planes.shape)[:, :, 1:-1, 1:-1].movedim(0, axis + 1)


def _neighbours(flat: np.ndarray, width: int) -> np.ndarray:
    """(..., 3, 3, n), no copy: rows of `width` laid end to end (..., m), from each of 3 x 3 offsets."""
    *before, step = flat.strides
    shape = (*flat.shape[:-1], 3, 3, flat.shape[-1] - 2 * width - 2)
    return as_strided(flat, shape, (*before, width * step, step, step))
