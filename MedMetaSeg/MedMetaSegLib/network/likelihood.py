"""Log ratio of two joint intensity histograms: what is known of a structure, and of everything else."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from .box_filter import box_mean

_BINS = 32
_RANGE = 1.8
_BLURS = (2.5, 1.8, 1.2)
"""Of the histograms, in bins: fewer than 100 known voxels, fewer than 1000, more."""
_FEW = (100, 1000)


@torch.no_grad()
def histogram_bins(image: Tensor) -> Tensor:
    """(k, j, i) int16: the bin of each voxel of a histogram-equalised image (k, j, i).

    The bins are of a voxel's intensity and that of its neighbourhood in the slice, which says more than
    either under noise.
    """
    around = box_mean(image[:, None], (3, 3))[:, 0]
    level, near = (
        ((one + _RANGE) * ((_BINS - 1) / (2 * _RANGE))).clamp(0, _BINS - 1).round().to(torch.int16)
        for one in (image, around)
    )
    return level * _BINS + near


@torch.no_grad()
def likelihood_ratio(bins: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """Log ratio (k, j, i) of the known foreground's and background's histograms, everywhere, in +-5.

    bins: from `histogram_bins`; foreground, background: bool (k, j, i). The smoothing of the histograms
    follows how few voxels are known.
    """
    index = bins.reshape(-1).long()
    known = torch.stack([foreground.reshape(-1), background.reshape(-1)])
    # Counts are whole numbers: exact, in whatever order they are added.
    counts = torch.zeros(2, _BINS * _BINS, device=bins.device)
    counts = counts.scatter_add_(1, index.expand(2, -1), known.float()).double().view(2, _BINS, _BINS)
    number = counts.sum((1, 2))
    blur = _blurs(bins.device)[(number[:, None] >= number.new_tensor(_FEW)).sum(1)]
    counts = blur @ counts @ blur.transpose(1, 2)
    counts += 0.05 * number.clamp(min=1.0)[:, None, None] / _BINS**2
    foreground_share, background_share = counts / counts.sum((1, 2), keepdim=True)
    ratio = (foreground_share / background_share).log().clamp(-5, 5).float()
    return ratio.view(-1)[index].view(bins.shape)


@cache
def _blurs(device: torch.device) -> Tensor:
    """(3, _BINS, _BINS) float64: Gaussian smoothing by each of _BLURS, nothing beyond the histogram."""
    apart = np.abs(np.subtract.outer(np.arange(_BINS), np.arange(_BINS)))
    matrices = []
    for sigma in _BLURS:
        reach = int(4 * sigma + 0.5)
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).sum()
        matrices.append(np.where(apart <= reach, np.exp(-0.5 * (apart / sigma) ** 2), 0) / kernel)
    return torch.from_numpy(np.stack(matrices)).to(device)
