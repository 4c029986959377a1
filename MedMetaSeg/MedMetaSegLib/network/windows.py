"""Overlapping windows over an image too large for one, as MONAI makes and weighs them.

MONAI takes seconds to import and few images need it: it is imported where there is more than one window.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Window = tuple[slice, slice, slice]

_SIGMA = 0.25
"""Standard deviation of the weights along an axis, over the window's length."""
_LEAST = 1e-3
"""Weight of a window's corners at least."""


def overlapping_windows(shape: Sequence[int], size: Sequence[int], step: Sequence[int]) -> tuple[Window, ...]:
    """Windows of `size` that begin every `step` voxels and cover an image of `shape`."""
    if tuple(size) == tuple(shape):
        k, j, i = (slice(0, n) for n in shape)
        return ((k, j, i),)
    from monai.data.utils import dense_patch_slices

    return tuple(dense_patch_slices(shape, size, step))


def window_weights(shape: Sequence[int]) -> np.ndarray:
    """Weights float32 (k, j, i) of a window's voxels: a Gaussian around its middle."""
    from monai.data.utils import compute_importance_map

    weights = compute_importance_map(tuple(shape), mode="gaussian", sigma_scale=_SIGMA).numpy()
    return np.maximum(weights, _LEAST)
