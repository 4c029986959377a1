"""Overlapping windows over an image too large for one, and the weight of each voxel in its window."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

Window = tuple[slice, slice, slice]

_SIGMA = 0.25
"""Standard deviation of the weights along an axis, over the window's length."""
_LEAST = 1e-3
"""Weight of a window's corners at least."""


def overlapping_windows(shape: Sequence[int], size: Sequence[int], step: Sequence[int]) -> tuple[Window, ...]:
    """Windows of `size` that begin every `step` voxels and cover an image of `shape`, along i first.

    Along each axis the last window is moved back to end where the image does.
    """
    starts = [
        [min(start, n - long) for start in range(0, n - long + stride, stride)]
        for n, long, stride in zip(shape, size, step, strict=True)
    ]
    return tuple(
        (slice(k, k + size[0]), slice(j, j + size[1]), slice(i, i + size[2])) for k, j, i in product(*starts)
    )


def window_weights(shape: Sequence[int]) -> np.ndarray:
    """Weights float32 (k, j, i) of a window's voxels: a Gaussian around its middle."""
    k, j, i = (
        np.exp(-0.5 * ((np.arange(n, dtype=np.float32) - (n - 1) / 2) / (_SIGMA * n)) ** 2) for n in shape
    )
    return np.maximum(k[:, None, None] * j[:, None] * i, _LEAST).astype(np.float32)
