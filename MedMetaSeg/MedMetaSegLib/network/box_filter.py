"""The mean over a box around every voxel, edges repeated, by whatever is fastest on the device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as functional
from torch import Tensor

_SMALL = 100
"""Pixels along the longer axis of the largest images for which products with matrices are the fastest."""


def box_mean(values: Tensor, widths: Sequence[int]) -> Tensor:
    """The mean over a box of odd `widths`, one for each axis of values (N, C, j, i) or (N, C, k, j, i) after
    the first two; beyond an edge its voxels are repeated.

    On a CPU by running sums along one axis after the other, or, for small images, by a product with a matrix
    along each; on CUDA by torch's average pooling, which is one kernel there and several times slower on a
    CPU. All give the same up to rounding.
    """
    if values.device.type == "cpu" and len(widths) == 2 and max(values.shape[-2:]) <= _SMALL:
        return products(values, widths)
    pad = [width // 2 for width in reversed(widths) for _ in range(2)]
    padded = functional.pad(values, pad, mode="replicate")
    return running_means(padded, widths) if values.device.type == "cpu" else pooled_means(padded, widths)


def products(values: Tensor, widths: Sequence[int]) -> Tensor:
    """Means over boxes around every pixel of values (..., j, i) on a CPU, as products with matrices."""
    rows, columns = (
        _mean_matrix(length, width) for length, width in zip(values.shape[-2:], widths, strict=True)
    )
    return rows.to(values) @ (values @ columns.to(values).T)


@lru_cache(maxsize=128)
def _mean_matrix(length: int, width: int) -> Tensor:
    """(length, length): the mean over `width` neighbours along an axis, edges repeated."""
    with torch.inference_mode(False), torch.no_grad():
        line, edge = torch.eye(length), width // 2
        padded = torch.cat([line[:1].expand(edge, -1), line, line[-1:].expand(edge, -1)])
        return padded.unfold(0, width, 1).mean(-1)


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
