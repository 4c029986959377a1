"""The mean over a box around every voxel, edges repeated, by whatever is fastest on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as functional
from torch import Tensor


def box_mean(values: Tensor, widths: Sequence[int]) -> Tensor:
    """The mean over a box of odd `widths`, one for each axis of values (N, C, j, i) or (N, C, k, j, i) after
    the first two; beyond an edge its voxels are repeated.

    On a CPU by running sums along one axis after the other, on CUDA by torch's average pooling, which is one
    kernel there and several times slower on a CPU. Both give the same up to rounding.
    """
    pad = [width // 2 for width in reversed(widths) for _ in range(2)]
    padded = functional.pad(values, pad, mode="replicate")
    return running_means(padded, widths) if values.device.type == "cpu" else pooled_means(padded, widths)


def running_means(padded: Tensor, widths: Sequence[int]) -> Tensor:
    """Means over boxes that lie wholly in `padded`, as sums of shifted views."""
    scale = 1.0
    for axis, width in enumerate(widths, 2):
        if width > 1:
            padded = _running_sum(padded, axis, width)
            scale /= width
    return padded * scale


def pooled_means(padded: Tensor, widths: Sequence[int]) -> Tensor:
    """As `running_means`, by average pooling."""
    pool = functional.avg_pool2d if len(widths) == 2 else functional.avg_pool3d
    return pool(padded, tuple(widths), stride=1)


def _running_sum(values: Tensor, axis: int, width: int) -> Tensor:
    """Sums of `width` neighbours along an axis, which gets shorter by width - 1, by doubling."""
    length = values.shape[axis] - width + 1
    total, summed, power = None, 0, 1
    while True:
        if width & power:
            part = values.narrow(axis, summed, length)
            total = part if total is None else total + part
            summed += power
        if 2 * power > width:
            assert total is not None
            return total
        shorter = values.shape[axis] - power
        values = values.narrow(axis, 0, shorter) + values.narrow(axis, power, shorter)
        power *= 2
